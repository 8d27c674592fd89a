"""Which files of a pack may hold a match: those that have every word it needs."""

import logging
import threading
from collections import OrderedDict

import numpy as np

from services.api.live import LiveFile, PackFiles
from services.api.patterns import Pattern
from services.api.required import Choice
from services.core.errors import CorruptData, NotFound
from services.core.ports import BlobStore
from services.core.vector_blob import read_places, read_words
from services.core.word_index import WordList

log = logging.getLogger(__name__)

# The words of 1.26 million chunks of the Linux kernel are 25 MB.
_MAX_CACHED_BYTES = 64 << 20


class WordLookup:
    """Looks words up in stored packs; keeps the last 64 MB of their lists."""

    def __init__(self, blobs: BlobStore, max_bytes: int = _MAX_CACHED_BYTES) -> None:
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._cached: OrderedDict[str, WordList | None] = OrderedDict()
        self._cached_bytes = 0

    def may_match(self, pattern: Pattern, pack: PackFiles) -> list[LiveFile]:
        """Return the files of a pack that `pattern` may fit, all of them where words can't tell."""
        vectors = pack.files[0].vectors
        if not pattern.required or not vectors:
            return list(pack.files)
        try:
            words = self._words(vectors)
            fits = self._have_all(pattern, words, pack) if words else None
        except (CorruptData, NotFound) as error:
            # The texts say for themselves whether they are whole.
            log.warning("words_unreadable", extra={"vectors": vectors, "error": str(error)})
            fits = None
        return list(pack.files) if fits is None else [pack.files[number] for number in np.flatnonzero(fits).tolist()]

    def _have_all(self, pattern: Pattern, words: WordList, pack: PackFiles) -> np.ndarray:
        """Return bool[n]: the files that have a word of each choice, or words that tell too little."""
        torn = np.bincount(words.torn, minlength=int(pack.spans[1].max()))
        unsure = _any_in_file(torn, pack)
        numbers = []
        for choice in pattern.required:
            numbers.append(_find(words, choice, any_case=pattern.any_case))
            if not numbers[-1]:
                return unsure
        places = read_places(self._blobs, pack.files[0].vectors)
        fits = np.ones(len(pack.files), dtype=bool)
        for found in numbers:
            fits &= _any_in_file(places.holding(found), pack)
        fits |= unsure
        return fits

    def _words(self, vectors: str) -> WordList | None:
        with self._lock:
            if vectors in self._cached:
                self._cached.move_to_end(vectors)
                return self._cached[vectors]
        words = read_words(self._blobs, vectors)
        self._keep(vectors, words)
        return words

    def _keep(self, vectors: str, words: WordList | None) -> None:
        with self._lock:
            if vectors in self._cached:
                return
            self._cached[vectors] = words
            self._cached_bytes += _size(words)
            while self._cached_bytes > self._max_bytes:
                self._cached_bytes -= _size(self._cached.popitem(last=False)[1])


def _find(words: WordList, choice: Choice, *, any_case: bool) -> list[int]:
    found = [words.find(run.text, begins=run.begins, ends=run.ends, any_case=any_case) for run in choice]
    return [number for numbers in found for number in numbers]


def _any_in_file(held: np.ndarray, pack: PackFiles) -> np.ndarray:
    """Return bool[n]: whether `held` is true for any chunk of each file."""
    first, after = pack.spans
    before = np.concatenate(([0], np.cumsum(held)))
    found: np.ndarray = before[after] > before[first]
    return found


def _size(words: WordList | None) -> int:
    return len(words.text) + words.torn.nbytes if words else 0
