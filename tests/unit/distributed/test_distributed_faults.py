"""Claims about the distributed mode as a whole: all is done once, whatever happens to whom on the way."""

from functools import partial
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.core.errors import InvalidRequest
from services.core.leases import Priority
from services.core.ledger import Cleanup, JobState
from tests.distributed_world import LEASE_S, NEW, OLD, World, deliver_until, newest
from tests.fakes_distributed import Faults
from tests.random_acts import RATES, a_tree, act


def claim_and_die(world, stage):
    """Let the worker that gets the next message of a stage die with the row in its hand."""
    place = next(place for place, (message, _) in enumerate(world.queue) if message.stage == stage)
    # By then it has the row.
    world.faults = Faults(killed_at=(world.steps + 7,))
    ended = world.happened["ended"]
    world.deliver(place)
    world.faults = Faults()
    assert world.happened["ended"] == ended + 1


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
