"""The contents of a batch's files as one blob, so that whoever chunks them needs neither git nor the network.

Layout: magic, then one zstd frame of: the length of the header (4 bytes, little-endian), the header (JSON: a
[locator, length] or [locator, null, path, reason, detail] for each file), and the contents one after the other.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import zstandard

from services.core.errors import CorruptData
from services.core.model import FileRef, Skipped, SkipReason
from services.core.ports import BlobStore

_MAGIC = b"QRYSRCS1"
# It lives for minutes, so speed counts: level 1 packs source at 400 MB/s a core to a fourth.
_LEVEL = 1
# A batch holds a few MiB, a file of its own up to QUARRY_MAX_FILE_BYTES.
_MAX_BYTES = 2 << 30


def write_source_pack(refs: Sequence[FileRef], contents: Iterable[bytes | Skipped]) -> bytes:
    """Return the blob of the files' contents, in order; files that could not be read keep their reason."""
    rows: list[list[Any]] = []
    parts: list[bytes] = []
    for ref, content in zip(refs, contents, strict=True):
        if isinstance(content, Skipped):
            rows.append([ref.locator, None, content.path, content.reason.value, content.detail])
        else:
            rows.append([ref.locator, len(content)])
            parts.append(content)
    header = json.dumps(rows, separators=(",", ":")).encode()
    raw = b"".join((len(header).to_bytes(4, "little"), header, *parts))
    return _MAGIC + zstandard.ZstdCompressor(level=_LEVEL).compress(raw)


class PackedSource:
    """A source that reads from such a blob; it lists nothing.

    Raises:
        NotFound: there is no such blob.
        CorruptData: it is not one.
    """

    def __init__(self, blobs: BlobStore, digest: str) -> None:
        data = blobs.get(digest)
        try:
            if not data.startswith(_MAGIC):
                raise ValueError("wrong magic")
            frame = data[len(_MAGIC) :]
            raw = zstandard.ZstdDecompressor().decompress(frame, max_output_size=_MAX_BYTES)
            self._contents = dict(_contents(raw))
        except (ValueError, KeyError, TypeError, zstandard.ZstdError) as error:
            raise CorruptData(f"source pack {digest} can't be read: {error}") from error

    def files(self) -> tuple[list[FileRef], list[Skipped]]:
        """Return nothing: what is to be chunked, the batch says."""
        return [], []

    def read(self, refs: Sequence[FileRef]) -> Iterable[bytes | Skipped]:
        """Yield each file's contents in order.

        Raises:
            CorruptData: the blob does not hold one of them.
        """
        for ref in refs:
            if ref.locator not in self._contents:
                raise CorruptData(f"the source pack of the batch lacks {ref.path!r}; index the repository again")
            found = self._contents[ref.locator]
            # Two files of the same content have one locator.
            yield replace(found, path=ref.path) if isinstance(found, Skipped) else found


def _contents(raw: bytes) -> Iterable[tuple[str, bytes | Skipped]]:
    start = 4 + int.from_bytes(raw[:4], "little")
    for locator, length, *skipped in json.loads(raw[4:start]):
        if length is None:
            path, reason, detail = skipped
            yield locator, Skipped(path, SkipReason(reason), detail)
            continue
        if start + length > len(raw):
            raise ValueError(f"{len(raw)} bytes, more expected")
        yield locator, raw[start : start + length]
        start += length
