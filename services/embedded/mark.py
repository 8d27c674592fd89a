"""A note that outlives its writer: which file a worker is parsing, and since when.

It is a shared memory-mapped file: a worker that dies in a parser can't report
anything any more, its supervisor reads here which file killed it.
"""

import mmap
import struct
import time
from pathlib import Path

# start (seconds, monotonic; 0 = nothing is being parsed), length of the locator in bytes
_HEADER = struct.Struct("<dI")
_SIZE_BYTES = 8192


class Mark:
    """The mark of one worker; either side may read and write it.

    Raises:
        OSError: it can't be written, as on a full disk.
    """

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            # Real zeros: a page of a hole that finds no room on the disk ends the process that touches it.
            file.write(bytes(max(0, _SIZE_BYTES - file.tell())))
            file.flush()
            self._map = mmap.mmap(file.fileno(), _SIZE_BYTES)

    def set(self, locator: str | None) -> None:
        """Write which file is being parsed from now on, None when it is done."""
        if locator is None:
            self._map[: _HEADER.size] = _HEADER.pack(0.0, 0)
            return
        name = locator.encode("utf-8", "surrogateescape")[: _SIZE_BYTES - _HEADER.size]
        self._map[_HEADER.size : _HEADER.size + len(name)] = name
        self._map[: _HEADER.size] = _HEADER.pack(time.monotonic(), len(name))

    def get(self) -> tuple[str, float] | None:
        """Return the file being parsed and for how many seconds, None if there is none."""
        start, length = _HEADER.unpack(self._map[: _HEADER.size])
        if not start:
            return None
        name = self._map[_HEADER.size : _HEADER.size + length]
        return name.decode("utf-8", "surrogateescape"), time.monotonic() - start
