"""The files inside a package's archive: zip, tar, or Debian's binary package."""

import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER_BYTES = 60


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the bytes of each regular file, in the archive's order; nothing is written to disk."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                if not name.endswith("/"):
                    yield name, opened.read(name)
        return
    data = archive.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(_debian_data(data) if data.startswith(_AR_MAGIC) else data)) as tar:
        # In the order of the archive: each step back would decompress it from its start.
        for member in tar:
            held = tar.extractfile(member) if member.isfile() else None
            if held is not None:
                yield member.name, held.read()


def _debian_data(data: bytes) -> bytes:
    """Return the tar with the files of a binary package (deb(5): an ar archive of three members)."""
    at = len(_AR_MAGIC)
    while at < len(data):
        header = data[at : at + _AR_HEADER_BYTES]
        size = int(header[48:58])
        at += _AR_HEADER_BYTES
        if header.startswith(b"data.tar"):
            return data[at : at + size]
        at += size + size % 2
    raise ValueError("a Debian package without data.tar")
