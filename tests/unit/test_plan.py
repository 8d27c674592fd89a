"""Claims about what a new revision costs."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chunker.plan import batches, make_plan
from services.chunker.walk import DirectorySource
from services.core.digest import digest
from services.core.errors import InvalidRequest
from services.core.manifest import Manifest, ManifestFile
from services.core.model import FileRef, Skipped, SkipReason

YEAR_2096_NS = 4_000_000_000_000_000_000


class Contents:
    """A source of a dictionary of path to bytes; what is not in it has vanished."""

    def __init__(self, contents):
        self.contents = contents
        self.was_read = []

    def read(self, refs):
        for ref in refs:
            self.was_read.append(ref.path)
            yield self.contents.get(ref.path) or Skipped(ref.path, SkipReason.VANISHED)


def ref(path, fingerprint, size=1):
    return FileRef(path, path, fingerprint, size)


def indexed(path, fingerprint, text=b"x"):
    return ManifestFile(path, fingerprint, digest(text), len(text), "python", "code", "", "pack", "vectors", 0, 1)


def manifest(*files, repo="r"):
    return Manifest(repo, "rev", "schema", files)


def test_without_a_manifest_every_file_is_chunked():
    refs = [ref("a", "git:1"), ref("b", "git:2")]

    assert make_plan("r", refs, [], None, Contents({})).chunk == refs


def test_files_with_the_same_fingerprint_are_kept_unread():
    kept, source = indexed("a", "git:1"), Contents({})

    plan = make_plan("r", [ref("a", "git:1"), ref("b", "git:2")], [], manifest(kept, indexed("b", "git:1")), source)

    assert plan.keep == [kept]
    assert [file.path for file in plan.chunk] == ["b"]
    assert source.was_read == []


def test_a_touched_file_is_kept_with_its_new_fingerprint():
    plan = make_plan("r", [ref("a", "1:200")], [], manifest(indexed("a", "1:100")), Contents({"a": b"x"}))

    assert plan.keep == [indexed("a", "1:200")]
    assert plan.chunk == []


def test_a_touched_file_is_compared_by_its_stored_text():
    text = "grüße\n"
    raw = text.encode("utf-16")
    known = ManifestFile("a", "1:1", digest(text.encode()), len(raw), "text", "code", "", "p", "v", 0, 1)

    plan = make_plan("r", [ref("a", "1:2", len(raw))], [], manifest(known), Contents({"a": raw}))

    assert [file.fingerprint for file in plan.keep] == ["1:2"]


def test_a_file_of_another_size_is_chunked_unread():
    source = Contents({"a": b"xy"})

    assert make_plan("r", [ref("a", "2:1", 2)], [], manifest(indexed("a", "1:1")), source).chunk == [ref("a", "2:1", 2)]
    assert source.was_read == []


def test_a_rewritten_file_of_equal_size_is_chunked():
    plan = make_plan("r", [ref("a", "1:2")], [], manifest(indexed("a", "1:1")), Contents({"a": b"y"}))

    assert [file.path for file in plan.chunk] == ["a"]


def test_a_file_that_vanishes_while_planning_is_left_out_with_the_reason():
    plan = make_plan("r", [ref("a", "1:2")], [], manifest(indexed("a", "1:1")), Contents({}))

    assert plan.skipped == [Skipped("a", SkipReason.VANISHED)]


def test_a_rewrite_within_the_time_stamps_resolution_is_noticed(tmp_path):
    file = tmp_path / "a.py"
    written_ns = 10**18
    file.write_bytes(b"x")
    os.utime(file, ns=(written_ns, written_ns))
    [first], _ = DirectorySource(tmp_path, clock=lambda: written_ns + 10).files()

    file.write_bytes(b"y")
    os.utime(file, ns=(written_ns, written_ns))
    later = DirectorySource(tmp_path, clock=lambda: YEAR_2096_NS)
    plan = make_plan("r", *later.files(), manifest(indexed("a.py", first.fingerprint)), later)

    assert [file.path for file in plan.chunk] == ["a.py"]


def test_a_manifest_of_another_repository_is_refused():
    with pytest.raises(InvalidRequest, match="'other'"):
        make_plan("r", [], [], manifest(repo="other"), Contents({}))


FINGERPRINTS = st.sampled_from(["git:1", "git:2", "1:1", "1:2", "2:1"])
LISTINGS = st.dictionaries(st.sampled_from("abcdefgh"), FINGERPRINTS)


@given(LISTINGS, LISTINGS, st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([b"x", b"y"])))
def test_every_listed_file_is_kept_or_chunked_or_left_out_exactly_once(now, before, contents):
    refs = [ref(path, fingerprint) for path, fingerprint in now.items()]
    left_out = [Skipped("z", SkipReason.BINARY)]

    plan = make_plan("r", refs, left_out, manifest(*(indexed(*item) for item in before.items())), Contents(contents))

    placed = [file.path for part in (plan.keep, plan.chunk, plan.skipped) for file in part]
    assert sorted(placed) == sorted([*now, "z"])
    assert all(file.fingerprint == now[file.path] for file in plan.keep)


@given(
    st.lists(st.integers(1, 2_000_000), max_size=60),
    st.integers(1, 16),
    st.integers(1, 4 << 20),
)
def test_batches_hold_every_file_in_order_and_keep_their_limits(sizes, workers, batch_bytes):
    refs = [ref(str(number), "git:1", size) for number, size in enumerate(sizes)]

    cut = batches(refs, workers=workers, batch_bytes=batch_bytes)

    assert [file for batch in cut for file in batch] == refs
    assert all(batch for batch in cut)
    assert all(len(batch) == 1 or sum(file.size for file in batch) <= batch_bytes for batch in cut)


@pytest.mark.parametrize(
    ("files", "size", "workers", "expected"),
    [
        (0, 1000, 2, []),
        (10, 1000, 2, [10]),
        (1024, 1000, 2, [262] * 3 + [238]),
        (1200, 10, 2, [512, 512, 176]),
        (400, 100_000, 1, [41] * 9 + [10, 10, 10, 1]),
        (1000, 100_000, 2, [41] * 23 + [10] * 5 + [7]),
        (4, 5 << 20, 1, [1] * 4),
    ],
)
def test_batch_sizes_follow_the_work_there_is(files, size, workers, expected):
    refs = [ref(str(number), "git:1", size) for number in range(files)]

    assert [len(batch) for batch in batches(refs, workers=workers, batch_bytes=4 << 20)] == expected
