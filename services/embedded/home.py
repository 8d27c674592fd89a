"""The data directory: where its parts lie, and which process owns it.

One process at a time owns a data directory (an advisory lock, so that it is
free again the moment its owner dies, however it dies). Everybody else reaches
it through the owner's socket.
"""

import errno
import fcntl
import json
import os
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from services.core.digest import digest
from services.core.errors import InvalidRequest, QuarryError, Unavailable

# Sealing a shard of 100,000 points writes about 500 MB before it removes as much.
_MIN_FREE_BYTES = 512 << 20


@dataclass(slots=True)
class Home:
    """Paths inside a data directory, and the lock of its owner."""

    root: Path
    _lock: int | None = field(default=None, repr=False)

    @property
    def database(self) -> Path:
        """Catalog and ledger."""
        return self.root / "catalog.db"

    @property
    def cache(self) -> Path:
        """Embedding cache."""
        return self.root / "cache.db"

    @property
    def blobs(self) -> Path:
        """Packs, vectors and manifests."""
        return self.root / "blobs"

    @property
    def mirrors(self) -> Path:
        """Bare mirrors of the repositories given by URL."""
        return self.root / "mirrors"

    @property
    def run(self) -> Path:
        """Files that mean something only while a process runs."""
        return self.root / "run"

    def vectors(self, schema: str) -> Path:
        """Return the folder of the vector store of an index schema."""
        return self.root / "vectors" / digest(schema.encode())[:16]

    @property
    def socket(self) -> Path:
        """The owner's socket, where the owner says it is: its temporary directory need not be ours."""
        noted = None if self._lock is not None else self.owner().get("socket")
        return Path(noted) if isinstance(noted, str) else self._own_socket()

    def prepare(self) -> None:
        """Create the directory.

        Raises:
            InvalidRequest: it can't be created or written.
            Unavailable: its disk is full.
        """
        try:
            for folder in (self.root, self.run):
                folder.mkdir(parents=True, exist_ok=True)
            # An index of a tree that holds the data directory must not index the data directory.
            tag = self.root / "CACHEDIR.TAG"
            if not tag.exists():
                tag.write_text(
                    "Signature: 8a477f597d28d172789f06886806bc55\n# Quarry's data; see https://bford.info/cachedir/\n"
                )
        except OSError as error:
            raise self._refused(error, "created") from error
        if not os.access(self.root, os.W_OK):
            raise InvalidRequest(f"data directory {str(self.root)!r} is not writable; set QUARRY_HOME")

    def is_used(self) -> bool:
        """Whether anything was ever stored here.

        Raises:
            InvalidRequest: that can't be seen.
        """
        try:
            return self.database.exists()
        except OSError as error:
            raise self._refused(error, "read") from error

    def check_room(self) -> None:
        """Refuse to write where little room is left.

        The vector store writes through memory maps, and the kernel ends a process that can't be
        given the room for such a page; so we stop before.

        Raises:
            Unavailable: the file system has less than 512 MiB free.
        """
        state = os.statvfs(self.root)
        free_bytes = state.f_bavail * state.f_frsize
        if free_bytes < _MIN_FREE_BYTES:
            raise Unavailable(
                f"the disk of {str(self.root)!r} has {free_bytes >> 20} MiB free, {_MIN_FREE_BYTES >> 20} are needed; "
                "make room, then run the same command again"
            )

    def try_own(self, role: str) -> bool:
        """Take the lock and say whether that worked; `role` is told to those who ask.

        Raises:
            InvalidRequest: there can be no lock.
            Unavailable: the disk is full.
        """
        try:
            return self._try_own({"pid": os.getpid(), "role": role, "socket": str(self._own_socket())})
        except OSError as error:
            raise self._refused(error, "locked") from error

    def own(self, role: str) -> None:
        """Take the lock.

        Raises:
            Unavailable: another process has it.
        """
        if not self.try_own(role):
            owner = self.owner()
            raise Unavailable(
                f"data directory {str(self.root)!r} is in use by {owner.get('role', 'another process')!r} "
                f"(process {owner.get('pid', 'unknown')}); stop it first"
            )

    def owner(self) -> dict[str, object]:
        """Return ``pid``, ``role`` and ``socket`` of the process that last owned it, {} if none ever did."""
        try:
            document = json.loads((self.root / "lock").read_text())
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def release(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _own_socket(self) -> Path:
        # Outside the directory, as a socket's path may have 107 bytes at most.
        name = digest(os.fsencode(os.path.realpath(self.root)))[:24]
        return Path(tempfile.gettempdir()) / f"quarry-{os.getuid()}" / f"{name}.sock"

    def _try_own(self, note: dict[str, object]) -> bool:
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            text = json.dumps(note).encode()
            # Over the old one, which takes no room that a full disk has not got.
            os.write(descriptor, text)
            os.ftruncate(descriptor, len(text))
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._lock = descriptor
        return True

    def _refused(self, error: OSError, what: str) -> QuarryError:
        message = f"data directory {str(self.root)!r} can't be {what}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Unavailable(f"{message}; make room, then run the same command again")
        return InvalidRequest(f"{message}; set QUARRY_HOME")


def check_private(folder: Path) -> None:
    """Refuse a folder in which another user could have put a socket; one that is missing is fine.

    Raises:
        Unavailable: it is somebody else's, no folder, or open to others.
    """
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unavailable(f"socket folder {str(folder)!r} can't be looked at: {error.strerror}") from error
    private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700
    if found.st_uid != os.getuid() or not private:
        raise Unavailable(
            f"socket folder {str(folder)!r} must be a directory of yours with mode 700; remove it, or set TMPDIR"
        )
