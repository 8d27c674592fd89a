"""Blobs as files of a directory, named by their digest in a two-level fan-out (``ab/ab12…``).

A blob appears by an atomic rename of a file that is already on disk, so that a
reader sees a whole blob or none, whoever is killed when. The shape is git's and restic's.
"""

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.core.digest import digest
from services.core.errors import CorruptData, NotFound, Unavailable

_DIGEST = re.compile(r"[0-9a-f]{64}")
# A temporary file this old belongs to a process that is gone: none takes an hour to write one blob.
_STALE_S = 3600.0


class DirectoryBlobs:
    """A `BlobStore` in `directory`; any number of processes may use it at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._temporary = directory / "tmp"
        with _translated(directory):
            self._temporary.mkdir(parents=True, exist_ok=True)
            self._remove_stale()

    def put(self, data: bytes) -> str:
        """Store `data` durably and return its digest; one that is damaged is replaced.

        Raises:
            Unavailable: the disk is full or can't be written.
        """
        name = digest(data)
        path = self._path(name)
        with _translated(self._directory, len(data)):
            if _holds(path, data):
                # As if it was written now: nobody who deletes by age may take it from under its writer.
                os.utime(path)
            else:
                self._write(path, data)
        return name

    def get(self, digest: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a blob, verified, or `length` bytes of it from `start`, unverified.

        Raises:
            NotFound: there is no such blob.
            CorruptData: the bytes do not match, or the blob is shorter than the range.
            Unavailable: it can't be read now.
        """
        if not _DIGEST.fullmatch(digest):
            raise NotFound(f"{digest!r} is not the digest of a blob (64 hex digits)")
        path = self._path(digest)
        with _translated(self._directory):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise NotFound(f"blob {digest} is not in {str(self._directory)!r}") from None
            try:
                return _read(descriptor, path, start, length)
            finally:
                os.close(descriptor)

    def delete(self, digest: str, *, older_than_s: float = 0.0) -> None:
        """Remove a blob, unless it was stored, or stored again, since so long; one that is not there is no error."""
        if _DIGEST.fullmatch(digest):
            with _translated(self._directory):
                path = self._path(digest)
                if _is_older(path, older_than_s):
                    path.unlink(missing_ok=True)

    def digests(self, *, older_than_s: float = 0.0) -> Iterator[str]:
        """Yield the digest of every blob that was not stored, or stored again, since so long; in no order."""
        with _translated(self._directory):
            for folder in self._directory.glob("[0-9a-f][0-9a-f]"):
                names = (name for name in os.listdir(folder) if _DIGEST.fullmatch(name))
                yield from (name for name in names if _is_older(folder / name, older_than_s))

    def _path(self, name: str) -> Path:
        return self._directory / name[:2] / name

    def _write(self, path: Path, data: bytes) -> None:
        temporary = self._temporary / uuid.uuid4().hex
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._make_folder(path.parent)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            _sync_folder(self._directory)

    def _remove_stale(self) -> None:
        for path in self._temporary.iterdir():
            # Another process may rename or remove its file while we look.
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()


def _is_older(path: Path, seconds: float) -> bool:
    if not seconds:
        return True
    try:
        return time.time() - path.stat().st_mtime >= seconds
    except FileNotFoundError:
        return False


def _holds(path: Path, data: bytes) -> bool:
    # Compared in full: storing again is how a damaged blob is mended, and it is rare.
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except FileNotFoundError:
        return False


def _read(descriptor: int, path: Path, start: int, length: int | None) -> bytes:
    size = os.fstat(descriptor).st_size
    wanted = size - start if length is None else length
    if start < 0 or wanted < 0 or start + wanted > size:
        raise CorruptData(
            f"blob {path.name} has {size} bytes, {wanted} from {start} were asked for; run 'quarry doctor'"
        )
    data = _pread(descriptor, start, wanted)
    if start == 0 and length is None and digest(data) != path.name:
        raise CorruptData(f"blob {str(path)!r} does not match its digest; run 'quarry doctor'")
    return data


def _pread(descriptor: int, start: int, length: int) -> bytes:
    parts = []
    while length:
        # One call returns at most 2 GiB on Linux.
        part = os.pread(descriptor, length, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(directory: Path, size_bytes: int = 0) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free_mb = shutil.disk_usage(directory).free // 1_000_000
            message = (
                f"no room for a blob of {size_bytes} bytes in {str(directory)!r} ({free_mb} MB free); free some space"
            )
            raise Unavailable(message) from error
        raise Unavailable(f"blobs in {str(directory)!r} can't be used: {error.strerror or error}") from error
