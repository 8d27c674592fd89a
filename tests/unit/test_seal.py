"""The shards of the embedded vector store: sealing, taking over, and what a killed process leaves."""

import errno
import json
import os
import shutil
import time

import numpy as np
import pytest

from services.core.adapters import vectors as vectors_module
from services.core.adapters.edge_errors import translated
from services.core.adapters.edge_layout import check_inventory
from services.core.adapters.edge_points import id_keys
from services.core.adapters.edge_seal import Sealing
from services.core.adapters.edge_terms import TermCounts
from services.core.adapters.stored_points import unfold
from services.core.adapters.vectors import EdgeVectors
from services.core.errors import CorruptData, InvalidRequest, Unavailable
from services.core.ports import Filter
from tests.contract.test_vectors_contract import DIM, found, make_points


def open_store(directory, shard_points=40, exact_points=100_000):
    return EdgeVectors(directory, DIM, shard_points=shard_points, exact_points=exact_points)


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "vectors"


def names(count, tag=""):
    return [f"{tag}{i}.py" for i in range(count)]


def listed(directory):
    return [
        (row["name"], row["sealed_points"]) for row in json.loads((directory / "shards.json").read_text())["shards"]
    ]


def folders(directory):
    return {path.name for path in directory.iterdir() if path.is_dir()}


def test_a_full_shard_is_sealed_and_the_answers_stay_the_same(directory):
    store = open_store(directory)
    points = make_points(names(50))
    store.upsert(points)
    query = (points.dense[0], (points.sparse.indices[:6], np.ones(6, np.float32)), Filter(), 50)
    before = store.query(*query)

    store.settle()

    after = store.query(*query)
    assert [sealed for _, sealed in listed(directory)] == [50, 0]
    assert [p for p, _ in after.dense] == [p for p, _ in before.dense]
    assert dict(after.sparse) == pytest.approx(dict(before.sparse), rel=1e-3)
    store.close()
    assert folders(directory) == {name for name, _ in listed(directory)}


def test_what_happens_to_a_shard_while_it_is_sealed_is_not_lost(directory):
    store = open_store(directory)
    points = make_points(names(50))
    store.upsert(points)
    again = make_points(names(50)[:10], seed=1, gen=2)

    store.upsert(again)
    store.retire(points.ids[20:30], 3)
    store.purge(retired_by=3)
    store.retire(points.ids[10:20], 4)
    store.settle()

    assert [sealed for _, sealed in listed(directory)] == [50, 0]
    kept = set(points.ids) - set(points.ids[20:30])
    assert found(store, points) == kept
    assert found(store, points, Filter(staged=(2,))) == kept - set(again.ids)
    assert found(store, points, Filter(retired=(4,))) == kept - set(points.ids[10:20])
    store.close()
    store = open_store(directory)
    assert found(store, points, Filter(staged=(2,), retired=(4,))) == set(points.ids[30:])
    store.close()


def test_a_sealed_shard_that_is_half_dead_is_sealed_again(directory):
    store = open_store(directory)
    points = make_points(names(50))
    store.upsert(points)
    store.settle()
    store.retire(points.ids[:30], 2)
    store.purge(retired_by=2)

    store.settle()

    assert [sealed for _, sealed in listed(directory)] == [20, 0]
    assert found(store, points) == set(points.ids[30:])
    assert store._terms.documents == 20
    store.close()


def test_an_empty_sealed_shard_is_dropped(directory):
    store = open_store(directory)
    store.upsert(make_points(names(50), gen=7))
    store.settle()

    store.purge(generation=7)

    assert len(listed(directory)) == 1
    assert folders(directory) == {listed(directory)[0][0]}
    assert store._terms.documents == 0
    store.close()


def fill(store, rounds):
    """Seal `rounds` shards of 50 points each; return their points."""
    written = []
    for number in range(rounds):
        written.append(make_points(names(50, f"r{number}-"), seed=number, gen=number + 1))
        store.upsert(written[-1])
        store.settle()
    return written


def test_sealed_shards_are_joined_up_to_a_limit_and_the_answers_stay_the_same(directory):
    store = open_store(directory)
    with_joins = fill(store, 5)
    assert [sealed for _, sealed in listed(directory)] == [150, 100, 0]
    terms = (with_joins[0].sparse.indices[:6], np.ones(6, np.float32))
    apart = open_store(directory.with_name("apart"), shard_points=1000)
    for points in with_joins:
        apart.upsert(points)

    for where in (Filter(), Filter(staged=(2, 4)), Filter(repos=("r",), extensions=("py",))):
        joined, single = (each.query(with_joins[1].dense[3], terms, where, 250) for each in (store, apart))
        assert [p for p, _ in joined.dense] == [p for p, _ in single.dense]
        assert dict(joined.sparse) == pytest.approx(dict(single.sparse), rel=1e-3)
    apart.close()
    store.close()


def test_joined_shards_keep_their_points_through_deletions_and_reopening(directory):
    store = open_store(directory)
    first, second = fill(store, 2)
    assert [sealed for _, sealed in listed(directory)] == [100, 0]
    assert folders(directory) == {name for name, _ in listed(directory)}

    store.retire(first.ids[:5], 9)
    store.purge(generation=2)
    store.upsert(make_points(names(50, "r0-")[10:20], seed=7, gen=8))
    store.flush()
    store.close()

    store = open_store(directory)
    assert found(store, first) == set(first.ids)
    assert found(store, first, Filter(retired=(9,), staged=(8,))) == set(first.ids) - set(
        first.ids[:5] + first.ids[10:20]
    )
    assert found(store, second) == set(first.ids)
    store.settle()  # as many are dead or rewritten as make it worth to seal it again
    assert [sealed for _, sealed in listed(directory)] == [50, 0]
    assert found(store, first) == set(first.ids)
    store.close()


def test_shards_that_can_not_be_joined_stay_as_they_are(directory, monkeypatch, caplog):
    store = open_store(directory)

    def refuse(*_paths):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refuse)
        first, second = fill(store, 2)

    assert [sealed for _, sealed in listed(directory)] == [50, 50, 0]
    assert folders(directory) == {name for name, _ in listed(directory)}
    assert "joining_failed" in caplog.text
    assert found(store, first, limit=200) == {*first.ids, *second.ids}
    store.close()


def test_a_shard_rewritten_too_often_is_sealed_too(directory):
    store = open_store(directory, shard_points=40)
    points = make_points(names(10))
    for _ in range(9):
        store.upsert(points)
    store.settle()

    assert [sealed for _, sealed in listed(directory)] == [10, 0]
    assert found(store, points) == set(points.ids)
    store.close()


def test_a_failed_sealing_is_logged_and_tried_again_later(directory, monkeypatch, caplog):
    store = open_store(directory)
    started = time.monotonic()
    with monkeypatch.context() as patched:
        patched.setattr(vectors_module, "Sealing", _refuse)
        points = make_points(names(50))
        store.upsert(points)
    assert [record.message for record in caplog.records] == ["sealing_failed"]
    store.maintain()
    assert [sealed for _, sealed in listed(directory)] == [0, 0]
    assert found(store, points) == set(points.ids)

    store._retry_at = started
    store.settle()

    assert [sealed for _, sealed in listed(directory)] == [50, 0]
    store.close()


def _refuse(_shard, target, _dim):
    raise Unavailable(f"no room for {target}")


def test_a_killed_child_leaves_the_mutable_shard_in_place(directory, caplog):
    store = open_store(directory)
    points = make_points(names(50))
    store.upsert(points)
    store._sealing._process.kill()
    store._sealing.wait()

    store.maintain()

    assert "sealing_failed" in caplog.text
    assert found(store, points) == set(points.ids)
    assert folders(directory) == {name for name, _ in listed(directory)}
    store.close()


def test_closing_gives_up_what_is_being_sealed(directory):
    store = open_store(directory)
    points = make_points(names(50))
    store.upsert(points)
    process = store._sealing._process
    store.flush()
    store.close()

    assert process.returncode is not None
    assert folders(directory) == {name for name, _ in listed(directory)}
    store = open_store(directory)
    store.settle()
    assert [sealed for _, sealed in listed(directory)] == [50, 0]
    assert found(store, points) == set(points.ids)
    store.close()


def test_directories_of_a_killed_process_are_removed_at_open(directory):
    store = open_store(directory)
    points = make_points(names(10))
    store.upsert(points)
    store.flush()
    store.close()
    (name, _), *_ = listed(directory)
    shutil.copytree(directory / name, directory / "s000009-0badcafe")
    (directory / "s000010-0badcafe").mkdir()

    store = open_store(directory)

    assert folders(directory) == {name}
    assert store.count(Filter()) == 10
    store.close()


def test_only_one_process_at_a_time_may_open_a_store(directory):
    store = open_store(directory)

    with pytest.raises(Unavailable, match="in use"):
        open_store(directory)

    store.close()
    open_store(directory).close()


def test_a_closed_store_refuses_points(directory):
    store = open_store(directory)
    store.close()

    with pytest.raises(Unavailable, match="closed"):
        store.upsert(make_points(["a.py"]))


def test_a_store_of_another_dimension_or_format_is_refused(directory):
    open_store(directory).close()

    with pytest.raises(InvalidRequest, match="dimension 16"):
        EdgeVectors(directory, DIM + 1, shard_points=10, exact_points=10)
    listing = directory / "shards.json"
    listing.write_text(listing.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(InvalidRequest, match="format 2"):
        open_store(directory)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{")])
def test_a_damaged_list_of_shards_is_corrupt_data(directory, damage):
    open_store(directory).close()
    damage(directory / "shards.json")

    with pytest.raises(CorruptData, match="quarry rebuild"):
        open_store(directory)


@pytest.fixture(scope="module")
def two_shards(tmp_path_factory):
    """A closed store with a sealed shard and one that takes points; the first point's vector."""
    directory = tmp_path_factory.mktemp("damage") / "vectors"
    store = open_store(directory)
    points = make_points(names(60))
    store.upsert(points)
    store.settle()
    store.upsert(make_points(names(20, "more")))
    store.flush()
    store.close()
    return directory


def shard_files(directory):
    return [p for p in sorted(directory.glob("s0*/engine/**/*")) if p.is_file() and "journal" not in p.name]


def damaged(path, size):
    """Put a file of `size` bytes in the place of `path`, or none; return what puts it back."""
    aside = path.rename(path.with_name("aside"))
    if size is not None:
        with open(path, "wb") as file:
            file.truncate(size)
    return lambda: aside.replace(path)


def test_any_deleted_or_shortened_file_of_a_shard_is_noticed(two_shards):
    files = shard_files(two_shards)
    assert len(files) > 100
    for path in files:
        shard = two_shards / path.relative_to(two_shards).parts[0]
        for size in {None, 0, path.stat().st_size - 1} - {-1, path.stat().st_size}:
            put_back = damaged(path, size)
            with pytest.raises(CorruptData, match="quarry rebuild"):
                check_inventory(shard)
            put_back()
        check_inventory(shard)


@pytest.mark.parametrize("name", ["segment.json", "matrix.dat", "page_0.dat", "mutable_id_tracker.mappings"])
def test_a_store_with_a_damaged_shard_does_not_open(two_shards, name):
    for path in [path for path in shard_files(two_shards) if path.name == name][:3]:
        put_back = damaged(path, path.stat().st_size // 2)
        with pytest.raises(CorruptData, match="quarry rebuild"):
            open_store(two_shards)
        put_back()
    open_store(two_shards).close()


@pytest.mark.parametrize("name", ["terms.bin", "keys.bin"])
@pytest.mark.parametrize("content", [None, b"", b"x" * 1000])
def test_lost_counts_and_keys_are_read_from_the_points_again(two_shards, name, content):
    store = open_store(two_shards)
    documents, keys = store._terms.documents, store._shards[0].keys
    store.close()
    for path in two_shards.glob(f"s0*/{name}"):
        path.unlink() if content is None else path.write_bytes(content)

    store = open_store(two_shards)

    assert store._terms.documents == documents
    assert np.array_equal(store._shards[0].keys, keys)
    store.close()


def test_quantised_search_finds_what_exact_search_finds(directory):
    generator = np.random.default_rng(5)
    centres = generator.standard_normal((60, 128)).astype(np.float32)
    dense = centres[generator.integers(0, 60, 4000)] + 0.7 * generator.standard_normal((4000, 128), dtype=np.float32)
    points = make_points(names(4000))
    points = type(points)(points.ids, dense, points.sparse, points.payloads)
    store = EdgeVectors(directory, 128, shard_points=2500, exact_points=0)
    store.upsert(points)
    store.settle()
    unit = dense / np.linalg.norm(dense, axis=1, keepdims=True)
    recalls = []
    for query in centres[:20]:
        exact = {points.ids[i] for i in np.argsort(-(unit @ query))[:100]}
        recalls.append(len(exact & {p for p, _ in store.query(query, None, Filter(), 100).dense}) / 100)
    store.close()

    assert np.mean(recalls) >= 0.95


def test_term_counts_add_up_and_come_back(tmp_path):
    one, two = TermCounts(), TermCounts()
    one.add(np.array([1, 2, 2**31], np.uint32), 2)
    two.add(np.array([2], np.uint32), 1)
    both = TermCounts()
    for counts in (one, two):
        both.merge(counts)

    both.save(tmp_path / "terms.bin")
    back = TermCounts.load(tmp_path / "terms.bin")

    terms = np.array([1, 2, 3, 2**31], np.uint32)
    expected = np.log1p((3 - np.array([1, 2, 0, 1]) + 0.5) / (np.array([1, 2, 0, 1]) + 0.5))
    assert back.documents == 3
    assert back.idf(terms) == pytest.approx(expected, rel=1e-6)
    back.merge(two, -1)
    assert back.idf(terms) == pytest.approx(one.idf(terms), rel=1e-6)


@pytest.mark.parametrize("size", [0, 5, 50])
def test_a_damaged_file_of_term_counts_is_noticed(tmp_path, size):
    counts = TermCounts()
    counts.add(np.array([1, 2, 3], np.uint32), 1)
    path = tmp_path / "terms.bin"
    counts.save(path)
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(CorruptData):
        TermCounts.load(path)


@pytest.mark.parametrize("payload", [None, {}, {"repo": "r"}, {"rest": "{"}, {"rest": 5}])
def test_a_payload_that_can_not_be_read_is_corrupt_data(payload):
    with pytest.raises(CorruptData, match="quarry rebuild"):
        unfold(payload)


def test_keys_are_the_first_bytes_of_the_ids():
    points = make_points(names(5))

    assert id_keys(points.ids).tolist() == [int.from_bytes(point.bytes[:8]) for point in points.ids]


class PanicException(BaseException):
    """Looks like a panic of the engine."""


@pytest.mark.parametrize(
    ("error", "translation"),
    [
        (Exception("Service runtime error: No space left on device"), Unavailable),
        (OSError(28, "No space left on device"), Unavailable),
        (Exception("Service runtime error: something odd"), CorruptData),
        (PanicException("index out of bounds"), CorruptData),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_errors_of_the_engine_are_translated(tmp_path, error, translation):
    with pytest.raises(translation), translated(tmp_path):
        raise error


def test_a_hanging_child_is_killed(directory, monkeypatch):
    store = open_store(directory)
    store.upsert(make_points(names(50)))
    sealing = store._sealing
    assert isinstance(sealing, Sealing)
    monkeypatch.setattr(sealing, "_deadline", time.monotonic() - 1)

    store.maintain()

    assert sealing._process.returncode is not None
    store.close()
