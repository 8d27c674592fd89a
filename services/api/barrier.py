"""A barrier between searches and the clean-up after a commit.

A search that began before a commit may still read what the commit replaced;
the indexer waits on the barrier before it deletes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadBarrier:
    """Counts the searches under way; waiting for them never blocks new ones."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._epoch = 0
        self._running: dict[int, int] = {}

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold everything that this search may read until the block ends."""
        with self._changed:
            epoch = self._epoch
            self._running[epoch] = self._running.get(epoch, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._running[epoch] -= 1
                if not self._running[epoch]:
                    del self._running[epoch]
                    self._changed.notify_all()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return True once every search begun before the call has ended, False if `timeout_s` passed first."""
        with self._changed:
            before = self._epoch
            self._epoch += 1
            return self._changed.wait_for(lambda: all(epoch > before for epoch in self._running), timeout_s)
