"""Rebuilding, checking and collecting while others work, and cut short at any step."""

from random import Random

import pytest

from services.core.catalog import Catalog, Schema
from services.core.collections import ALIAS, collection_name
from services.core.database import metadata
from services.core.errors import InvalidRequest, NotFound, Unavailable
from services.core.ledger import BatchState, JobState
from services.core.manifest import Manifest
from services.indexer import place as places
from services.indexer.collect import Store, delete_garbage, drop_schemas, find_garbage, old_schemas
from services.indexer.fsck_ledger import find_ledger_problems
from services.indexer.restore import prepare_collections
from tests.distributed_world import LEASE_S, NEW, OLD, deliver_until
from tests.fakes_distributed import DIM, POISON, Faults
from tests.maintenance_world import ListedWorld, MemoryCollections
from tests.random_acts import RATES, act

DAY_S = 86_400.0


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = ListedWorld(tmp_path, monkeypatch=monkeypatch)
    yield made
    made.close()


def manifest(world, name):
    return Manifest.load(world.blobs, Catalog(world.engine, world.schema).get(name).manifest)


def lose_points(world, monkeypatch):
    """Lose all points; what is checked after every message can't hold from now on."""
    world.vectors.points.clear()
    monkeypatch.setattr(world, "check", lambda: None)


def store(world):
    return Store(world.blobs, world.catalog, world.ledger)


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


def spoil(world, how):
    """Damage what is stored of repository "one"."""
    points, live = world.vectors.points, manifest(world, "one").files[0]
    key = next(key for key in live.point_ids("one"))
    repo, path, _, _ = points[key]
    if how == "missing":
        del points[key]
    elif how == "extra":
        other = type(key)(int=1)
        points[other], world.vectors.packs[other] = (repo, path, 1, None), ""
    elif how == "stranger":
        other = type(key)(int=1)
        points[other], world.vectors.packs[other] = ("gone", path, 1, None), ""
    elif how == "generation":
        points[key] = (repo, path, 1000, None)
    elif how == "pack name":
        world.vectors.packs[key] = "0" * 64
    elif how == "hidden":
        running = world.ask("one", NEW)
        deliver_until(world, "chunk")
        points[key] = (repo, path, running, None)
    elif how == "manifest":
        del world.blobs.stored[Catalog(world.engine, world.schema).get("one").manifest]
    else:
        kind, _, damage = how.partition(" ")
        digest = getattr(live, kind)
        world.blobs.stored[digest] = b"x" if damage == "damaged" else b""
        if damage == "gone":
            del world.blobs.stored[digest]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "1 points are missing, the first: 'a.py'"),
        ("extra", "1 points belong to nothing that is live"),
        ("stranger", "1 points of a repository that is not in the catalog"),
        ("generation", "1 points are of a generation that the ledger has not given out, the first: 'a.py'"),
        ("pack name", "1 points name another pack than the manifest, the first: 'a.py'"),
        ("hidden", "1 points are live and hidden from searches, the first: 'a.py'"),
        ("manifest", "no blob"),
        ("pack gone", "no blob"),
        ("vectors gone", "no blob"),
        ("pack damaged", "pack"),
        ("vectors damaged", "vectors"),
    ],
)
def test_every_disagreement_is_named_and_mended_by_a_rebuild(world, monkeypatch, how, said):
    world.put("one", OLD)
    world.put("two", {"x.py": b"x = 1\n"})
    assert world.problems() == []
    spoil(world, how)
    monkeypatch.setattr(world, "check", lambda: None)

    found = world.problems()

    assert len(found) == 1
    assert said in found[0]
    assert ("gone" if how == "stranger" else "one") in found[0].split()[0]
    world.settle()
    world.rebuild()
    world.settle()
    assert world.problems() == []


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


def test_damage_inside_a_blob_is_found_by_reading_it(world):
    world.put("one", OLD)
    spoil(world, "pack damaged")

    assert world.problems(read_data=False) == []
    assert len(world.problems("one")) == 1
    with pytest.raises(NotFound):
        world.problems("three")


def test_collections_that_should_be_there_or_should_not_are_named(world):
    world.put("one", OLD)
    there = world.collections.there
    there.add("quarry-0123456789ab")
    assert world.problems() == ["vector store: collection 'quarry-0123456789ab' belongs to no schema"]
    there.clear()
    world.collections.aliases.clear()

    missing, alias = world.problems()[:2]

    assert "is missing" in missing
    assert alias == "vector store: alias 'quarry' is missing"


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


@pytest.mark.parametrize("seed", range(3))
def test_what_happens_during_a_check_is_no_problem(tmp_path, monkeypatch, seed):
    random = Random(seed)
    world = ListedWorld(tmp_path, monkeypatch=monkeypatch, faults=Faults(random, {}))
    scroll = world.vectors.scroll

    def meanwhile(count):
        for _ in range(random.randrange(count)):
            act(world, random)

    def scroll_meanwhile(repo):
        meanwhile(12)
        found = list(scroll(repo))
        meanwhile(12)
        return found

    world.vectors.scroll = scroll_meanwhile
    for _ in range(20):
        meanwhile(6)
        assert [each for each in world.problems() if "while it was looked at" not in each] == []
    world.close()


def test_points_of_a_job_that_failed_are_no_problem_before_they_are_removed(world):
    world.put("one", OLD)
    failed = world.ask("one", NEW)
    deliver_until(world, "commit")
    world.desk.fail_job(failed, InvalidRequest("given up"), world.queue[0][1])

    assert len(world.vectors.points) > 3
    assert world.problems() == []


def test_a_job_that_begins_and_fails_during_a_check_is_no_problem(world):
    world.put("one", OLD)
    scroll = world.vectors.scroll

    def scroll_meanwhile(repo):
        failed = world.ask("one", NEW)
        deliver_until(world, "commit")
        found = list(scroll(repo))
        world.desk.fail_job(failed, InvalidRequest("given up"), world.queue[0][1])
        world.settle()
        return found

    world.vectors.scroll = scroll_meanwhile

    assert world.problems() == []


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


def ledger_problems(world, removing=(), seen_at=0.0):
    return list(find_ledger_problems(world.desk, removing, seen_at, lambda _: None))


def test_rows_that_stand_still_are_named(world):
    world.put("one", OLD)
    world.ask("two", OLD)
    while not world.unclean():
        world.deliver(0)
    held = world.ask("one", NEW)
    world.desk.leases.claim_job(held, (JobState.QUEUED,), "dead", LEASE_S)
    assert ledger_problems(world) == []
    world.pass_time(12 * 3600.0)
    with world.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs SET created_at = created_at - 43200")
        connection.exec_driver_sql("INSERT INTO deliveries VALUES ('github:1', 0, 1)")

    found = [f"{problem.where}: {problem.what}" for problem in ledger_problems(world)]

    assert found == [
        f"job {held} of one: queued for 12 hours",
        "job 2 of two: ended 12.0 hours ago, and its retired points are still there",
        "ledger: 1 jobs are past their lease, and nobody takes them back",
        "ledger: 1 webhooks of weeks ago are still remembered",
    ]


def test_a_batch_whose_worker_died_is_named_and_a_job_that_is_done_is_not(world):
    done = world.put("one", OLD)
    job = world.ask("one", NEW)
    deliver_until(world, "chunk")
    batch = world.ledger.batches(job)[0].id
    world.desk.leases.claim_batch(batch, BatchState.PLANNED, "dead", LEASE_S)
    world.desk.leases.claim_job(done.id, (JobState.DONE,), "dead", LEASE_S)
    world.pass_time(LEASE_S + 1000.0)

    assert [problem.what for problem in ledger_problems(world)] == [
        "1 batches are past their lease, and nobody takes them back"
    ]


def test_a_blob_that_an_open_job_waits_for_in_vain_is_named(world):
    job = world.ask("one", OLD)
    deliver_until(world, "embed")
    batch = next(batch for batch in world.ledger.batches(job) if batch.pack)
    del world.blobs.stored[batch.pack]

    (problem,) = ledger_problems(world)

    assert problem.where == f"job {job} of one"
    assert f"the pack of batch {batch.id} is missing" in problem.what


def test_a_removal_that_nobody_carries_out_is_named(world):
    world.put("one", OLD)
    world.jobs.remove("one")
    removing = world.catalog.removing()

    (stuck,) = ledger_problems(world, removing, seen_at=-LEASE_S)

    assert stuck.what == "its removal does not come to an end"
    world.settle()
    assert ledger_problems(world, removing) == []


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
