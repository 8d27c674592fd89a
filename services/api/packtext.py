"""The source text of whole packs, in memory: what `exact` and `regex` search and the file page shows.

Chunks tile their file, so the chunks of a file, joined, are the file; a match may lie across two.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard

from services.api.kept import Kept
from services.core.errors import CorruptData
from services.core.pack import read_index
from services.core.ports import BlobStore

_MAX_CACHED_BYTES = 64 << 20
# What the positions and symbols of a chunk take beside its text.
_CHUNK_BYTES = 250


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where a chunk lies in its file, and what it defines; bytes half-open, lines 1-based and inclusive."""

    ordinal: int
    start_byte: int
    end_byte: int
    start_line: int
    end_line: int
    symbol: str
    defines: tuple[str, ...]


class PackText:
    """The texts of one pack, unpacked; file text is addressed by its first chunk and number of chunks."""

    def __init__(self, index: dict[str, list[list[Any]]], data: bytes) -> None:
        columns = list(zip(*index["chunks"], strict=True)) or [()] * 10
        numbers = [np.array(column, dtype=np.int64) for column in (*columns[:3], *columns[4:8])]
        offsets, lengths, sizes, *self._places = numbers
        self._sizes = sizes
        self._starts, total = _starts(offsets, sizes)
        self._symbols: tuple[str, ...] = columns[8]
        self._defines: tuple[list[str], ...] = columns[9]
        self._texts = _unpacked(data, offsets, lengths, total)
        # Texts are stored in order and once; so unless one occurred before, a file lies there in one piece.
        torn = self._starts[:-1] + sizes[:-1] != self._starts[1:] if len(sizes) else np.zeros(0, dtype=bool)
        self._torn = np.concatenate(([0], np.cumsum(torn)))

    @property
    def size_bytes(self) -> int:
        """Memory it takes."""
        return len(self._texts) + _CHUNK_BYTES * len(self._sizes)

    def file(self, first: int, count: int) -> bytes:
        """Return the text of a file."""
        if not count:
            return b""
        last = first + count - 1
        starts, sizes = self._starts, self._sizes
        if self._torn[first] == self._torn[last]:
            return self._texts[int(starts[first]) : int(starts[last] + sizes[last])]
        return b"".join(self._texts[int(starts[i]) : int(starts[i] + sizes[i])] for i in range(first, last + 1))

    def place(self, first: int, ordinal: int) -> ChunkPlace:
        """Return chunk `ordinal` of the file whose first chunk is `first`."""
        number = first + ordinal
        start_byte, end_byte, start_line, end_line = (int(column[number]) for column in self._places)
        defines = tuple(self._defines[number])
        return ChunkPlace(ordinal, start_byte, end_byte, start_line, end_line, self._symbols[number], defines)

    def places(self, first: int, count: int) -> Iterator[ChunkPlace]:
        """Yield the chunks of a file in order."""
        return (self.place(first, ordinal) for ordinal in range(count))

    def start_bytes(self, first: int, count: int) -> list[int]:
        """Return where each chunk of a file begins in it, in bytes."""
        starts: list[int] = self._places[0][first : first + count].tolist()
        return starts


class PackTexts:
    """Reads packs whole, verified, and keeps the last 64 MB of them."""

    def __init__(self, blobs: BlobStore, max_bytes: int = _MAX_CACHED_BYTES) -> None:
        self._blobs = blobs
        self._kept = Kept[PackText](lambda text: text.size_bytes, max_bytes)

    def get(self, pack: str) -> PackText:
        """Return a pack's texts.

        Raises:
            NotFound: there is no such pack.
            CorruptData: it does not match its digest, or is not a whole pack.
        """
        return self._kept.get(pack, lambda: unpack_texts(self._blobs.get(pack), pack))


def unpack_texts(data: bytes, name: str) -> PackText:
    """Unpack every text of a pack at once, which is three times as fast as one by one.

    Raises:
        CorruptData: the bytes are not a whole pack.
    """
    index = read_index(data, name)
    try:
        return PackText(index, data)
    except (zstandard.ZstdError, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise CorruptData(f"the texts of pack {name!r} can't be unpacked: {error}") from error


def _starts(offsets: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, int]:
    """Return where each chunk begins in the joined texts, which lie in the order of their frames, and their size."""
    _, first, inverse = np.unique(offsets, return_index=True, return_inverse=True)
    ends = np.cumsum(sizes[first])
    return (ends - sizes[first])[inverse], int(ends[-1]) if len(ends) else 0


def _unpacked(data: bytes, offsets: np.ndarray, lengths: np.ndarray, total: int) -> bytes:
    if not total:
        return b""
    frames = memoryview(data)[int(offsets.min()) : int((offsets + lengths).max())]
    with zstandard.ZstdDecompressor().stream_reader(frames, read_across_frames=True) as reader:
        texts = reader.read(total)
    if len(texts) != total:
        raise ValueError(f"{len(texts)} bytes of text, {total} expected")
    return texts
