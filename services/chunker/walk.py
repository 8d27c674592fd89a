"""A plain directory as a source: what lies in it now, links never followed.

The fingerprint of a file is ``"size:mtime_ns"``. One that was written less than
two seconds before it was listed may be written again without a change of its
time stamp, so its fingerprint also carries the time of the listing and equals
no other (git calls such entries racy).
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from services.chunker import ignore, names
from services.chunker.classify import skip_by_name, skip_directory, skip_marked_directory
from services.core.digest import digest
from services.core.errors import InvalidRequest
from services.core.model import FileRef, Skipped, SkipReason

# FAT keeps time stamps to two seconds; every other file system in use is finer.
_RACY_NS = 2_000_000_000
_MAX_IGNORE_FILE_BYTES = 1 << 20
# Non-blocking, so that a pipe put in a file's place can't hold the reader for ever.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class DirectorySource:
    """The files below `root`; listed once, when they are first asked for."""

    def __init__(self, root: Path, *, max_file_bytes: int = 1 << 20, clock: Callable[[], int] = time.time_ns) -> None:
        self._root = os.fsencode(root)
        self._max_file_bytes = max_file_bytes
        self._clock = clock
        self._listing: tuple[list[FileRef], list[Skipped]] | None = None

    def files(self) -> tuple[list[FileRef], list[Skipped]]:
        """List the files to index and what is left out, both by path; a folder left out is one entry, ending in "/".

        Raises:
            InvalidRequest: the root can't be listed.
        """
        if self._listing is None:
            walk = _Walk(self._root, self._max_file_bytes, self._clock())
            walk.run()
            walk.refs.sort(key=lambda ref: ref.path)
            walk.skipped.sort(key=lambda skipped: skipped.path)
            self._listing = walk.refs, walk.skipped
        return self._listing

    def revision(self) -> str:
        """Name the state listed: ``"dir:"`` and the digest of every path with its fingerprint or reason."""
        refs, skipped = self.files()
        parts = [part for ref in refs for part in (ref.path, ref.fingerprint)]
        parts += [part for left_out in skipped for part in (left_out.path, left_out.reason)]
        return "dir:" + digest("\0".join(parts).encode())

    def read(self, refs: Sequence[FileRef]) -> Iterator[bytes | Skipped]:
        """Yield each file's bytes in order, or why it can't be read."""
        for ref in refs:
            yield _read_file(os.path.join(self._root, names.name_bytes(ref.locator)), ref.path, self._max_file_bytes)

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> "DirectorySource":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Folder(NamedTuple):
    """A folder still to list: its path on disk, its locator and path below the root, each "" or ending in a slash."""

    disk: bytes
    locator: str
    path: str
    rules: ignore.Rules | None


class _Walk:
    """One traversal and what it found."""

    def __init__(self, root: bytes, max_file_bytes: int, listed_ns: int) -> None:
        self.refs: list[FileRef] = []
        self.skipped: list[Skipped] = []
        self._folders = [_Folder(root, "", "", None)]
        self._max_file_bytes = max_file_bytes
        self._listed_ns = listed_ns

    def run(self) -> None:
        while self._folders:
            self._list(self._folders.pop())

    def _list(self, folder: _Folder) -> None:
        try:
            with os.scandir(folder.disk) as listing:
                entries = list(listing)
        except OSError as error:
            self._unlisted(folder, error)
            return
        special = {entry.name for entry in entries if entry.name in _SPECIAL_NAMES}
        if special and folder.path:
            for name in special:
                if reason := skip_marked_directory(name.decode()):
                    self._skip(folder.path, reason, f"marked by {name.decode()}")
                    return
        if special:
            folder = folder._replace(rules=_rules(folder, special))
        for entry in entries:
            self._visit(folder, entry)

    def _unlisted(self, folder: _Folder, error: OSError) -> None:
        if not folder.path:
            raise InvalidRequest(f"directory {os.fsdecode(folder.disk)!r} can't be listed: {error.strerror}") from error
        self._skip(folder.path, _reason(error), error.strerror or "")

    def _visit(self, folder: _Folder, entry: "os.DirEntry[bytes]") -> None:
        locator = names.locator(entry.name)
        name = names.display(locator)
        path = folder.path + name
        if entry.is_symlink():
            self._skip(path, SkipReason.SYMLINK)
        elif entry.is_dir(follow_symlinks=False):
            self._enter(folder, entry.path, locator, name)
        elif not entry.is_file(follow_symlinks=False):
            self._skip(path, SkipReason.SPECIAL)
        elif reason := skip_by_name(path):
            self._skip(path, reason)
        elif folder.rules is not None and folder.rules.ignores(path):
            self._skip(path, SkipReason.IGNORED)
        else:
            self._file(entry, path, folder.locator + locator)

    def _enter(self, folder: _Folder, disk: bytes, locator: str, name: str) -> None:
        path = f"{folder.path}{name}/"
        if reason := skip_directory(name):
            self._skip(path, reason, "folder not entered")
        elif folder.rules is not None and folder.rules.ignores(path):
            self._skip(path, SkipReason.IGNORED, "folder not entered")
        else:
            self._folders.append(_Folder(disk, f"{folder.locator}{locator}/", path, folder.rules))

    def _file(self, entry: "os.DirEntry[bytes]", path: str, locator: str) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            self._skip(path, _reason(error), error.strerror or "")
            return
        size, mtime_ns = status.st_size, status.st_mtime_ns
        if size == 0:
            self._skip(path, SkipReason.EMPTY)
        elif size > self._max_file_bytes:
            self._skip(path, SkipReason.TOO_LARGE, f"{size} bytes")
        else:
            racy = f"~{self._listed_ns}" if mtime_ns > self._listed_ns - _RACY_NS else ""
            self.refs.append(FileRef(path, locator, f"{size}:{mtime_ns}{racy}", size))

    def _skip(self, path: str, reason: SkipReason, detail: str = "") -> None:
        self.skipped.append(Skipped(path, reason, detail))


_IGNORE_FILES = tuple(name.encode() for name in ignore.DIRECTORY_FILES)
_SPECIAL_NAMES = frozenset((*_IGNORE_FILES, b"pyvenv.cfg", b"CACHEDIR.TAG"))


def _rules(folder: _Folder, special: set[bytes]) -> ignore.Rules | None:
    texts = []
    for name in _IGNORE_FILES:
        if name in special:
            content = _read_file(os.path.join(folder.disk, name), "", _MAX_IGNORE_FILE_BYTES)
            if isinstance(content, bytes):
                texts.append(content.decode("utf-8", "replace"))
    return ignore.nested(folder.rules, folder.path, "\n".join(texts))


def _read_file(disk: bytes, path: str, limit_bytes: int) -> bytes | Skipped:
    try:
        descriptor = os.open(disk, _READ_FLAGS)
    except OSError as error:
        return Skipped(path, _reason(error), error.strerror or "")
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return Skipped(path, SkipReason.SPECIAL)
        content = _read_all(descriptor, limit_bytes)
    except OSError as error:
        return Skipped(path, _reason(error), error.strerror or "")
    finally:
        os.close(descriptor)
    if len(content) > limit_bytes:
        return Skipped(path, SkipReason.TOO_LARGE, f"more than {limit_bytes} bytes")
    return content


def _read_all(descriptor: int, limit_bytes: int) -> bytes:
    """Read at most one byte more than the limit, however fast the file grows."""
    content = os.read(descriptor, limit_bytes + 1)
    while 0 < len(content) <= limit_bytes and (more := os.read(descriptor, limit_bytes + 1 - len(content))):
        content += more
    return content


def _reason(error: OSError) -> SkipReason:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return SkipReason.VANISHED
    if error.errno == errno.ELOOP:
        return SkipReason.SYMLINK
    return SkipReason.SPECIAL if error.errno == errno.ENXIO else SkipReason.UNREADABLE
