"""Which words occur in which chunks of a pack: what a search for exact text looks up before it reads any.

A word is a run of letters, digits, underscores and bytes beyond ASCII, as `core.tokens` cuts them, in its own case.
Nothing that is in the texts is missing here, so what this rules out need not be read. Words and places are stored
apart: most packs lack a word that is asked for, and then its places are not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import zstandard

from services.core.errors import CorruptData
from services.core.texts import Texts
from services.core.tokens import Ragged, is_word_byte, offsets

# Level 3 takes three times as long for a tenth less.
_LEVEL = 1
# No batch comes near this; it bounds what a forged header can make us allocate.
_MAX_BYTES = 256 << 20
_MAX_SHORT = 1 << 16
# Their lower case is an ASCII letter: whoever ignores case means them too.
_FOLDING = ("\u017f", "\u212a")


@dataclass(frozen=True, slots=True)
class WordList:
    """The words of a pack.

    text: each after a line feed, in order of appearance, and a line feed at the end. torn: numbers of the chunks whose
    words tell too little: one goes on in the chunk before, or has a letter of `_FOLDING`.
    """

    text: bytes
    torn: np.ndarray

    def pack(self) -> bytes:
        """Return the stored form: a zstd frame of the number of torn chunks, these (uint32), and the text."""
        count = len(self.torn).to_bytes(4, "little")
        return _compress(count + self.torn.astype("<u4").tobytes() + self.text)

    @classmethod
    def unpack(cls, data: bytes) -> "WordList":
        """Read the stored form.

        Raises:
            CorruptData: the bytes are not a whole list.
        """
        body = _decompress(data)
        at = 4 + 4 * int.from_bytes(body[:4], "little")
        if len(body) <= at or body[at] != ord("\n"):
            raise CorruptData("a list of words is not whole")
        return cls(body[at:], np.frombuffer(body[4:at], "<u4"))

    def find(self, run: bytes, *, begins: bool, ends: bool, any_case: bool) -> list[int]:
        """Return the numbers, from 0, of the words that contain `run`; with `any_case` it is in lower case.

        `begins`, `ends`: only words that begin, or end, with it.
        """
        text = self.text.lower() if any_case else self.text
        needle = b"\n" * begins + run + b"\n" * ends
        found, number, counted = [], -1, 0
        at = text.find(needle)
        while at >= 0:
            inside = at + begins
            number += text.count(b"\n", counted, inside)
            found.append(number)
            counted = inside
            at = text.find(needle, text.index(b"\n", inside))
        return found


@dataclass(frozen=True, slots=True)
class WordPlaces:
    """For each word of a `WordList` the chunks that hold it, ascending, out of `count`."""

    chunks: Ragged
    count: int

    def pack(self) -> bytes:
        """Return the stored form: a zstd frame of three counts, chunks per word, and the distances of the chunks."""
        values = self.chunks.values
        head = np.array([len(self.chunks), len(values), self.count], dtype="<u4")
        # Distances wrap around, and so does their sum.
        distances = np.diff(values.astype(_kind(self.count)), prepend=_kind(self.count).type(0))
        return _compress(head.tobytes() + self.chunks.lengths.astype("<u4").tobytes() + distances.tobytes())

    @classmethod
    def unpack(cls, data: bytes) -> "WordPlaces":
        """Read the stored form.

        Raises:
            CorruptData: the bytes are not whole.
        """
        body = _decompress(data)
        try:
            words, places, count = np.frombuffer(body, "<u4", 3).tolist()
            lengths = np.frombuffer(body, "<u4", words, offset=12)
            distances = np.frombuffer(body, _kind(count), places, offset=12 + 4 * words)
        except ValueError as error:
            raise CorruptData(f"the places of words can't be read: {error}") from error
        return cls(Ragged(offsets(lengths), np.cumsum(distances, dtype=_kind(count))), count)

    def holding(self, words: Sequence[int]) -> np.ndarray:
        """Return bool[count]: the chunks that hold one of the words."""
        held = np.zeros(self.count, dtype=bool)
        held[self.chunks.take(np.asarray(words, dtype=np.int64)).values] = True
        return held


def index_words(texts: Texts, files: Sequence[int]) -> tuple[WordList, WordPlaces]:
    """Return the words of a pack's texts and their places; its files begin with the chunks of the numbers `files`."""
    numbers, known = texts.words.numbers, list(texts.words.vocabulary)
    order = _by_appearance(numbers.values, len(known))
    place = np.empty(len(known), dtype=np.uint64)
    place[order] = np.arange(len(order), dtype=np.uint64)
    row = np.repeat(np.arange(len(texts), dtype=np.uint64), numbers.lengths)
    pairs = place[numbers.values] << np.uint64(32) | row
    pairs.sort()
    pairs = pairs[np.diff(pairs, prepend=~pairs[:1]) != 0]
    lengths = np.bincount((pairs >> np.uint64(32)).astype(np.intp), minlength=len(order))
    text = b"\n" + b"".join([known[number] + b"\n" for number in order.tolist()])
    places = WordPlaces(Ragged(offsets(lengths), pairs.astype(np.uint32)), len(texts))
    return WordList(text, _torn(texts.texts, files)), places


def _by_appearance(numbers: np.ndarray, count: int) -> np.ndarray:
    """Return the distinct numbers, below `count`, in the order in which they first appear."""
    first = np.full(count, -1, dtype=np.int64)
    # Of several values for one place the last is kept.
    first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)
    used = np.flatnonzero(first >= 0)
    ordered: np.ndarray = used[np.argsort(first[used])]
    return ordered


def _torn(texts: Sequence[str], files: Sequence[int]) -> np.ndarray:
    begins = set(files)
    torn = [
        row
        for row, text in enumerate(texts)
        if (row and row not in begins and _in_word(texts[row - 1][-1:]) and _in_word(text[:1]))
        or (not text.isascii() and any(letter in text for letter in _FOLDING))
    ]
    return np.array(torn, dtype=np.uint32)


def _in_word(char: str) -> bool:
    return bool(char) and is_word_byte(char.encode("utf-8", "replace")[0])


def _kind(count: int) -> np.dtype:
    return np.dtype("<u2" if count <= _MAX_SHORT else "<u4")


def _compress(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(body)


def _decompress(data: bytes) -> bytes:
    try:
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=_MAX_BYTES)
    except zstandard.ZstdError as error:
        raise CorruptData(f"words can't be unpacked: {error}") from error
