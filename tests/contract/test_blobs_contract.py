"""What every blob store must do, and what the directory one does beside it."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.core.adapters import blobs as blobs_module
from services.core.adapters.blobs import DirectoryBlobs
from services.core.adapters.s3 import S3Blobs
from services.core.digest import digest
from services.core.errors import CorruptData, NotFound, Unavailable

STORES = {
    "directory": lambda fixture: DirectoryBlobs(fixture("tmp_path") / "blobs"),
    "s3": lambda fixture: S3Blobs(fixture("s3_bucket")),
}


@pytest.fixture(params=STORES)
def store(request):
    return STORES[request.param](request.getfixturevalue)


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 100_000, bytes(range(256)) * 300])
def test_a_blob_reads_back_under_its_digest(store, data):
    name = store.put(data)

    assert name == digest(data)
    assert store.get(name) == data


def test_storing_again_changes_nothing(store):
    first = store.put(b"same")

    assert store.put(b"same") == first
    assert list(store.digests()) == [first]


@pytest.mark.parametrize(("start", "length"), [(0, 0), (0, 3), (2, 4), (9, 1), (10, 0), (4, None)])
def test_a_range_is_read_alone(store, start, length):
    data = b"0123456789"
    name = store.put(data)

    stop = None if length is None else start + length
    assert store.get(name, start, length) == data[start:stop]


@pytest.mark.parametrize(("start", "length"), [(0, 11), (10, 1), (11, None), (-1, 2), (2, -1)])
def test_a_range_beyond_the_blob_is_corrupt_data(store, start, length):
    name = store.put(b"0123456789")

    with pytest.raises(CorruptData, match="10 bytes"):
        store.get(name, start, length)


@pytest.mark.parametrize("name", ["0" * 64, "", "../../etc/passwd", "A" * 64, "0" * 63 + "\n"])
def test_an_unknown_name_is_not_found(store, name):
    with pytest.raises(NotFound):
        store.get(name)


def test_deleting_is_idempotent(store):
    name = store.put(b"gone")

    for victim in (name, name, "../x"):
        store.delete(victim)

    assert list(store.digests()) == []
    with pytest.raises(NotFound):
        store.get(name)


def test_what_was_stored_a_moment_ago_is_not_old(store):
    name = store.put(b"young")

    store.delete(name, older_than_s=3600.0)

    assert list(store.digests(older_than_s=3600.0)) == []
    assert store.get(name) == b"young"


def test_storing_again_makes_young(store):
    name, other = store.put(b"again"), store.put(b"once")
    _wait_until_old(store, {name, other}, 2.0)

    store.put(b"again")

    # Whatever time that took: what was stored once is older by two seconds at least.
    store.delete(name, older_than_s=3600.0)
    ages = {each: _age_s(store, each) for each in (name, other)}
    assert ages[name] < ages[other]
    store.delete(other, older_than_s=ages[other])
    assert list(store.digests()) == [name]


def _wait_until_old(store, names, seconds):
    deadline = time.monotonic() + 60
    while set(store.digests(older_than_s=seconds)) != names:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _age_s(store, name):
    """The age in whole seconds, found by asking."""
    return next(age for age in range(60, -1, -1) if not age or name in store.digests(older_than_s=age))


def test_every_digest_is_listed_once(store):
    names = {store.put(str(i).encode()) for i in range(50)}

    listed = list(store.digests())

    assert len(listed) == 50
    assert set(listed) == names


def test_concurrent_writers_of_one_blob_all_succeed(store):
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: store.put(b"shared" * 1000), range(32)))

    assert len(names) == 1
    assert store.get(names.pop()) == b"shared" * 1000


def _file(tmp_path, name):
    return tmp_path / "blobs" / name[:2] / name


@pytest.mark.parametrize("damage", [b"", b"0123", b"0123456788", b"0123456789+"])
def test_damaged_bytes_are_never_returned(tmp_path, damage):
    store = DirectoryBlobs(tmp_path / "blobs")
    name = store.put(b"0123456789")
    _file(tmp_path, name).write_bytes(damage)

    with pytest.raises(CorruptData, match=name):
        store.get(name)


def test_a_truncated_blob_is_healed_by_storing_it_again(tmp_path):
    store = DirectoryBlobs(tmp_path / "blobs")
    name = store.put(b"0123456789")
    _file(tmp_path, name).write_bytes(b"0123")

    store.put(b"0123456789")

    assert store.get(name) == b"0123456789"


def test_only_old_temporary_files_are_removed_at_open(tmp_path):
    DirectoryBlobs(tmp_path / "blobs")
    old, fresh = tmp_path / "blobs/tmp/old", tmp_path / "blobs/tmp/fresh"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))

    store = DirectoryBlobs(tmp_path / "blobs")

    assert not old.exists()
    assert fresh.exists()
    assert list(store.digests()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_unavailable_and_leaves_nothing(tmp_path, monkeypatch, code):
    store = DirectoryBlobs(tmp_path / "blobs")

    def full(_descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(blobs_module.os, "fsync", full)
    with pytest.raises(Unavailable, match="MB free"):
        store.put(b"data")

    assert list(store.digests()) == []
    assert list((tmp_path / "blobs/tmp").iterdir()) == []


def test_an_unusable_directory_is_unavailable(tmp_path):
    (tmp_path / "blobs").write_text("a file stands in the way")

    with pytest.raises(Unavailable, match="blobs"):
        DirectoryBlobs(tmp_path / "blobs")
