"""Collecting what nothing refers to while others work, and dropping the schemas that nothing needs."""

from random import Random

import pytest

from services.core.catalog import Catalog, Schema
from services.core.collections import ALIAS, collection_name
from services.core.errors import InvalidRequest, NotFound, Unavailable
from services.core.ledger import JobState
from services.core.manifest import Manifest
from services.indexer.collect import Store, delete_garbage, drop_schemas, find_garbage, old_schemas
from tests.distributed_world import NEW, OLD, deliver_until
from tests.fakes_distributed import DIM, POISON, Faults
from tests.maintenance_world import ListedWorld, ledger_problems, manifest, spoil
from tests.random_acts import RATES, act

DAY_S = 86_400.0


def store(world):
    return Store(world.blobs, world.catalog, world.ledger)


def collect(world, *, older_than_s=0.0, sleep=lambda _: None):
    found = find_garbage(store(world), older_than_s=older_than_s)
    return delete_garbage(store(world), found, older_than_s=older_than_s, search_grace_s=60.0, sleep=sleep)


def test_only_what_nothing_refers_to_is_collected(world):
    world.put("one", OLD)
    world.put("two", {"x.py": b"x = 1\n"})
    failed = world.put("one", NEW | {"bad.py": POISON})
    open_job = world.ask("one", {"a.py": b"a = 3\n"})
    deliver_until(world, "index")

    two = manifest(world, "two").files[0].pack

    assert collect(world) > 0

    assert two in world.blobs.stored
    world.jobs.remove("two")
    world.settle()
    assert world.ledger.job(open_job).state is JobState.DONE
    assert world.problems() == []
    assert failed.state is JobState.FAILED
    assert collect(world) > 0
    assert two not in world.blobs.stored
    assert collect(world) == 0


def test_what_a_failed_job_needs_to_be_retried_is_kept_until_it_is_pruned(world):
    world.put("one", OLD)
    job = world.ask("one", NEW)
    deliver_until(world, "index")
    world.desk.fail_job(job, InvalidRequest("given up"), world.queue[0][1])
    world.settle()
    collect(world)

    assert world.jobs.retry(job) == job
    world.settle()

    assert world.ledger.job(job).state is JobState.DONE
    assert world.problems() == []


@pytest.mark.parametrize("stage", ["plan", "chunk", "embed", "index", "commit"])
def test_collecting_at_any_stage_takes_nothing_from_under_a_job(world, stage):
    world.put("one", OLD)
    job = world.ask("one", NEW)
    deliver_until(world, stage)

    collect(world)
    world.settle()

    assert world.ledger.job(job).state is JobState.DONE
    assert world.problems() == []


def test_what_was_stored_a_short_time_ago_is_kept(world):
    name = world.blobs.put(b"whose row comes next")

    assert find_garbage(store(world), older_than_s=DAY_S) == set()

    world.blobs.age(DAY_S)
    assert find_garbage(store(world), older_than_s=DAY_S) == {name}


def test_what_is_stored_again_or_referred_to_again_while_searches_end_is_kept(world):
    world.put("one", OLD)
    first = Catalog(world.engine, world.schema).get("one").manifest
    world.put("one", NEW)
    again = world.blobs.put(b"stored again")
    world.blobs.age(DAY_S)

    def meanwhile(_seconds):
        world.blobs.put(b"stored again")
        # Only the row is new: the blobs of the first revision are as old as they were.
        with world.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE revisions SET manifest = '{first}'")

    collect(world, older_than_s=DAY_S, sleep=meanwhile)

    assert again in world.blobs.stored
    for file in Manifest.load(world.blobs, first).files:
        assert {file.pack, file.vectors} <= world.blobs.stored.keys()


def test_nothing_is_collected_by_a_clock_that_is_wrong(world):
    world.put("one", OLD)
    real = world.blobs.put

    def long_ago(data):
        name = real(data)
        world.blobs.ages[name] = 2 * DAY_S
        return name

    world.blobs.put = long_ago

    with pytest.raises(Unavailable, match="disagree about the time"):
        find_garbage(store(world), older_than_s=DAY_S)


def test_nothing_is_collected_when_a_manifest_can_not_be_read(world):
    world.put("one", OLD)
    spoil(world, "manifest")

    with pytest.raises(NotFound):
        find_garbage(store(world), older_than_s=0.0)


def copy_revisions(world, schema):
    """Make everything that is live live under another schema too."""
    columns = "ref, revision, manifest, files, chunks, indexed_at"
    with world.engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO revisions SELECT repo, '{schema}', {columns} FROM revisions")


def test_a_schema_is_dropped_only_when_nothing_needs_it(world):
    world.put("one", OLD)
    old, newer = world.schema, Schema("newer", DIM)
    with pytest.raises(InvalidRequest, match="in force"):
        old_schemas(world.desk, world.collections, old)
    with pytest.raises(NotFound, match="no schema 'other'"):
        old_schemas(world.desk, world.collections, "other")
    assert old_schemas(world.desk, world.collections) == []
    world.catalog.register_schema(newer)
    world.collections.create(collection_name("newer", DIM), DIM)

    with pytest.raises(InvalidRequest, match="1 of 1 repositories are not indexed for 'newer' yet, 'one' for one"):
        old_schemas(world.desk, world.collections)
    copy_revisions(world, "newer")
    with pytest.raises(InvalidRequest, match="no API for 'newer' has been ready"):
        old_schemas(world.desk, world.collections)
    world.collections.point_alias(ALIAS, collection_name("newer", DIM))

    assert old_schemas(world.desk, world.collections) == [old]
    assert drop_schemas([old], world.catalog, world.collections) == [collection_name(old, DIM)]
    assert [schema.name for schema in world.catalog.schemas()] == ["newer"]
    assert world.collections.names() == [collection_name("newer", DIM)]


def test_a_schema_that_a_job_writes_for_is_not_dropped(world):
    world.put("one", OLD)
    job = world.ask("one", NEW)
    deliver_until(world, "index")
    world.catalog.register_schema(Schema("newer", DIM))
    copy_revisions(world, "newer")
    world.collections.point_alias(ALIAS, collection_name("newer", DIM))

    with pytest.raises(InvalidRequest, match=f"job {job} of 'one' writes points"):
        old_schemas(world.desk, world.collections)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens_a_check_finds_nothing_and_rebuilding_and_collecting_harm_nothing(tmp_path, monkeypatch, seed):
    random = Random(seed)
    world = ListedWorld(tmp_path, monkeypatch=monkeypatch, faults=Faults(random, RATES))
    for _ in range(60):
        act(world, random)
        world.check()
        assert world.problems() == []
        maintain(world, random)
    world.settle()

    assert world.problems() == []
    assert ledger_problems(world) == []
    assert [job.error for job in world.ledger.jobs() if "no blob" in job.error] == []
    world.close()


def maintain(world, random):
    """Now and then rebuild, let a day go by for the blobs, or collect them while others work."""
    dice = random.random()
    if dice < 0.15:
        with world._process():
            world.rebuild()
        world.check()
    elif dice < 0.25:
        world.blobs.age(DAY_S)
    elif dice < 0.35:
        with world._quietly():
            collect(world, older_than_s=DAY_S, sleep=lambda _: [act(world, random) for _ in range(5)])
