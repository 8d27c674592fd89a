"""Tokens: the words of source text, and what each word stands for.

A word is a run of letters, digits and underscores. Its terms are what lexical search matches: the
word without its underscores, so that ``read_file`` and ``readFile`` are one, and its parts. Its parts
are what it is made of (``HTTPResponse2`` → http, response, 2), for the static model.
"""

import re
import threading
import unicodedata
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# Everything that is not a word byte becomes a space, so that `bytes.split` cuts the words: 2.5 times
# as fast as a regular expression. UTF-8 beyond ASCII stays together and is looked at once per word.
_WORD_BYTES = bytes(c if c >= 0x80 or chr(c).isalnum() or c == 0x5F else 0x20 for c in range(256))
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_UNICODE_WORD = re.compile(r"[^\W_]+")
# Scripts written without spaces: a run of them is matched by its pairs of characters.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_HEXADECIMAL = re.compile(r"[0-9a-f]+")
# Shorter ones may be words.
_LEAST_HEXADECIMAL_CHARS = 16

# No identifier that a person would type is longer; base64, keys and minified names are.
_MAX_WORD_CHARS = 64
_MAX_PART_CHARS = 32
# Years, ports and status codes carry meaning to the static model, longer numbers none.
_MAX_NUMBER_CHARS = 4
# About 40 MB of memory when full; the standard library of Python has 120,000 different words.
_MAX_WORDS = 1 << 17


def is_word_byte(byte: int) -> bool:
    """Tell whether a byte of UTF-8 belongs to a word."""
    return _WORD_BYTES[byte] != ord(" ")


def term_index(term: str) -> int:
    """Return the number of a term in sparse vectors: its CRC-32, the same in every process."""
    return zlib.crc32(term.encode())


def expand(word: str) -> tuple[list[str], list[str]]:
    """Return a word's terms and its parts, lower-case; both empty for what is not worth a look-up."""
    if word.isascii():
        return _expand_ascii(word)
    terms: list[str] = []
    parts: list[str] = []
    bare = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    for piece in _UNICODE_WORD.findall(unicodedata.normalize("NFC", bare)):
        found, of = _expand_ascii(piece) if piece.isascii() else _expand_unicode(piece.casefold())
        terms += found
        parts += of
    return terms, parts


def _expand_ascii(word: str) -> tuple[list[str], list[str]]:
    whole = word.replace("_", "").lower()
    if len(whole) < 2:
        return [], []
    if whole[0].isdigit() or (len(whole) >= _LEAST_HEXADECIMAL_CHARS and _HEXADECIMAL.fullmatch(whole)):
        number = [whole] if len(whole) <= _MAX_WORD_CHARS else []
        return number, number if len(whole) <= _MAX_NUMBER_CHARS else []
    parts = [p.lower() for p in _PART.findall(word) if 1 < len(p) <= _MAX_PART_CHARS]
    if 2 * sum(map(len, parts)) < len(whole):
        parts = []  # Letters, digits and case at random: a key or a checksum.
    if len(word) > _MAX_WORD_CHARS:
        parts = parts if "_" in word else []
        return parts, parts
    return ([whole] if parts == [whole] else [whole, *parts]), parts


def _expand_unicode(word: str) -> tuple[list[str], list[str]]:
    pieces: list[str] = []
    for run in _UNSPACED.findall(word):
        pieces += [run[i : i + 2] for i in range(max(1, len(run) - 1))]
    pieces += [p for p in _UNSPACED.split(word) if 1 < len(p) <= _MAX_WORD_CHARS]
    return pieces, pieces


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of unequal length: row i is ``values[indptr[i]:indptr[i+1]]``; indptr int64[n + 1]."""

    indptr: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of values in each row, int64[n]."""
        return np.diff(self.indptr)

    def take(self, rows: np.ndarray) -> "Ragged":
        """Return the rows with the given numbers, in that order."""
        starts = self.indptr[rows]
        lengths = self.indptr[rows + 1] - starts
        indptr = offsets(lengths)
        shifts = np.repeat(starts - indptr[:-1], lengths)
        return Ragged(indptr, self.values[shifts + np.arange(indptr[-1])])

    def through(self, other: "Ragged") -> "Ragged":
        """Replace every value by the row of `other` it numbers."""
        taken = other.take(self.values)
        return Ragged(taken.indptr[self.indptr], taken.values)


def offsets(lengths: np.ndarray) -> np.ndarray:
    """Return where rows of these lengths begin and end, int64[n + 1]."""
    indptr = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr


class Vocabulary(dict[bytes, int]):
    """Words seen so far, numbered from 0, each expanded once; safe for threads.

    `parts` are the distinct parts, also numbered. It only grows; `vocabulary()` begins a new one when it is full.
    """

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._part_numbers: dict[str, int] = {}
        self._lock = threading.Lock()
        self._term_ends, self._terms = array("q", [0]), array("I")
        self._part_ends, self._word_parts = array("q", [0]), array("i")

    def __missing__(self, word: bytes) -> int:
        terms, parts = expand(word.decode("utf-8", "replace"))
        with self._lock:
            if word in self:
                return self[word]
            self._terms.extend(map(term_index, terms))
            self._word_parts.extend(map(self._part_number, parts))
            self._term_ends.append(len(self._terms))
            self._part_ends.append(len(self._word_parts))
            number = len(self)
            self[word] = number
            return number

    def _part_number(self, part: str) -> int:
        number = self._part_numbers.setdefault(part, len(self.parts))
        if number == len(self.parts):
            self.parts.append(part)
        return number

    def word_terms(self) -> Ragged:
        """Return each word's terms as `term_index` numbers, uint32."""
        with self._lock:
            return Ragged(np.array(self._term_ends), np.array(self._terms, dtype=np.uint32))

    def word_parts(self) -> Ragged:
        """Return each word's parts as numbers in `parts`, int32."""
        with self._lock:
            return Ragged(np.array(self._part_ends), np.array(self._word_parts, dtype=np.int32))

    def numbers(self, texts: Iterable[str]) -> Ragged:
        """Return the words of each text as numbers, int32, in the order of the text."""
        number = self.__getitem__
        found: list[int] = []
        ends = [0]
        for text in texts:
            found.extend(map(number, text.encode("utf-8", "replace").translate(_WORD_BYTES).split()))
            ends.append(len(found))
        return Ragged(np.array(ends, dtype=np.int64), np.array(found, dtype=np.int32))


_newest = Vocabulary()


def vocabulary() -> Vocabulary:
    """Return this process's vocabulary, a new one once it holds 131,072 words."""
    global _newest
    if len(_newest) > _MAX_WORDS:
        _newest = Vocabulary()
    return _newest
