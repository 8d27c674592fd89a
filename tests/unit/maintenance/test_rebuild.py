"""Rebuilding while others work, and cut short at any step."""

import pytest

from services.core.catalog import Catalog, Schema
from services.core.collections import ALIAS, collection_name
from services.core.database import metadata
from services.core.errors import InvalidRequest, NotFound
from services.core.ledger import JobState
from services.indexer import place as places
from services.indexer.restore import prepare_collections
from tests.distributed_world import NEW, OLD, deliver_until
from tests.fakes_distributed import DIM
from tests.maintenance_world import MemoryCollections, manifest


def lose_points(world, monkeypatch):
    """Lose all points; what is checked after every message can't hold from now on."""
    world.vectors.points.clear()
    monkeypatch.setattr(world, "check", lambda: None)


def test_points_that_are_lost_are_made_again_without_embedding(world):
    world.put("one", OLD)
    world.put("one", NEW)
    world.put("two", OLD)
    embedded = world.happened["", "embed"]
    world.vectors.points.clear()

    results = world.rebuild()

    assert [(result.repo, result.error) for result in results] == [("one", ""), ("two", "")]
    assert world.happened["", "embed"] == embedded
    world.check_settled()
    assert world.problems() == []


def test_one_repository_is_rebuilt_alone(world):
    world.put("one", OLD)
    world.put("two", OLD)
    world.vectors.points.clear()

    assert [result.repo for result in world.rebuild("two")] == ["two"]

    assert world.vectors.repos() == {"two": 3}
    with pytest.raises(NotFound):
        world.rebuild("three")


def test_a_search_between_any_two_steps_of_a_rebuild_sees_what_was_there(world):
    world.put("one", OLD)
    world.put("one", NEW)
    seen = []
    world.vectors._step = lambda _name: seen.append(world.check())

    world.rebuild()

    assert len(seen) > 5
    world.check_settled()


@pytest.mark.parametrize("offset", [1, 3, 5])
def test_a_rebuild_killed_at_any_step_can_be_repeated(world, offset):
    world.put("one", OLD)
    world.put("two", NEW)
    step = offset
    while world.killed_rebuild(step):
        step += 6
        world.check()
        world.settle()
        world.check_settled()
        world.vectors.points.popitem()
        world.rebuild()
        assert world.problems() == []

    assert step > 40
    assert {job.state for job in world.ledger.jobs()} == {JobState.DONE}


@pytest.mark.parametrize("stage", ["chunk", "embed", "index", "commit"])
def test_a_repository_that_is_worked_on_is_left_alone_and_the_others_are_not(world, monkeypatch, stage):
    world.put("one", OLD)
    world.put("two", OLD)
    job = world.ask("one", NEW)
    deliver_until(world, stage)
    lose_points(world, monkeypatch)

    two, one = world.rebuild()

    assert [each.id for each in world.ledger.jobs("one")][1:] == [job], "nothing is left behind"
    assert two.how == "3 points from the stored packs"
    assert f"job {job} of it is running; are the workers running?" in one.error
    world.settle()
    assert [result.error for result in world.rebuild()] == ["", ""]
    assert world.problems() == []


def test_a_rebuild_waits_for_the_job_in_the_way(world, monkeypatch):
    world.put("one", OLD)
    world.ask("one", NEW)
    deliver_until(world, "index")
    lose_points(world, monkeypatch)
    monkeypatch.setattr(places.time, "sleep", lambda _: world.settle())

    (result,) = world.rebuild("one", wait_s=60.0)

    assert not result.error
    assert world.problems() == []


def test_a_failed_job_whose_points_are_still_there_is_in_the_way(world):
    world.put("one", OLD)
    failed = world.ask("one", NEW)
    deliver_until(world, "commit")
    world.desk.fail_job(failed, InvalidRequest("given up"), world.queue[0][1])

    (result,) = world.rebuild()

    assert f"job {failed} of it is staged" in result.error


def test_a_job_that_nobody_has_begun_goes_on_after_the_rebuild(world):
    world.put("one", OLD)
    job = world.ask("one", NEW)
    world.vectors.points.clear()

    assert world.rebuild()[0].how

    world.settle()
    assert world.ledger.job(job).counts["changed"] == 2
    world.check_settled()


def test_what_is_asked_for_during_a_rebuild_is_done_after_it(world):
    world.put("one", OLD)
    asked = []

    def ask_meanwhile(_name):
        if not asked:
            asked.append(world.ask("one", NEW))
            while world.queue:
                world.deliver(0)

    world.vectors._step = ask_meanwhile
    world.rebuild()
    assert world.ledger.job(asked[0]).state is JobState.QUEUED

    world.settle()

    assert world.ledger.job(asked[0]).state is JobState.DONE
    world.check_settled()


def test_a_rebuild_stops_when_its_repository_is_removed(world):
    world.put("one", OLD)
    world.put("two", OLD)
    world.vectors.points.clear()
    removed = []
    world.vectors._step = lambda _name: removed or removed.append(world.jobs.remove("one"))

    one, two = world.rebuild()

    assert "ended by somebody else" in one.error
    assert two.how
    world.settle()
    world.check_settled()
    assert world.vectors.repos() == {"two": 3}


def test_points_that_belong_to_nothing_are_removed_but_not_those_a_search_may_still_read(world):
    world.put("one", OLD)
    stale = next(iter(world.vectors.points))
    world.ask("one", NEW)
    while world.queue:
        world.deliver(0)
    assert [job.cleanup.value for job in world.unclean()] == ["retired"]
    passing = {key for key, point in world.vectors.points.items() if point[3]}
    extra = type(stale)(int=1)
    for key, repo in ((extra, "one"), (type(stale)(int=2), "gone")):
        world.vectors.points[key] = (repo, "x.py", 1, None)
        world.vectors.packs[key] = ""

    world.rebuild()

    assert extra not in world.vectors.points
    assert passing <= world.vectors.points.keys()
    assert world.vectors.repos().keys() == {"one"}
    world.settle()
    world.check_settled()


@pytest.mark.parametrize("what", ["pack", "vectors", "manifest"])
def test_a_repository_whose_blobs_are_damaged_is_read_again(world, what):
    world.put("one", OLD)
    world.put("two", {"x.py": b"x = 1\n"})
    live = Catalog(world.engine, world.schema).get("one").manifest
    damaged = live if what == "manifest" else getattr(manifest(world, "one").files[0], what)
    del world.blobs.stored[damaged]

    one, two = world.rebuild()

    assert "reads it again" in one.how
    assert damaged in one.how
    assert two.how == "1 points from the stored packs"
    world.settle()
    world.check_settled()
    assert world.problems() == []


def test_a_collection_that_is_gone_is_made_again_with_the_alias_for_what_finds_most(world):
    world.put("one", OLD)
    world.catalog.register_schema(Schema("newer", DIM))
    world.collections = MemoryCollections()

    prepare_collections(world.desk, world.collections)

    assert len(world.collections.names()) == 2
    assert world.collections.behind(ALIAS) == collection_name(world.schema, DIM)


def test_a_ledger_from_a_backup_is_put_right(world, monkeypatch):
    world.put("one", OLD)
    backup = rows(world)
    world.put("one", NEW)
    world.put("one", {"a.py": b"a = 3\n"})
    world.put("two", OLD)
    monkeypatch.setattr(world, "check", lambda: None)
    put_back(world, backup)
    found = world.problems()
    assert any("are of a generation that the ledger has not given out" in each for each in found)
    assert any("are missing" in each for each in found)
    assert any("two" in each and "not in the catalog" in each for each in found)

    world.rebuild()

    assert world.problems() == []
    assert world.visible("one") == world.expected("one", "one@1")
    monkeypatch.undo()
    world.ask("one")
    world.settle()
    world.check_settled()


def rows(world):
    """Return all there is in the ledger."""
    with world.engine.connect() as connection:
        return {table: connection.execute(table.select()).mappings().all() for table in metadata.sorted_tables}


def put_back(world, saved):
    """Put the ledger back to what `rows` returned; numbers given out since are given out again."""
    with world.engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        connection.exec_driver_sql("DELETE FROM sqlite_sequence")
        for table, content in saved.items():
            if content:
                connection.execute(table.insert(), [dict(row) for row in content])
