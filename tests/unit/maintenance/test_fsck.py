"""Checking while others work: every disagreement is named, and nothing that passes is."""

from random import Random

import pytest

from services.core.errors import InvalidRequest, NotFound
from services.core.ledger import BatchState, JobState
from tests.distributed_world import LEASE_S, NEW, OLD, deliver_until
from tests.fakes_distributed import Faults
from tests.maintenance_world import ListedWorld, ledger_problems, spoil
from tests.random_acts import act


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
