"""The embedding cache that all embedders share: vectors by (model, digest of the text) in a Redis that evicts.

A cache may forget: one that does not answer knows nothing, costs a second now and then, and never
fails a batch. Every value carries a checksum, so that a damaged one is a miss and not a wrong vector.
"""

import logging
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from blake3 import blake3
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError
from redis.retry import Retry

from services.core.errors import InvalidRequest, Unavailable

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_Item = TypeVar("_Item")

_COUNTERS = ("q:hits", "q:misses")
_ENTRY = re.compile(rb"q:[0-9a-f]{12}:.{32}", re.DOTALL)
# Keys in one command: Redis serves nobody else meanwhile, which is then about half a millisecond.
_CHUNK = 512
_TIMEOUT_S = 1.0
# How long a cache that did not answer is left alone: else every batch would wait for it anew.
_PAUSE_S = 5.0
_WARNING_INTERVAL_S = 60.0
_CRC_BYTES = 4


class RedisCache:
    """A cache in the Redis at `url`; safe for threads and over forks. `clock` gives seconds that never go back.

    How much it holds is Redis's own ``maxmemory``, with ``maxmemory-policy allkeys-lru``.

    Raises:
        InvalidRequest: `url` is not the address of a Redis.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        # A kept connection may turn out to be lost, so once more; a time-out is not worth a second one.
        retry = Retry(NoBackoff(), 1, supported_errors=(ConnectionLost,))
        try:
            self._redis = Redis.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=retry)
        except ValueError as error:
            raise InvalidRequest(f"QUARRY_CACHE_URL is not an address like 'redis://host:6379/0': {error}") from error
        self._clock = clock
        self._lock = threading.Lock()
        self._paused_until = self._silent_until = clock()

    def get(self, model: str, digests: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the known ones, each float32[dim]."""
        found: dict[str, np.ndarray] = {}
        wanted = list(dict.fromkeys(digests))
        self._asked(lambda: self._look_up(model, wanted, found), None)
        return found

    def put(self, model: str, vectors: Mapping[str, np.ndarray]) -> None:
        """Remember vectors, each float32[dim]; stored as float16."""
        self._asked(lambda: self._store(model, vectors), None)

    def stats(self) -> dict[str, int | float]:
        """Return entries, sizes and the hit rate since the last `clear`, of all processes together.

        ``size_bytes`` is all that Redis uses; ``limit_bytes`` is its ``maxmemory``, 0 for none. Zeros
        where it does not answer.
        """
        return self._asked(self._read_stats, _stats(entries=0, memory={}, hits=0, misses=0))

    def clear(self) -> None:
        """Forget everything, and count hits from zero; keys that are not the cache's stay.

        Raises:
            Unavailable: Redis does not answer. This is an order, and must not seem to be carried out.
        """
        try:
            for keys in _chunks(self._redis.scan_iter(match="q:*", count=1000)):
                if ours := [key for key in keys if _ENTRY.fullmatch(key)]:
                    self._redis.unlink(*ours)
            self._redis.unlink(*_COUNTERS)
        except (RedisError, OSError) as error:
            raise Unavailable(f"the cache at QUARRY_CACHE_URL does not answer: {error}; is it running?") from error

    def close(self) -> None:
        """Close the connections; the next call opens one again."""
        self._redis.close()

    def _look_up(self, model: str, wanted: list[str], found: dict[str, np.ndarray]) -> None:
        prefix = _prefix(model)
        for chunk in _chunks(wanted):
            values: Any = self._redis.mget([prefix + bytes.fromhex(digest) for digest in chunk])
            for digest, value in zip(chunk, values, strict=True):
                row = None if value is None else _unpacked(digest, value)
                if row is not None:
                    found[digest] = row
        if wanted:
            self._count(len(found), len(wanted) - len(found))

    def _store(self, model: str, vectors: Mapping[str, np.ndarray]) -> None:
        prefix = _prefix(model)
        for chunk in _chunks(vectors.items()):
            # One command: the client spends more on each than Redis does.
            self._redis.mset({prefix + bytes.fromhex(digest): _packed(digest, row) for digest, row in chunk})

    def _count(self, *increments: int) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for name, increment in zip(_COUNTERS, increments, strict=True):
            pipeline.incrby(name, increment)
        pipeline.execute()

    def _read_stats(self) -> dict[str, int | float]:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.dbsize()
        pipeline.info("memory")
        pipeline.mget(_COUNTERS)
        keys, memory, counters = pipeline.execute()
        hits, misses = (int(value or 0) for value in counters)
        entries = keys - sum(value is not None for value in counters)
        return _stats(entries=entries, memory=memory, hits=hits, misses=misses)

    def _asked(self, question: Callable[[], _Result], otherwise: _Result) -> _Result:
        if self._clock() < self._paused_until:
            return otherwise
        try:
            return question()
        except (RedisError, OSError) as error:
            self._pass_over(error)
            return otherwise

    def _pass_over(self, error: Exception) -> None:
        with self._lock:
            now = self._clock()
            self._paused_until = now + _PAUSE_S
            told = now < self._silent_until
            if not told:
                self._silent_until = now + _WARNING_INTERVAL_S
        if not told:
            _log.warning("embedding_cache_passed_over", extra={"reason": str(error), "pause_s": _PAUSE_S})


def _prefix(model: str) -> bytes:
    return f"q:{blake3(model.encode()).hexdigest(6)}:".encode()


def _packed(digest: str, row: np.ndarray) -> bytes:
    data = row.astype("<f2").tobytes()
    return data + _crc(digest, data)


def _unpacked(digest: str, value: bytes) -> np.ndarray | None:
    data, crc = value[:-_CRC_BYTES], value[-_CRC_BYTES:]
    if not data or len(data) % 2 or crc != _crc(digest, data):
        return None
    return np.frombuffer(data, "<f2").astype(np.float32)


def _crc(digest: str, data: bytes) -> bytes:
    # It begins with the digest: a value that ended up under another key is not taken for that one's.
    return zlib.crc32(data, int(digest[:8], 16)).to_bytes(_CRC_BYTES, "little")


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _stats(*, entries: int, memory: Mapping[str, int], hits: int, misses: int) -> dict[str, int | float]:
    return {
        "entries": entries,
        "size_bytes": memory.get("used_memory", 0),
        "limit_bytes": memory.get("maxmemory", 0),
        "hits": hits,
        "misses": misses,
        "hit_rate": hits / (hits + misses) if hits else 0.0,
    }
