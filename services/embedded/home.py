"""The data directory: where its parts lie, and which process owns it.

One process at a time owns a data directory (an advisory lock, so that it is
free again the moment its owner dies, however it dies). Everybody else reaches
it through the owner's socket.
"""

import fcntl
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from services.core.digest import digest
from services.core.errors import InvalidRequest, Unavailable

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
        """The owner's socket: outside the directory, as a socket's path may have 107 bytes at most."""
        name = digest(str(self.root.resolve()).encode())[:24]
        return Path(tempfile.gettempdir()) / f"quarry-{os.getuid()}" / f"{name}.sock"

    def prepare(self) -> None:
        """Create the directory.

        Raises:
            InvalidRequest: it can't be created or written.
        """
        try:
            for folder in (self.root, self.run):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequest(
                f"data directory {str(self.root)!r} can't be created: {error.strerror}; set QUARRY_HOME"
            ) from error
        # An index of a tree that holds the data directory must not index the data directory.
        tag = self.root / "CACHEDIR.TAG"
        if not tag.exists():
            tag.write_text(
                "Signature: 8a477f597d28d172789f06886806bc55\n# Quarry's data; see https://bford.info/cachedir/\n"
            )
        if not os.access(self.root, os.W_OK):
            raise InvalidRequest(f"data directory {str(self.root)!r} is not writable; set QUARRY_HOME")

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
        """Take the lock and say whether that worked; `role` is told to those who ask."""
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "role": role}).encode())
        self._lock = descriptor
        return True

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
        """Return ``pid`` and ``role`` of the process that last owned the directory, {} if none ever did."""
        try:
            document: dict[str, object] = json.loads((self.root / "lock").read_text())
        except (OSError, ValueError):
            return {}
        return document

    def release(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
