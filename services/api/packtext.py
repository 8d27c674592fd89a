"""The source text of whole packs, in memory: what `exact` and `regex` search and the file page shows.

Chunks tile their file, so the chunks of a file, joined, are the file; a match may lie across two.
"""

import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import zstandard

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

    def __init__(self, index: dict[str, list[list[object]]], texts: bytes) -> None:
        columns = list(zip(*index["chunks"], strict=True)) or [()] * 10
        self._texts = texts
        self._sizes = array("Q", columns[2])
        self._starts = _starts(columns[0], columns[2])
        self._places = [array("Q", column) for column in columns[4:8]]
        self._symbols = columns[8]
        self._defines = columns[9]
        if self._starts and max(map(sum, zip(self._starts, self._sizes, strict=True))) > len(texts):
            raise ValueError(f"{len(texts)} bytes of text, more expected")

    @property
    def size_bytes(self) -> int:
        """Memory it takes."""
        return len(self._texts) + _CHUNK_BYTES * len(self._sizes)

    def file(self, first: int, count: int) -> bytes:
        """Return the text of a file."""
        if not count:
            return b""
        starts, sizes = self._starts, self._sizes
        last = first + count - 1
        length = sum(sizes[first : last + 1])
        # Texts are stored in order and once; so unless one occurred before, the file lies there in one piece.
        if starts[last] + sizes[last] - starts[first] == length and self._in_order(first, last):
            return self._texts[starts[first] : starts[first] + length]
        return b"".join(self._texts[starts[i] : starts[i] + sizes[i]] for i in range(first, last + 1))

    def place(self, first: int, ordinal: int) -> ChunkPlace:
        """Return chunk `ordinal` of the file whose first chunk is `first`."""
        number = first + ordinal
        start_byte, end_byte, start_line, end_line = (column[number] for column in self._places)
        defines = tuple(self._defines[number])
        return ChunkPlace(ordinal, start_byte, end_byte, start_line, end_line, self._symbols[number], defines)

    def places(self, first: int, count: int) -> Iterator[ChunkPlace]:
        """Yield the chunks of a file in order."""
        return (self.place(first, ordinal) for ordinal in range(count))

    def start_bytes(self, first: int, count: int) -> "array[int]":
        """Return where each chunk of a file begins in it, in bytes."""
        return self._places[0][first : first + count]

    def _in_order(self, first: int, last: int) -> bool:
        starts, sizes = self._starts, self._sizes
        return all(starts[i] + sizes[i] == starts[i + 1] for i in range(first, last))


class PackTexts:
    """Reads packs whole, verified, and keeps the last 64 MB of them."""

    def __init__(self, blobs: BlobStore, max_bytes: int = _MAX_CACHED_BYTES) -> None:
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._cached: OrderedDict[str, PackText] = OrderedDict()
        self._cached_bytes = 0

    def get(self, pack: str) -> PackText:
        """Return a pack's texts.

        Raises:
            NotFound: there is no such pack.
            CorruptData: it does not match its digest, or is not a whole pack.
        """
        with self._lock:
            if pack in self._cached:
                self._cached.move_to_end(pack)
                return self._cached[pack]
        text = unpack_texts(self._blobs.get(pack), pack)
        self._keep(pack, text)
        return text

    def _keep(self, pack: str, text: PackText) -> None:
        with self._lock:
            if pack in self._cached or text.size_bytes > self._max_bytes:
                return
            self._cached[pack] = text
            self._cached_bytes += text.size_bytes
            while self._cached_bytes > self._max_bytes:
                self._cached_bytes -= self._cached.popitem(last=False)[1].size_bytes


def unpack_texts(data: bytes, name: str) -> PackText:
    """Unpack every text of a pack at once, which is three times as fast as one by one.

    Raises:
        CorruptData: the bytes are not a whole pack.
    """
    index = read_index(data, name)
    try:
        ends = [row[0] + row[1] for row in index["chunks"]]
        size = sum({row[0]: row[2] for row in index["chunks"]}.values())
        begin = min((row[0] for row in index["chunks"]), default=0)
        frames = memoryview(data)[begin : max(ends, default=0)]
        with zstandard.ZstdDecompressor().stream_reader(frames, read_across_frames=True) as reader:
            texts = reader.read(size) if size else b""
        return PackText(index, texts)
    except (zstandard.ZstdError, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise CorruptData(f"the texts of pack {name!r} can't be unpacked: {error}") from error


def _starts(offsets: tuple[int, ...], sizes: tuple[int, ...]) -> "array[int]":
    """Return where each chunk begins in the joined texts, which lie in the order of their frames."""
    begin: dict[int, int] = {}
    at = 0
    for offset, size in sorted(dict(zip(offsets, sizes, strict=True)).items()):
        begin[offset] = at
        at += size
    return array("Q", (begin[offset] for offset in offsets))
