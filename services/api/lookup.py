"""Which files of a pack may hold a match: those that have every word it needs."""

import logging

import numpy as np

from services.api.kept import Kept
from services.api.live import LiveFile, PackFiles
from services.api.patterns import Pattern
from services.api.required import Choice
from services.core.errors import CorruptData, NotFound
from services.core.ports import BlobStore
from services.core.vector_blob import StoredWords, read_places, read_words
from services.core.word_index import WordList

log = logging.getLogger(__name__)

# The words of 1.26 million chunks of the Linux kernel are 25 MB.
_MAX_CACHED_BYTES = 64 << 20


class WordLookup:
    """Looks words up in stored packs; keeps the last 64 MB of their lists."""

    def __init__(self, blobs: BlobStore, max_bytes: int = _MAX_CACHED_BYTES) -> None:
        self._blobs = blobs
        self._kept = Kept[StoredWords | None](_size_bytes, max_bytes)

    def may_match(self, pattern: Pattern, pack: PackFiles) -> list[LiveFile]:
        """Return the files of a pack that `pattern` may fit, all of them where words can't tell."""
        vectors = pack.files[0].vectors
        if not pattern.required or not vectors:
            return list(pack.files)
        try:
            stored = self._kept.get(vectors, lambda: read_words(self._blobs, vectors))
            fits = self._have_all(pattern, stored, pack) if stored else None
        except (CorruptData, NotFound) as error:
            # The texts say for themselves whether they are whole.
            log.warning("words_unreadable", extra={"vectors": vectors, "error": str(error)})
            fits = None
        return list(pack.files) if fits is None else [pack.files[number] for number in np.flatnonzero(fits).tolist()]

    def _have_all(self, pattern: Pattern, stored: StoredWords, pack: PackFiles) -> np.ndarray:
        """Return bool[n]: the files that have a word of each choice, or words that tell too little."""
        words = stored.words
        torn = np.bincount(words.torn, minlength=int(pack.spans[1].max()))
        unsure = _any_in_file(torn, pack)
        numbers = []
        for choice in pattern.required:
            numbers.append(_find(words, choice, any_case=pattern.any_case))
            if not numbers[-1]:
                return unsure
        places = read_places(self._blobs, pack.files[0].vectors, stored)
        fits = np.ones(len(pack.files), dtype=bool)
        for found in numbers:
            fits &= _any_in_file(places.holding(found), pack)
        fits |= unsure
        return fits


def _find(words: WordList, choice: Choice, *, any_case: bool) -> list[int]:
    found = [words.find(run.text, begins=run.begins, ends=run.ends, any_case=any_case) for run in choice]
    return [number for numbers in found for number in numbers]


def _any_in_file(held: np.ndarray, pack: PackFiles) -> np.ndarray:
    """Return bool[n]: whether `held` is true for any chunk of each file."""
    first, after = pack.spans
    before = np.concatenate(([0], np.cumsum(held)))
    found: np.ndarray = before[after] > before[first]
    return found


def _size_bytes(stored: StoredWords | None) -> int:
    return len(stored.words.text) + stored.words.torn.nbytes if stored else 0
