"""Claims about the distributed mode as a whole: what is asked for is done once, whatever happens to whom on the way."""

from functools import partial
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.core.errors import InvalidRequest, NotFound
from services.core.leases import Priority
from services.core.ledger import Cleanup, JobState
from tests.distributed_world import LEASE_S, World, newest, retry
from tests.fakes_distributed import POISON, Faults

OLD = {"a.py": b"a = 1\n", "b.py": b"b = 1\n", "c.py": b"def c():\n    return 1\n"}
NEW = {"a.py": b"a = 2\n", "b.py": b"b = 1\n", "d.py": b"def d():\n    return 2\n"}
NAMES = ("one", "two")


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path, monkeypatch=monkeypatch)
    yield made
    made.close()


def claim_and_die(world, stage):
    """Let the worker that gets the next message of a stage die with the row in its hand."""
    place = next(place for place, (message, _) in enumerate(world.queue) if message.stage == stage)
    # By then it has the row.
    world.faults = Faults(killed_at=(world.steps + 7,))
    ended = world.happened["ended"]
    world.deliver(place)
    world.faults = Faults()
    assert world.happened["ended"] == ended + 1


def deliver_until(world, stage):
    """Deliver messages in order until one of a stage comes next."""
    while world.queue[0][0].stage != stage:
        world.deliver(0)


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


def test_every_message_twice_changes_nothing(world):
    world.put("one", OLD)
    world.ask("one", NEW)
    while world.queue:
        message = world.queue[0]
        world.deliver(0)
        world.queue.append(message)
        world.deliver(len(world.queue) - 1)
        world.check()

    world.settle()

    world.check_settled()
    assert newest(world, "one").counts["changed"] == 2


def test_every_message_lost_is_sent_again(world):
    world.put("one", OLD)
    job_id = world.ask("one", NEW)
    for _ in range(60):
        world.queue.clear()
        world.pass_time(LEASE_S + 1)
        world.sweep()
        if world.queue:
            world.deliver(0)
        world.check()

    world.settle()

    assert world.ledger.job(job_id).state is JobState.DONE
    world.check_settled()


def test_messages_of_long_ago_change_nothing(world):
    world.put("one", OLD)
    world.put("one", NEW)
    before = dict(world.vectors.points)

    world.queue += world.said
    world.settle()

    assert world.vectors.points == before
    world.check_settled()


@pytest.mark.parametrize("stage", ["plan", "chunk", "embed", "index", "commit"])
def test_what_a_dead_worker_held_is_done_by_another_and_counted(world, stage):
    world.put("one", OLD)
    world.ask("one", NEW)
    deliver_until(world, stage)

    claim_and_die(world, stage)
    world.settle()

    world.check_settled()
    assert newest(world, "one").state is JobState.DONE


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


@pytest.mark.parametrize(
    ("stage", "step", "number"),
    [("plan", "fetch", 1), ("chunk", "put", 1), ("embed", "embed", 1), ("index", "get", 3), ("commit", "put", 1)],
)
def test_a_worker_that_overslept_its_lease_changes_nothing(world, stage, step, number):
    world.put("one", OLD)
    failed = world.ask("one", NEW)
    deliver_until(world, stage)

    def others_give_up():
        world.pass_lease()
        world.sweep()
        world.desk.fail_job(failed, InvalidRequest("given up"), Priority.BULK)
        while world.queue:
            world.deliver(0)
        assert world.ledger.job(failed).cleanup is Cleanup.NOTHING
        assert set(world.vectors.points) == world.expected("one", "one@1")

    world.once[step] = number, others_give_up
    world.deliver(0)

    assert world.once == {}
    assert set(world.vectors.points) == world.expected("one", "one@1"), "nothing has come back"
    assert (world.ledger.job(failed).state, world.ledger.job(failed).error) == (JobState.FAILED, "given up")
    world.settle()
    assert world.put("one", NEW).state is JobState.DONE
    world.check_settled()


def test_two_planners_of_which_one_overslept_start_one_job_after_the_other(world):
    first = world.ask("one", OLD)

    def another_request():
        world.pass_lease()
        world.sweep()
        world.ask("one", NEW)
        while world.queue:
            world.deliver(0)
            world.check()

    world.once["fetch"] = 1, another_request
    world.deliver(0)
    world.check()
    world.settle()

    assert world.ledger.job(first).state is JobState.DONE
    world.check_settled()


def test_an_address_that_never_answers_fails_the_job_and_not_for_ever(world):
    world.servers.gone.add("one")
    job = world.ask("one", OLD)

    world.settle()

    failed = world.ledger.job(job)
    assert (failed.state, failed.counts) == (JobState.FAILED, {"code": "unreachable"})
    assert "is gone" in failed.error


@pytest.mark.parametrize("step", ["put", "get", "embed", "write", "statement"])
def test_a_server_that_is_down_for_long_makes_nothing_dead(world, step):
    world.put("one", OLD)
    job = world.ask("one", NEW)
    for _ in range(30):
        world.faults = Faults(down=step)
        while world.queue:
            world.deliver(0)
        world.faults = Faults()
        world.pass_time(LEASE_S + 1)
        world.sweep()
        world.check()

    assert world.ledger.job(job).state in (JobState.QUEUED, JobState.RUNNING)
    world.settle()
    assert world.ledger.job(job).state is JobState.DONE
    world.check_settled()


def test_a_broker_that_is_down_for_long_loses_nothing(world):
    world.faults = Faults(Random(1), {"refused": 1.0})
    job = world.ask("one", OLD)
    for _ in range(5):
        world.pass_time(LEASE_S + 1)
        world.sweep()
    assert world.queue == []

    world.settle()

    assert world.ledger.job(job).state is JobState.DONE


def flow(world):
    """An index, an update that fails, another, and a removal, with a search between any two messages."""
    world.ask("one", OLD)
    world.ask("two", OLD)
    yield
    world.ask("one", NEW)
    yield
    world.jobs.remove("two")
    world.ask("one", OLD)
    yield


def steps_of_the_flow(folder, monkeypatch):
    folder.mkdir()
    world = World(folder, monkeypatch=monkeypatch)
    for _ in flow(world):
        world.settle()
    world.close()
    return world.steps


def test_a_worker_killed_at_any_step_costs_time_only(tmp_path, monkeypatch):
    steps = steps_of_the_flow(tmp_path / "whole", monkeypatch)

    # Every step would take minutes; a prime number of them apart, other steps are met with every change of the code.
    for number in range(7, steps, 37):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = World(folder, monkeypatch=monkeypatch)
        for _ in flow(world):
            world.settle(Faults(killed_at=(number,)))
        assert world.happened["ended"] == 1
        assert {job.state for job in world.ledger.jobs()} <= {JobState.DONE, JobState.FAILED}
        world.check_settled()
        world.close()


RATES = {
    "killed": 0.006,
    "unavailable": 0.004,
    "slow": 0.15,
    "lost": 0.05,
    "doubled": 0.1,
    "refused": 0.02,
}


def act(world, random):
    """Do one thing of all those that happen."""
    name = random.choice(NAMES)
    known = {repo.name for repo in world.catalog.list()}
    dice = random.random()
    if dice < 0.72:
        world.deliver()
    elif dice < 0.80:
        world.sweep()
    elif dice < 0.82:
        world.pass_time(random.choice((1.0, 61.0, LEASE_S + 1)))
    elif dice < 0.92:
        if name not in {repo.name for repo in world.catalog.removing()}:
            world.ask(name, a_tree(random) if random.random() < 0.7 or name not in world.servers.trees else None)
    elif dice < 0.95 and name in known:
        world.jobs.look(name)
    elif dice < 0.96 and name in known:
        world.jobs.remove(name)
    elif dice < 0.99 and world.ledger.jobs(states=(JobState.FAILED,)):
        retry(world, random.choice(world.ledger.jobs(states=(JobState.FAILED,))).id)
    else:
        world.desk.leases.prune(done_s=0.0, failed_s=0.0)


def a_tree(random):
    """Some files of few contents, so that they come again; sometimes one that fails."""
    tree = {f"{name}.py": b"value = %d\n" % random.randrange(3) for name in "abcde" if random.random() < 0.7}
    return tree | ({"bad.py": POISON} if random.random() < 0.2 else {})


def live_through(world, random, actions):
    world.faults = Faults(random, RATES)
    world.meanwhile = partial(act, world, random)
    for _ in range(actions):
        act(world, random)
        world.check()
    world.faults = Faults()
    for name in {repo.name for repo in world.catalog.list()}:
        world.push(name, a_tree(Random(0)))
        world.jobs.look(name)
    world.settle()
    world.check_settled()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_in_any_order_every_tip_becomes_searchable(tmp_path_factory, seed):
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(tmp_path_factory.mktemp("world"), monkeypatch=monkeypatch)
        try:
            live_through(world, Random(seed), actions=150)
        finally:
            world.close()


@pytest.mark.parametrize("seed", [7])
def test_so_it_does_on_postgresql(tmp_path, monkeypatch, postgres_url, seed):
    world = World(tmp_path, postgres_url, monkeypatch=monkeypatch)

    live_through(world, Random(seed), actions=150)

    world.close()
