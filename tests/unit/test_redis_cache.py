import logging
import signal
import socket
import time

import numpy as np
import pytest
import redis

from services.core.adapters.redis_cache import RedisCache
from services.core.digest import digest
from services.core.errors import InvalidRequest, Unavailable
from tests.contract.test_cache_contract import MODEL, assert_known, vectors
from tests.servers import free_port, redis_server

NOTHING = {"entries": 0, "size_bytes": 0, "limit_bytes": 0, "hits": 0, "misses": 0, "hit_rate": 0.0}


class Clock:
    """A clock that is set by hand, in seconds."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cache(cache_url, clock):
    return RedisCache(cache_url, clock)


@pytest.fixture
def client(cache_url):
    with redis.Redis.from_url(cache_url) as opened:
        yield opened


def test_an_entry_is_named_by_model_and_digest_and_costs_four_bytes_beside_its_row(cache, client):
    ((name, row),) = vectors(0, 1).items()

    cache.put(MODEL, {name: row})

    (key,) = client.keys()
    assert len(key) == len(b"q:") + 12 + len(b":") + 32
    assert key.endswith(bytes.fromhex(name))
    assert client.get(key)[:-4] == row.astype("<f2").tobytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: b"",
        lambda value: b"x",
        lambda value: b"\0\0\0\0",
        lambda value: value[:-1],
        lambda value: value[: len(value) // 2],
        lambda value: value + b"\0\0",
        lambda value: bytes([value[0] ^ 1]) + value[1:],
        lambda value: b"\0" * len(value),
    ],
)
def test_a_damaged_value_is_a_miss_and_can_be_stored_again(cache, client, damage):
    known = vectors(0, 1)
    cache.put(MODEL, known)
    (key,) = client.keys()
    client.set(key, damage(client.get(key)))

    assert cache.get(MODEL, list(known)) == {}

    cache.put(MODEL, known)
    assert_known(cache, known)


def test_a_value_under_anothers_key_is_a_miss(cache, client):
    cache.put(MODEL, vectors(0, 1))
    (key,) = client.keys()
    other = digest(b"other")

    client.rename(key, key[:-32] + bytes.fromhex(other))

    assert cache.get(MODEL, [other]) == {}


def test_more_than_one_command_holds_is_stored_and_found(cache):
    known = vectors(0, 1500, dim=8)

    cache.put(MODEL, known)

    assert_known(cache, known)
    assert cache.stats()["entries"] == 1500


def test_a_text_asked_for_twice_counts_once(cache):
    known = vectors(0, 1)
    cache.put(MODEL, known)

    cache.get(MODEL, [*known, *known])

    assert (cache.stats()["hits"], cache.stats()["misses"]) == (1, 0)


def test_what_is_evicted_is_forgotten_and_the_limit_is_redis_own(cache, client):
    client.config_set("maxmemory", "3mb")
    try:
        for start in range(0, 20_000, 1000):
            cache.put(MODEL, vectors(start, 1000))

        stats = cache.stats()
        assert stats["limit_bytes"] == 3 << 20
        assert stats["size_bytes"] <= 1.05 * stats["limit_bytes"]
        assert 0 < stats["entries"] < 5000
        assert len(cache.get(MODEL, list(vectors(19_000, 1000)))) > 300
    finally:
        client.config_set("maxmemory", "64mb")


def test_clear_leaves_what_is_not_the_caches(cache, client):
    cache.put(MODEL, vectors(0, 1200, dim=8))
    cache.get(MODEL, [digest(b"never seen")])
    others = {b"queue", b"q:", b"q:short", b"q:0123456789ab:short", b"q:0123456789AB:" + bytes(32)}
    for key in others:
        client.set(key, "kept")

    cache.clear()

    assert set(client.keys()) == others


def test_nobody_listening_is_a_miss_said_once_a_minute(clock, caplog):
    cache = RedisCache(f"redis://127.0.0.1:{free_port()}/0", clock)

    with caplog.at_level(logging.WARNING):
        for _ in range(13):
            assert cache.get(MODEL, list(vectors(0, 3))) == {}
            cache.put(MODEL, vectors(0, 3))
            assert cache.stats() == NOTHING
            clock.now += 6.0

    assert caplog.messages == ["embedding_cache_passed_over"] * 2


def test_clear_of_a_cache_that_does_not_answer_is_no_success(clock):
    with pytest.raises(Unavailable, match="QUARRY_CACHE_URL"):
        RedisCache(f"redis://127.0.0.1:{free_port()}/0", clock).clear()


def test_a_cache_that_hangs_is_left_alone_for_a_while():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cache = RedisCache(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()

        for _ in range(50):
            assert cache.get(MODEL, list(vectors(0, 3))) == {}
            cache.put(MODEL, vectors(0, 3))

        # One time-out of a second, not a hundred.
        assert 0.5 < time.monotonic() - began < 3.0


def test_a_restart_costs_only_what_was_known(own_redis, tmp_path, clock):
    port = int(own_redis.url.rpartition(":")[2].partition("/")[0])
    cache = RedisCache(own_redis.url, clock)
    cache.put(MODEL, vectors(0, 10))

    own_redis.end(signal.SIGKILL)
    assert cache.get(MODEL, list(vectors(0, 10))) == {}
    again = redis_server(tmp_path, port=port)
    try:
        cache.put(MODEL, vectors(0, 10))
        assert cache.get(MODEL, list(vectors(0, 10))) == {}
        clock.now += 6.0
        cache.put(MODEL, vectors(0, 10))
        assert_known(cache, vectors(0, 10))
    finally:
        cache.close()
        again.end(signal.SIGKILL)


def test_a_restart_between_two_calls_is_not_noticed(own_redis, tmp_path, clock, caplog):
    port = int(own_redis.url.rpartition(":")[2].partition("/")[0])
    cache = RedisCache(own_redis.url, clock)
    cache.put(MODEL, vectors(0, 10))
    own_redis.end(signal.SIGKILL)
    again = redis_server(tmp_path, port=port)
    try:
        cache.put(MODEL, vectors(0, 10))
        assert_known(cache, vectors(0, 10))
        assert caplog.messages == []
    finally:
        cache.close()
        again.end(signal.SIGKILL)


def test_a_full_redis_that_does_not_evict_still_answers(own_redis, clock, caplog):
    cache = RedisCache(own_redis.url, clock)
    known = vectors(0, 10)
    cache.put(MODEL, known)
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", "1")

    with caplog.at_level(logging.WARNING):
        cache.put(MODEL, vectors(100, 10))

    assert caplog.messages == ["embedding_cache_passed_over"]
    clock.now += 6.0
    assert np.array_equal(cache.get(MODEL, list(known))[next(iter(known))], known[next(iter(known))])
    cache.close()


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost", "redis://localhost:port"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InvalidRequest, match="QUARRY_CACHE_URL"):
        RedisCache(url)
