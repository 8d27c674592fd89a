"""What every embedding cache must do, and what the SQLite one must survive; see test_redis_cache for the Redis one."""

import logging
import multiprocessing
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.core.adapters.cache import NullCache, SqliteCache
from services.core.adapters.redis_cache import RedisCache
from services.core.digest import digest
from tests.fakes_cache import MemoryCache

MODEL = "model@1"
LIMIT = 50_000_000
REMEMBERING = {
    "sqlite": lambda fixture: SqliteCache(fixture("tmp_path") / "cache.db", LIMIT),
    "redis": lambda fixture: RedisCache(fixture("cache_url")),
    "memory": lambda fixture: MemoryCache(),
}
CACHES = REMEMBERING | {"null": lambda fixture: NullCache()}


@pytest.fixture(params=CACHES)
def any_cache(request):
    return CACHES[request.param](request.getfixturevalue)


@pytest.fixture(params=REMEMBERING)
def cache(request):
    return REMEMBERING[request.param](request.getfixturevalue)


@pytest.fixture
def sqlite_cache(tmp_path):
    return SqliteCache(tmp_path / "cache.db", LIMIT)


class Clock:
    """A clock that is set by hand, in hours."""

    hour = 500_000

    def __call__(self):
        return self.hour * 3600.0


def vectors(start, count, dim=256):
    rows = np.random.default_rng(start).standard_normal((count, dim)).astype(np.float16).astype(np.float32)
    return {digest(f"text {start + i}".encode()): row for i, row in enumerate(rows)}


def assert_known(cache, expected, model=MODEL):
    found = cache.get(model, list(expected))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], row) and found[key].dtype == np.float32 for key, row in expected.items())


def test_an_unknown_text_is_a_miss(any_cache):
    assert any_cache.get(MODEL, [digest(b"never seen")]) == {}


def test_nothing_is_asked_and_nothing_is_stored_without_an_error(any_cache):
    any_cache.put(MODEL, {})

    assert any_cache.get(MODEL, []) == {}


def test_stats_have_the_same_names_everywhere(any_cache):
    any_cache.put(MODEL, vectors(0, 3))
    any_cache.get(MODEL, [digest(b"never seen")])

    assert list(any_cache.stats()) == ["entries", "size_bytes", "limit_bytes", "hits", "misses", "hit_rate"]


def test_what_is_put_is_got(cache):
    known = vectors(0, 100)

    cache.put(MODEL, known)

    assert_known(cache, known)


def test_only_the_known_are_returned(cache):
    known = vectors(0, 3)
    cache.put(MODEL, known)

    assert cache.get(MODEL, [*known, *vectors(100, 3)]).keys() == known.keys()


def test_models_do_not_share_vectors(cache):
    key = digest(b"same text")
    one, two = np.eye(2, 8, dtype=np.float32)

    cache.put("model@1", {key: one})
    cache.put("model@2", {key: two})

    assert np.array_equal(cache.get("model@1", [key])[key], one)
    assert np.array_equal(cache.get("model@2", [key])[key], two)
    assert cache.get("model@3", [key]) == {}


def test_putting_again_changes_nothing(cache):
    known = vectors(0, 10)
    cache.put(MODEL, known)

    cache.put(MODEL, known)

    assert_known(cache, known)
    assert cache.stats()["entries"] == 10


def test_hits_and_misses_are_counted(cache):
    known = vectors(0, 3)
    cache.put(MODEL, known)

    cache.get(MODEL, [*known, digest(b"never seen")])

    stats = cache.stats()
    assert (stats["hits"], stats["misses"], stats["hit_rate"]) == (3, 1, 0.75)


def test_clear_forgets_everything(cache):
    known = vectors(0, 10)
    cache.put(MODEL, known)
    cache.get(MODEL, list(known))

    cache.clear()

    assert cache.stats()["entries"] == cache.stats()["hits"] == 0
    assert cache.get(MODEL, list(known)) == {}


def test_threads_may_share_a_cache(cache):
    parts = [vectors(1000 * i, 50) for i in range(8)]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda part: (cache.put(MODEL, part), cache.get(MODEL, list(part))), parts))

    for part in parts:
        assert_known(cache, part)


def test_a_restart_forgets_nothing(tmp_path):
    known = vectors(0, 50)
    first = SqliteCache(tmp_path / "cache.db", LIMIT)
    first.put(MODEL, known)
    first.get(MODEL, list(known))
    first.close()

    second = SqliteCache(tmp_path / "cache.db", LIMIT)

    assert second.stats()["hits"] == 50
    assert_known(second, known)


def _store(path, start):
    cache = SqliteCache(path, LIMIT)
    for step in range(5):
        cache.put(MODEL, vectors(start + 1000 * step, 100))
        cache.get(MODEL, list(vectors(start + 1000 * step, 100)))


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_share_a_cache(tmp_path, method):
    path = tmp_path / "cache.db"
    mine = SqliteCache(path, LIMIT)
    mine.put(MODEL, vectors(90_000, 10))
    context = multiprocessing.get_context(method)
    others = [context.Process(target=_store, args=(path, 10_000 * i)) for i in range(3)]

    for other in others:
        other.start()
    for other in others:
        other.join()

    assert [other.exitcode for other in others] == [0, 0, 0]
    assert mine.stats()["entries"] == 10 + 3 * 500
    assert mine.stats()["hits"] == 3 * 500
    assert_known(mine, vectors(90_000, 10) | vectors(21_000, 100))


def test_an_open_cache_may_be_inherited_by_a_fork(tmp_path):
    mine = SqliteCache(tmp_path / "cache.db", LIMIT)
    mine.put(MODEL, vectors(0, 10))
    child = multiprocessing.get_context("fork").Process(target=lambda: mine.put(MODEL, vectors(100, 10)))

    child.start()
    child.join()

    assert_known(mine, vectors(0, 10) | vectors(100, 10))


def test_the_file_stays_below_its_limit(tmp_path):
    limit = 3_000_000
    cache = SqliteCache(tmp_path / "cache.db", limit)

    for i in range(20):
        cache.put(MODEL, vectors(1000 * i, 1000))
        assert (tmp_path / "cache.db").stat().st_size <= cache.stats()["size_bytes"] <= limit

    assert cache.stats()["entries"] > 0.75 * limit / 612
    assert_known(cache, vectors(19_000, 1000))


def test_a_model_with_longer_rows_keeps_to_the_limit(tmp_path):
    limit = 2_000_000
    cache = SqliteCache(tmp_path / "cache.db", limit)
    for i in range(10):
        cache.put("short", vectors(1000 * i, 1000, dim=64))

    for i in range(10):
        cache.put("long", vectors(1000 * i, 500, dim=384))

    assert cache.stats()["size_bytes"] <= limit
    assert_known(cache, vectors(9000, 500, dim=384), "long")


def test_what_does_not_fit_at_all_is_not_stored(tmp_path):
    cache = SqliteCache(tmp_path / "cache.db", 1_000_000)

    cache.put(MODEL, vectors(0, 5000))

    assert 0 < cache.stats()["entries"] < 5000
    assert cache.stats()["size_bytes"] <= 1_000_000


def test_the_least_recently_used_go_first(tmp_path):
    clock = Clock()
    cache = SqliteCache(tmp_path / "cache.db", 2_000_000, clock)
    for start in (0, 1000, 2000):
        cache.put(MODEL, vectors(start, 1000))
        clock.hour += 1
    cache.get(MODEL, list(vectors(0, 1000)))

    cache.put(MODEL, vectors(3000, 800))

    assert_known(cache, vectors(0, 1000) | vectors(3000, 800))
    assert len(cache.get(MODEL, list(vectors(1000, 1000)))) < 1000


def test_clear_gives_the_space_back(sqlite_cache, tmp_path):
    sqlite_cache.put(MODEL, vectors(0, 4000))
    full = sqlite_cache.stats()["size_bytes"]

    sqlite_cache.clear()

    assert full > 2_000_000
    assert sum(file.stat().st_size for file in tmp_path.glob("cache.db*")) < 100_000


def _flip(path, at):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def test_a_flipped_bit_is_never_a_wrong_vector(tmp_path):
    path = tmp_path / "cache.db"
    known = vectors(0, 300)
    writer = SqliteCache(path, LIMIT)
    writer.put(MODEL, known)
    writer.close()
    for at in range(9, path.stat().st_size, 211):
        _flip(path, at)

    found = SqliteCache(path, LIMIT).get(MODEL, list(known))

    assert all(np.array_equal(row, known[key]) for key, row in found.items())


def test_a_row_with_a_flipped_bit_is_a_miss_and_can_be_stored_again(tmp_path):
    path = tmp_path / "cache.db"
    known = vectors(0, 1)
    ((key, row),) = known.items()
    writer = SqliteCache(path, LIMIT)
    writer.put(MODEL, known)
    writer.close()
    _flip(path, path.read_bytes().index(row.astype(np.float16).tobytes()) + 100)
    cache = SqliteCache(path, LIMIT)

    assert cache.get(MODEL, [key]) == {}

    cache.put(MODEL, known)
    assert_known(cache, known)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"this is no database",
        lambda data: data[: len(data) // 2],
        lambda data: data[:100],
        lambda data: b"\0" * len(data),
        lambda data: data[:100] + b"\xff" * (len(data) - 100),
    ],
    ids=["other", "half", "header", "zeros", "ones"],
)
def test_a_damaged_file_is_replaced_with_a_warning(tmp_path, caplog, damage):
    path = tmp_path / "cache.db"
    writer = SqliteCache(path, LIMIT)
    writer.put(MODEL, vectors(0, 500))
    writer.close()
    path.write_bytes(damage(path.read_bytes()))
    cache = SqliteCache(path, LIMIT)

    with caplog.at_level(logging.WARNING):
        for start in (0, 1000, 2000):
            cache.get(MODEL, list(vectors(0, 500)))
            cache.put(MODEL, vectors(start, 100))

    assert "embedding_cache_replaced" in caplog.messages
    assert_known(cache, vectors(2000, 100))


def test_a_cache_of_another_version_is_replaced(tmp_path):
    path = tmp_path / "cache.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    cache = SqliteCache(path, LIMIT)

    cache.put(MODEL, vectors(0, 1))
    cache.put(MODEL, vectors(0, 1))

    assert_known(cache, vectors(0, 1))


def test_a_file_that_cannot_be_opened_costs_nothing_but_the_cache(tmp_path, caplog):
    (tmp_path / "cache.db").mkdir()
    cache = SqliteCache(tmp_path / "cache.db", LIMIT)

    cache.put(MODEL, vectors(0, 1))

    assert cache.get(MODEL, list(vectors(0, 1))) == {}
    assert cache.stats()["entries"] == 0
    assert caplog.messages == ["embedding_cache_passed_over"]


_FULL_DISK = """
import resource, sys
from pathlib import Path
from services.core.adapters.cache import SqliteCache
from tests.contract.test_cache_contract import LIMIT, MODEL, assert_known, vectors
cache = SqliteCache(Path(sys.argv[1]), LIMIT)
cache.put(MODEL, vectors(0, 500))
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
for start in range(1000, 9000, 1000):
    cache.put(MODEL, vectors(start, 900))
    cache.get(MODEL, list(vectors(0, 500)))
assert_known(cache, vectors(0, 500))
"""


def test_a_full_disk_costs_only_what_was_not_stored_yet(tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

    run = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, tmp_path / "cache.db"],
        cwd=root, env={"PYTHONPATH": root}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    assert "embedding_cache_passed_over" in run.stderr
