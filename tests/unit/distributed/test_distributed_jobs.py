"""Claims about jobs of the distributed mode: what is asked for is done once, and what is removed leaves nothing."""

import pytest

from services.core.errors import InvalidRequest, NotFound
from services.core.ledger import Cleanup, JobState
from tests.distributed_world import NEW, OLD, deliver_until
from tests.fakes_distributed import POISON


def test_what_is_asked_for_is_searchable_and_nothing_else(world):
    first = world.put("one", OLD)
    assert (first.state, first.first, first.counts["files"]) == (JobState.DONE, True, 3)
    world.check_settled()

    second = world.put("one", NEW)

    assert (second.state, second.first, second.counts["changed"]) == (JobState.DONE, False, 2)
    world.check_settled()


def test_the_same_revision_again_does_nothing(world):
    world.put("one", OLD)
    before = dict(world.vectors.points)

    again = world.ask("one")
    world.settle()

    assert world.ledger.job(again).counts["changed"] == 0
    assert world.ledger.batches(again) == []
    assert world.vectors.points == before


def test_a_file_that_no_worker_survives_ends_its_job_with_the_reason_and_nothing_is_left(world):
    world.put("one", OLD)

    failed = world.put("one", OLD | {"bad.py": POISON})

    assert failed.state is JobState.FAILED
    assert "failed 5 times, the last with: ValueError: poison" in failed.error
    assert world.visible("one") == world.expected("one", "one@1")
    assert world.ledger.job(failed.id).cleanup is Cleanup.NOTHING
    world.put("one", NEW)
    world.check_settled()
    assert world.ledger.job(failed.id).error == failed.error


def test_a_failed_first_index_leaves_nothing_and_harms_not_the_next(world):
    failed = world.ask("one", OLD | {"bad.py": POISON})
    waiting = world.jobs.submit("https://127.0.0.1/one.git", "one", "")
    world.settle()

    assert world.ledger.job(failed).state is JobState.FAILED
    assert world.ledger.job(waiting).state is JobState.FAILED
    assert world.vectors.points == {}
    assert world.put("one", OLD).first
    world.check_settled()


def test_the_purge_of_a_failed_job_comes_before_the_next_job_of_the_repository(world):
    failed = world.ask("one", OLD)
    deliver_until(world, "commit")
    world.desk.fail_job(failed, InvalidRequest("given up"), world.queue[0][1])
    waiting = world.ask("one")
    for place, (message, _) in enumerate(world.queue):
        if message.stage == "plan":
            world.deliver(place)
            break

    assert world.ledger.job(waiting).state is JobState.QUEUED, "what the failed job wrote is still there"

    world.settle()
    assert world.ledger.job(waiting).state is JobState.DONE
    world.check_settled()


def test_a_retried_job_goes_on_from_what_is_stored(world):
    job = world.ask("one", OLD)
    deliver_until(world, "index")
    world.desk.fail_job(job, InvalidRequest("given up"), world.queue[0][1])
    world.settle()
    embedded = world.happened["", "embed"]

    assert world.jobs.retry(job) == job
    world.settle()

    assert world.ledger.job(job).state is JobState.DONE
    assert world.happened["", "embed"] == embedded, "nothing had to be embedded again"
    world.check_settled()


def test_a_job_that_failed_is_not_retried_over_what_has_gone_live_since(world):
    world.put("one", OLD)
    failed = world.put("one", NEW | {"bad.py": POISON})
    world.put("one", {"a.py": b"a = 3\n"})

    again = world.jobs.retry(failed.id)
    world.settle()

    assert again != failed.id
    assert world.ledger.job(again).counts["changed"] == 0
    world.check_settled()


def test_requests_that_come_while_a_job_runs_see_what_was_pushed_after_it_looked(world):
    first = world.ask("one", OLD)
    deliver_until(world, "chunk")
    second = world.ask("one", NEW)
    third = world.ask("one")
    world.settle()

    assert first != second == third
    assert [job.state for job in world.ledger.jobs("one")] == [JobState.DONE, JobState.DONE]
    world.check_settled()


@pytest.mark.parametrize("stage", ["plan", "chunk", "embed", "index", "commit", "clean"])
def test_a_repository_that_is_removed_at_any_stage_leaves_nothing(world, stage):
    world.put("two", OLD)
    world.put("one", OLD)
    job = world.ask("one", NEW)
    if stage == "clean":
        while world.queue:
            world.deliver(0)
        world.sweep()
    else:
        deliver_until(world, stage)

    world.jobs.remove("one")
    world.settle()

    assert [repo.name for repo in world.catalog.list()] == ["two"]
    assert world.ledger.job(job).state is (JobState.DONE if stage == "clean" else JobState.FAILED)
    world.check_settled()
    world.put("one", NEW)
    world.check_settled()


def test_a_removal_waits_for_who_still_writes(world):
    world.ask("one", OLD)
    deliver_until(world, "index")

    def remove():
        world.jobs.remove("one")
        while world.queue:
            world.deliver(0)

    world.once["write"] = 1, remove
    world.deliver(0)

    assert world.vectors.points, "the worker has written after the removal was asked for"
    assert world.catalog.removing(), "so the repository may not be gone yet"
    world.settle()
    assert world.vectors.points == {}
    with pytest.raises(NotFound):
        world.catalog.get("one")


def test_an_address_that_never_answers_fails_the_job_and_not_for_ever(world):
    world.servers.gone.add("one")
    job = world.ask("one", OLD)

    world.settle()

    failed = world.ledger.job(job)
    assert (failed.state, failed.counts) == (JobState.FAILED, {"code": "unreachable"})
    assert "is gone" in failed.error
