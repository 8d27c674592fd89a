"""Sealing: a copy of a full shard becomes one immutable, memory-mapped segment, in a process of its own.

The engine's ``optimize()`` holds the GIL for seconds, so that a thread would
stop every search; a child process does not, and it can be killed at any moment:
all it leaves is a directory that nothing names. Run as ``python -m
services.core.adapters.edge_seal SHARD DIM``.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import qdrant_edge as engine

from services.core.adapters.edge_errors import translated
from services.core.adapters.edge_layout import ENGINE_FOLDER, copy_shard, sync_tree, write_inventory
from services.core.adapters.edge_shard import Shard, save_keys, shard_config
from services.core.errors import QuarryError

# Measured: 3 to 5 s of CPU per 100,000 points. Beyond this something hangs.
TIMEOUT_S = 900.0
_LOG = "seal.log"
_ROOT = Path(__file__).resolve().parents[3]


class Sealing:
    """A child process that seals a copy of `shard` in `target`; `shard` must be flushed and not change meanwhile."""

    def __init__(self, shard: Shard, target: Path, dim: int) -> None:
        self.shard = shard
        self.target = target
        with translated(target):
            copy_shard(shard.directory, target)
            self._process = _start(target, dim)
        self._deadline = time.monotonic() + TIMEOUT_S

    def poll(self) -> bool:
        """Whether it has ended; one that hangs is killed and has."""
        if self._process.poll() is None and time.monotonic() > self._deadline:
            self.abandon()
        return self._process.poll() is not None

    def wait(self) -> None:
        """Return when it has ended."""
        try:
            self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.abandon()

    def abandon(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()

    def failure(self) -> str:
        """Return why it failed, "" if it did not."""
        code = self._process.returncode
        if code == 0:
            return ""
        log = self.target / _LOG
        lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        return f"exit status {code}: {lines[-1] if lines else 'no message'}"


def seal(directory: Path, dim: int) -> None:
    """Make the mutable shard in `directory` immutable, and store its keys and term counts, all on disk."""
    with translated(directory):
        opened = engine.EdgeShard.load(str(directory / ENGINE_FOLDER), shard_config(dim, sealed=True))
        opened.optimize()
        opened.flush()
    shard = Shard(directory, opened)
    save_keys(directory, shard.all_keys())
    shard.save_terms(shard.count_terms())
    shard.close()
    write_inventory(directory)
    sync_tree(directory)


def _start(target: Path, dim: int) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    with open(target / _LOG, "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(target.absolute()), str(dim)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": path},
            # An interrupt at the terminal is for the parent, which decides what becomes of us.
            start_new_session=True,
        )


def _main() -> int:
    # Searches and parsers go first, but a writer may be waiting for us: not the lowest priority.
    os.nice(5)
    try:
        seal(Path(sys.argv[1]), int(sys.argv[2]))
    except QuarryError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(_main())
