import pytest

from services.api.kept import Kept


def reader(reads, name, size):
    def read():
        reads.append(name)
        return b"x" * size

    return read


def test_what_is_kept_is_read_once():
    reads = []
    kept = Kept(len, max_bytes=10)

    assert [kept.get("a", reader(reads, "a", 4)) for _ in range(3)] == [b"xxxx"] * 3
    assert reads == ["a"]


def test_the_least_recently_used_goes_first_once_the_limit_is_passed():
    reads = []
    kept = Kept(len, max_bytes=10)
    for name in ("a", "b", "a", "c", "a", "b"):
        kept.get(name, reader(reads, name, 4))

    assert reads == ["a", "b", "c", "b"]


def test_a_value_larger_than_the_limit_drives_nothing_out():
    reads = []
    kept = Kept(len, max_bytes=10)
    for name, size in (("a", 4), ("large", 11), ("large", 11), ("a", 4)):
        kept.get(name, reader(reads, name, size))

    assert reads == ["a", "large", "large"]


def test_nothing_is_a_value_too():
    reads = []
    kept = Kept(lambda _: 0, max_bytes=10)
    for _ in range(2):
        assert kept.get("a", lambda: reads.append("a")) is None

    assert reads == ["a"]


def test_a_reader_that_fails_leaves_nothing_behind():
    kept = Kept(len, max_bytes=10)
    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 / 0)

    assert kept.get("a", lambda: b"x") == b"x"
