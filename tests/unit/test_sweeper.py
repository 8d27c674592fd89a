"""Claims about the sweeper: it finds what nobody works on any more, and leaves everything else alone."""

import pytest
from sqlalchemy import update

from services.core import database as db
from services.core.database import open_database
from services.core.deliveries import Deliveries
from services.core.desk import Desk
from services.core.errors import InvalidRequest, Unavailable
from services.core.leases import Priority
from services.core.ledger import OPEN_STATES, BatchState, JobState
from services.core.manifest import Manifest
from services.core.model import FileRef
from services.core.settings import Settings
from services.distributed import sweeper as program
from services.distributed.sweeper import Sweeper

REFS = [FileRef("a.py", "a.py", "git:1", 5)]
HOUR_S = 3600.0


class World:
    """A sweeper on a ledger; `said` is what it has sent, `queued` what else waits in every queue."""

    def __init__(self, folder):
        self.engine = open_database(folder / "catalog.db")
        self.said, self.queued = [], 0
        self.desk = Desk(Settings(max_attempts=3), lambda message, priority: self.said.append((message, priority)))
        self.desk.__dict__["engine"] = self.engine
        self.ledger, self.leases, self.catalog = self.desk.ledger, self.desk.leases, self.desk.catalog
        self.sweeper = Sweeper(self.desk, self.backlog)

    def backlog(self, _stage, _priority):
        return self.queued

    def add(self, name="r"):
        return self.catalog.add(name, "url", f"https://example.com/{name}.git", "")

    def started(self, repo="r", batches=1):
        job = self.ledger.create_job(repo)
        self.ledger.start_job(
            job.id, revision="1", schema="s", plan="p", first=False, batches=[REFS] * batches
        )  # fmt: skip
        return job, self.ledger.batches(job.id)

    def committed(self, repo="r"):
        job, _ = self.started(repo, batches=0)
        self.ledger.commit_job(job, self.catalog, Manifest(repo, "1", "s"), "digest", {})
        return job

    def pass_time(self, seconds=HOUR_S):
        with self.engine.begin() as connection:
            for table in (db.jobs, db.batches):
                connection.execute(update(table).values(lease_until=table.c.lease_until - seconds))
            connection.execute(update(db.jobs).values(finished_at=db.jobs.c.finished_at - seconds))
            connection.execute(update(db.repos).values(looked_at=db.repos.c.looked_at - seconds))
            connection.execute(update(db.deliveries).values(received_at=db.deliveries.c.received_at - seconds))

    def round(self):
        """Sweep once and return what was sent, as (stage, key)."""
        self.said.clear()
        self.sweeper.round()
        return [(message.stage, message.key) for message, _ in self.said]


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.engine.dispose()


@pytest.fixture
def clock(monkeypatch):
    now = [1e6]
    monkeypatch.setattr("services.distributed.sweeper.monotonic", lambda: now[0])
    return now


def test_nothing_to_do_sends_nothing(world):
    assert world.round() == []


def test_what_nobody_works_on_is_sent_to_its_stage_with_its_class(world):
    job, (planned, chunked) = world.started(batches=2)
    world.ledger.chunked(chunked.id, pack="pack", chunks=1, skipped=[])
    urgent, _ = world.leases.request_job("other", "", Priority.INTERACTIVE, max_open=9)
    ready, _ = world.started("ready", batches=0)

    sent = world.round()

    assert sent[0] == ("plan", urgent.id)
    assert sorted(sent[1:]) == sorted([("chunk", planned.id), ("embed", chunked.id), ("commit", ready.id)])
    assert [priority for _, priority in world.said] == [Priority.INTERACTIVE] + [Priority.BULK] * 3
    assert job


def test_what_was_sent_is_not_sent_again_before_its_message_had_time(world):
    _, (batch,) = world.started()
    assert world.round() == [("chunk", batch.id)]

    assert world.round() == []
    world.pass_time()
    assert world.round() == [("chunk", batch.id)]


def test_as_many_messages_as_rows_are_only_slow_and_fewer_are_too_few(world):
    _, batches = world.started(batches=3)
    world.queued = 3
    assert world.round() == []

    world.queued = 2

    assert world.round() == [("chunk", batch.id) for batch in batches]


def test_what_is_held_is_left_alone(world):
    job, (batch,) = world.started()
    world.leases.claim_batch(batch.id, BatchState.PLANNED, "works", HOUR_S)
    planned = world.ledger.create_job("planned")
    world.leases.claim_job(planned.id, OPEN_STATES, "works", HOUR_S)

    assert world.round() == []

    assert world.ledger.batch(batch.id).attempts == world.ledger.job(planned.id).attempts == 0
    assert job


def test_a_batch_whose_worker_was_lost_is_counted_and_sent_again(world):
    _, (batch,) = world.started()
    world.leases.claim_batch(batch.id, BatchState.PLANNED, "killed", HOUR_S)
    world.pass_time(HOUR_S + 1)

    assert world.round() == [("chunk", batch.id)]

    assert world.ledger.batch(batch.id).attempts == 1
    assert "worker was lost" in world.ledger.batch(batch.id).error


def test_a_batch_that_loses_every_worker_ends_its_job(world):
    job, (batch,) = world.started()
    for _ in range(3):
        assert world.leases.claim_batch(batch.id, BatchState.PLANNED, "killed", HOUR_S)
        world.pass_time(HOUR_S + 1)
        sent = world.round()

    assert sent == [("clean", job.id)]
    assert world.ledger.job(job.id).state is JobState.FAILED
    assert "failed 3 times" in world.ledger.job(job.id).error


def test_a_job_whose_worker_was_killed_before_it_could_end_it_is_ended(world):
    job, (batch, _) = world.started(batches=2)
    world.ledger.failed(batch.id, "boom", 1)

    assert ("clean", job.id) in world.round()

    failed = world.ledger.job(job.id)
    assert failed.state is JobState.FAILED
    assert failed.error == f"batch {batch.id} (1 files) failed 1 times, the last with: boom"


def test_a_job_that_loses_every_planner_fails_with_the_reason(world):
    job = world.ledger.create_job("r")
    for _ in range(3):
        assert world.leases.claim_job(job.id, OPEN_STATES, "killed", HOUR_S)
        world.pass_time(HOUR_S + 1)
        world.round()

    failed = world.ledger.job(job.id)
    assert (failed.state, failed.counts) == (JobState.FAILED, {"code": "internal"})
    assert "begun 3 times" in failed.error


def test_a_cleaner_that_was_lost_leaves_the_job_to_another(world):
    job = world.committed()
    world.pass_time()
    assert world.leases.claim_job(job.id, (JobState.DONE,), "killed", HOUR_S)
    world.pass_time(HOUR_S + 1)

    assert world.round() == [("clean", job.id)]
    assert world.round() == []
    assert world.ledger.job(job.id).state is JobState.DONE


def test_several_sweepers_count_a_loss_once(world):
    _, (batch,) = world.started()
    world.leases.claim_batch(batch.id, BatchState.PLANNED, "killed", HOUR_S)
    world.pass_time(HOUR_S + 1)
    overdue = world.leases.overdue()
    world.leases.__class__.overdue, real = lambda _self: overdue, world.leases.__class__.overdue
    try:
        world.round()
        world.round()
    finally:
        world.leases.__class__.overdue = real

    assert world.ledger.batch(batch.id).attempts == 1


def test_what_a_commit_replaced_is_cleaned_up_after_the_grace_time_and_asked_for_once(world):
    job = world.committed()
    assert world.round() == []

    world.pass_time(61.0)

    assert world.round() == [("clean", job.id)]
    assert world.round() == []
    world.pass_time()
    assert world.round() == [("clean", job.id)]
    world.ledger.cleaned(job.id)
    assert world.round() == []


def test_a_removal_is_asked_for_until_it_is_done_and_then_forgotten(world, clock):
    world.add()
    world.catalog.start_removal("r")

    assert world.round() == [("remove", "r")]
    assert world.round() == []
    clock[0] += 31.0
    assert world.round() == [("remove", "r")]
    world.catalog.remove("r")
    clock[0] += 31.0
    assert world.round() == []
    assert world.sweeper._removals_sent == {}


def test_a_repository_is_looked_at_when_nobody_has_for_long(world):
    world.add("a")
    world.add("b")
    world.ledger.create_job("b")
    world.leases.sent(world.leases.waiting(9), HOUR_S)

    assert world.round() == [("look", "a")], "b is being indexed anyway"
    assert world.round() == []
    world.pass_time(301.0)
    assert world.round() == [("look", "a")]


def test_no_looks_are_added_to_those_that_nobody_takes(world):
    world.add()
    world.queued = 2000
    assert world.round() == []

    world.queued = 0
    assert world.round() == [("look", "r")]


def test_nobody_is_looked_at_where_that_is_switched_off(world):
    world.add()
    world.sweeper._settings = Settings(poll_s=0.0)

    assert world.round() == []


def test_rows_of_long_ago_are_deleted_now_and_then(world, clock):
    job, (batch,) = world.started()
    world.ledger.failed(batch.id, "boom", 1)
    world.ledger.finish_job(job.id, JobState.FAILED, error="boom")
    world.ledger.cleaned(job.id)
    deliveries = Deliveries(world.engine)
    deliveries.record("github:1", 7)
    world.round()
    world.pass_time(15 * 24 * HOUR_S)

    world.round()
    assert len(world.ledger.batches(job.id)) == 1, "not in every round"
    clock[0] += 601.0
    world.round()

    assert world.ledger.batches(job.id) == []
    assert deliveries.job("github:1") is None


def test_what_is_lost_is_freed_although_the_queue_does_not_answer(world):
    job, (batch,) = world.started()
    world.leases.claim_batch(batch.id, BatchState.PLANNED, "killed", HOUR_S)
    world.pass_time(HOUR_S + 1)

    def gone(*_):
        raise ConnectionError("no broker")

    world.sweeper._backlog = gone
    with pytest.raises(ConnectionError):
        world.round()

    assert world.leases.overdue() == []
    assert job


class Stop:
    """Set after some rounds."""

    def __init__(self, rounds):
        self.left = rounds

    def is_set(self):
        self.left -= 1
        return self.left < 0

    def wait(self, _seconds):
        return None


def test_a_round_that_fails_does_not_end_the_sweeper(tmp_path, monkeypatch, caplog):
    def fail(_sweeper):
        raise InvalidRequest("a row that is not as it should be")

    monkeypatch.setattr(program, "check_queue", lambda _settings: None)
    monkeypatch.setattr(program, "beat", lambda *_: None)
    monkeypatch.setattr(Sweeper, "round", fail)
    settings = Settings(database_url=f"sqlite:///{tmp_path}/catalog.db", broker_url="redis://127.0.0.1:1/0")

    program._sweep(settings, Stop(rounds=3))

    assert [record.message for record in caplog.records] == ["round_failed"] * 3


def test_a_sweeper_waits_for_its_servers(monkeypatch, caplog):
    answers = iter([Unavailable("no broker"), Unavailable("no broker")])

    def check(_settings):
        raise next(answers)

    monkeypatch.setattr(program, "check_queue", check)
    monkeypatch.setattr(program, "beat", lambda *_: None)

    program._sweep(Settings(database_url="sqlite://", broker_url="redis://127.0.0.1:1/0"), Stop(rounds=2))

    assert [record.message for record in caplog.records] == ["waiting"] * 2


def test_a_sweeper_without_its_settings_says_which_and_ends(monkeypatch, capsys):
    monkeypatch.delenv("QUARRY_DATABASE_URL", raising=False)
    monkeypatch.setattr(program.signal, "signal", lambda *_: None)
    monkeypatch.setattr(program.logs, "configure", lambda **_: None)

    assert program.main() == 2
    assert "QUARRY_DATABASE_URL is not set" in capsys.readouterr().err
