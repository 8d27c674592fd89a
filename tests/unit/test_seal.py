"""The shards of the embedded vector store: sealing, taking over, and what a killed process leaves."""

import errno
import os
import shutil
import time

import numpy as np
import pytest

from services.core.adapters import vectors as vectors_module
from services.core.adapters.edge_seal import Sealing
from services.core.errors import Unavailable
from services.core.ports import Filter
from tests.contract.test_vectors_contract import found, make_points
from tests.unit.edge_stores import folders, listed, names, open_store


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "vectors"


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


def test_a_hanging_child_is_killed(directory, monkeypatch):
    store = open_store(directory)
    store.upsert(make_points(names(50)))
    sealing = store._sealing
    assert isinstance(sealing, Sealing)
    monkeypatch.setattr(sealing, "_deadline", time.monotonic() - 1)

    store.maintain()

    assert sealing._process.returncode is not None
    store.close()
