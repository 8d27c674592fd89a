"""A pack holds the chunks of one batch of files: texts, and what is known of each.

Layout: magic, one zstd frame per distinct chunk text, a zstd frame with the
index (JSON), the index frame's length as 4 little-endian bytes, magic. Every
text is readable alone by range and is verified against its digest; the index
makes a pack self-describing, so that everything else can be rebuilt from packs.
The shape follows restic's and Borg's packs (immutable, index at the end).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import zstandard

from services.core.digest import digest
from services.core.errors import CorruptData
from services.core.model import ChunkedFile
from services.core.ports import BlobStore

_MAGIC = b"QRYPACK1"
# Level 3 is zstd's default; chunks are so small that higher levels gain under 2 %.
_LEVEL = 3
# No batch comes near this; it bounds what a forged header can make us allocate.
_MAX_INDEX_BYTES = 256 << 20


class TextSpan(NamedTuple):
    """Where a chunk's text lies: byte offset and length of its frame, bytes unpacked, digest of the text."""

    offset: int
    length: int
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file of a pack; its chunks are numbers ``first`` to ``first + count - 1``."""

    path: str
    locator: str
    fingerprint: str
    blob: str
    size: int
    language: str
    kind: str
    note: str
    first: int
    count: int


class PackedChunk(NamedTuple):
    """A chunk of a pack: `core.model.Chunk` with the place of its text."""

    text: TextSpan
    start_byte: int
    end_byte: int
    start_line: int
    end_line: int
    symbol: str
    defines: tuple[str, ...]


class WrittenPack(bytes):
    """A pack as `write_pack` made it, and its `texts`: whoever still has it need not unpack and verify them."""

    texts: tuple[bytes, ...] = ()


def write_pack(files: Sequence[ChunkedFile]) -> WrittenPack:
    """Return a pack of `files`; equal texts are stored once."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    out = bytearray(_MAGIC)
    spans: dict[str, TextSpan] = {}
    packed: list[dict[str, Any]] = []
    rows: list[list[Any]] = []
    texts: list[bytes] = []
    for file in files:
        packed.append(asdict(_packed_file(file, first=len(rows))))
        text = memoryview(file.text)
        for chunk in file.chunks:
            piece = text[chunk.start_byte : chunk.end_byte]
            texts.append(piece.tobytes())
            key = digest(piece)
            if key not in spans:
                frame = compressor.compress(piece)
                spans[key] = TextSpan(len(out), len(frame), len(piece), key)
                out += frame
            span = spans[key]
            place = (span.offset, span.length, span.size, key)
            extent = (chunk.start_byte, chunk.end_byte, chunk.start_line, chunk.end_line)
            rows.append([*place, *extent, chunk.symbol, chunk.defines])
    index = compressor.compress(json.dumps({"files": packed, "chunks": rows}, separators=(",", ":")).encode())
    out += index + len(index).to_bytes(4, "little") + _MAGIC
    written = WrittenPack(out)
    written.texts = tuple(texts)
    return written


def _packed_file(file: ChunkedFile, first: int) -> PackedFile:
    ref = file.ref
    return PackedFile(
        path=ref.path,
        locator=ref.locator,
        fingerprint=ref.fingerprint,
        blob=file.blob,
        size=ref.size,
        language=file.language,
        kind=file.kind.value,
        note=file.note,
        first=first,
        count=len(file.chunks),
    )


class Pack:
    """A pack in memory.

    Raises:
        CorruptData: the bytes are not a whole pack.
    """

    def __init__(self, data: bytes, name: str = "") -> None:
        self._data = data
        self._name = name
        index = read_index(data, name)
        self.files = [PackedFile(**row) for row in index["files"]]
        self.chunks = [
            PackedChunk(TextSpan(*row[:4]), row[4], row[5], row[6], row[7], row[8], tuple(row[9]))
            for row in index["chunks"]
        ]

    def texts(self) -> Iterator[bytes]:
        """Yield every chunk's text in order, verified; those of a `WrittenPack` as they were written."""
        if isinstance(self._data, WrittenPack):
            yield from self._data.texts
            return
        decompressor = zstandard.ZstdDecompressor()
        for chunk in self.chunks:
            span = chunk.text
            frame = self._data[span.offset : span.offset + span.length]
            yield _unpack(decompressor, frame, span, self._name)


def read_index(data: bytes, name: str = "") -> dict[str, Any]:
    """Return the index of a pack: ``files`` and ``chunks`` as `write_pack` lays them out.

    Raises:
        CorruptData: the bytes are not a whole pack.
    """
    if len(data) < 2 * len(_MAGIC) + 4 or not data.startswith(_MAGIC) or not data.endswith(_MAGIC):
        raise CorruptData(f"pack {name!r} is not whole ({len(data)} bytes); run 'quarry doctor'")
    end = len(data) - len(_MAGIC) - 4
    length = int.from_bytes(data[end : end + 4], "little")
    try:
        raw = zstandard.ZstdDecompressor().decompress(data[end - length : end], max_output_size=_MAX_INDEX_BYTES)
        index: dict[str, Any] = json.loads(raw)
    except (zstandard.ZstdError, ValueError) as error:
        raise CorruptData(f"the index of pack {name!r} can't be read: {error}") from error
    return index


def read_text(blobs: BlobStore, pack: str, span: TextSpan) -> bytes:
    """Return one chunk's text from a stored pack, reading only its range.

    Raises:
        NotFound: the pack is not there.
        CorruptData: the text does not match its digest.
    """
    frame = blobs.get(pack, span.offset, span.length)
    return _unpack(zstandard.ZstdDecompressor(), frame, span, pack)


def _unpack(decompressor: zstandard.ZstdDecompressor, frame: bytes, span: TextSpan, pack: str) -> bytes:
    try:
        text = decompressor.decompress(frame, max_output_size=span.size) if span.size else b""
    except zstandard.ZstdError as error:
        raise CorruptData(f"chunk at byte {span.offset} of pack {pack!r} can't be unpacked: {error}") from error
    if digest(text) != span.digest:
        raise CorruptData(f"chunk at byte {span.offset} of pack {pack!r} does not match its digest")
    return text
