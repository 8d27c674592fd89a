"""What was read last, kept in memory up to a number of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class Kept(Generic[V]):
    """Values by name, the least recently used out first; safe for threads. One larger than `max_bytes` is not kept."""

    def __init__(self, size_bytes: Callable[[V], int], max_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._values: OrderedDict[str, V] = OrderedDict()
        self._bytes = 0

    def get(self, name: str, read: Callable[[], V]) -> V:
        """Return the value called `name`, by `read` if it is not kept; two threads may read it at the same time."""
        with self._lock:
            if name in self._values:
                self._values.move_to_end(name)
                return self._values[name]
        value = read()
        self._keep(name, value)
        return value

    def _keep(self, name: str, value: V) -> None:
        size = self._size_bytes(value)
        with self._lock:
            if name in self._values or size > self._max_bytes:
                return
            self._values[name] = value
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._bytes -= self._size_bytes(self._values.popitem(last=False)[1])
