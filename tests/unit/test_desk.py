"""Claims about a worker's desk: what becomes of a row when the work on it succeeds, fails, or is somebody else's."""

import pytest
from sqlalchemy import select, update

from services.core import database as db
from services.core.catalog import Schema
from services.core.database import open_database
from services.core.desk import Desk
from services.core.errors import CorruptData, InvalidRequest, Unavailable
from services.core.leases import Priority
from services.core.ledger import STARTED_STATES, BatchState, Cleanup, JobState
from services.core.model import FileRef, Message
from services.core.settings import Settings

REFS = [FileRef("a.py", "a.py", "git:1", 5)]
BULK = Priority.BULK


@pytest.fixture
def engine(tmp_path):
    opened = open_database(tmp_path / "catalog.db")
    yield opened
    opened.dispose()


@pytest.fixture
def said():
    return []


@pytest.fixture
def desk(engine, said):
    return new_desk(engine, said)


def new_desk(engine, said):
    desk = Desk(Settings(max_attempts=3), lambda message, _priority: said.append((message.stage, message.key)))
    desk.__dict__["engine"] = engine
    return desk


def started(desk, batches=1):
    job = desk.ledger.create_job("r")
    desk.ledger.start_job(job.id, revision="1", schema="s", plan="p", first=False, batches=[REFS] * batches)
    return desk.ledger.job(job.id), desk.ledger.batches(job.id)


def ready(desk):
    """Let time pass, so that whatever rests may be sent."""
    with desk.engine.begin() as connection:
        for table in (db.jobs, db.batches):
            connection.execute(update(table).values(lease_until=table.c.lease_until - 1e6))


def fail(error):
    def work(*_):
        raise error

    return work


def nothing(*_):
    """Work that leaves everything as it is."""


def test_the_work_on_a_batch_is_done_while_nobody_else_can_have_it(desk, engine, said):
    _, (batch,) = started(desk)
    other = new_desk(engine, said)

    def work(hold, emit):
        hold.check()
        other.on_batch(batch.id, BatchState.PLANNED, BULK, fail(AssertionError("not twice")))
        desk.ledger.chunked(batch.id, pack="pack", chunks=1, skipped=[])
        emit(Message("embed", batch.id))

    desk.on_batch(batch.id, BatchState.PLANNED, BULK, work)

    assert desk.ledger.batch(batch.id).state is BatchState.CHUNKED
    assert said == [("embed", batch.id)]
    assert desk.leases.waiting(9) == [], "the message is under way"


def test_a_message_that_comes_late_finds_nothing_to_do(desk):
    _, (batch,) = started(desk)
    desk.ledger.chunked(batch.id, pack="pack", chunks=1, skipped=[])

    desk.on_batch(batch.id, BatchState.PLANNED, BULK, fail(AssertionError("done already")))
    desk.on_batch(999, BatchState.PLANNED, BULK, fail(AssertionError("there is none")))
    desk.on_job(999, (JobState.QUEUED,), BULK, fail(AssertionError("there is none")))

    assert desk.ledger.batch(batch.id).attempts == 0


def test_a_batch_whose_server_is_down_waits_without_being_counted(desk):
    _, (batch,) = started(desk)

    for _ in range(9):
        desk.on_batch(batch.id, BatchState.PLANNED, BULK, fail(Unavailable("no store")))
        assert desk.leases.waiting(9) == [], "it rests"
        ready(desk)

    now = desk.ledger.batch(batch.id)
    assert (now.state, now.attempts, now.error) == (BatchState.PLANNED, 0, "no store")


@pytest.mark.parametrize("error", [CorruptData("damaged"), ValueError("damaged"), InvalidRequest("damaged")])
def test_a_batch_that_keeps_failing_ends_its_job_with_the_reason(desk, said, error):
    job, (batch, _) = started(desk, batches=2)

    for _ in range(3):
        assert desk.ledger.job(job.id).state is JobState.RUNNING
        desk.on_batch(batch.id, BatchState.PLANNED, BULK, fail(error))
        ready(desk)

    failed = desk.ledger.job(job.id)
    assert (failed.state, failed.cleanup) == (JobState.FAILED, Cleanup.STAGED)
    assert failed.error.startswith(f"batch {batch.id} (1 files) failed 3 times, the last with: ")
    assert failed.error.endswith("damaged")
    assert said == [("clean", job.id)]


def test_a_batch_rests_longer_after_each_failure(desk, monkeypatch):
    monkeypatch.setattr("services.core.desk.random.uniform", lambda low, high: (low + high) / 2)
    _, (batch,) = started(desk)
    rests = []
    for _ in range(2):
        ready(desk)
        desk.on_batch(batch.id, BatchState.PLANNED, BULK, fail(ValueError()))
        with desk.engine.connect() as connection:
            rests.append(connection.execute(select(db.batches.c.lease_until - db.clock())).scalar())

    assert [round(rest) for rest in rests] == [5, 10]


def test_a_failure_after_the_lease_was_lost_is_the_next_holders_affair(desk, engine, said):
    job, (batch,) = started(desk)
    other = new_desk(engine, said)

    def overslept(*_):
        ready(desk)
        assert other.leases.claim_batch(batch.id, BatchState.PLANNED, other.holder, 60.0)
        raise ValueError("late")

    desk.on_batch(batch.id, BatchState.PLANNED, BULK, overslept)

    assert desk.ledger.batch(batch.id).attempts == 0
    assert other.leases.keep_batch(batch.id, other.holder, 60.0)
    assert desk.ledger.job(job.id).state is JobState.RUNNING


@pytest.mark.parametrize("error", [InvalidRequest("late"), ValueError("late"), Unavailable("late")])
def test_a_planner_that_overslept_does_not_end_the_job_that_another_plans(desk, engine, said, error):
    job = desk.ledger.create_job("r")
    other = new_desk(engine, said)

    def overslept(*_):
        ready(desk)
        assert other.leases.claim_job(job.id, (JobState.QUEUED,), other.holder, 60.0)
        raise error

    desk.on_job(job.id, (JobState.QUEUED,), BULK, overslept)

    now = desk.ledger.job(job.id)
    assert (now.state, now.holder, now.attempts, now.error) == (JobState.QUEUED, other.holder, 0, "")


def test_a_job_whose_request_is_wrong_fails_at_once(desk, said):
    job, waiting = desk.ledger.create_job("r"), desk.ledger.create_job("r")

    desk.on_job(job.id, (JobState.QUEUED,), BULK, fail(InvalidRequest("no such branch\0")))

    failed = desk.ledger.job(job.id)
    assert (failed.state, failed.counts) == (JobState.FAILED, {"code": "invalid_request"})
    assert failed.error == "no such branch\\0"
    assert said == [("plan", waiting.id)], "it has written nothing, so nothing is to be cleaned"


def test_a_job_that_keeps_failing_fails_with_the_last_reason(desk, said):
    job = desk.ledger.create_job("r")

    for _ in range(3):
        assert desk.ledger.job(job.id).state is JobState.QUEUED
        desk.on_job(job.id, (JobState.QUEUED,), BULK, fail(ValueError("boom")))

    assert (desk.ledger.job(job.id).state, desk.ledger.job(job.id).error) == (JobState.FAILED, "ValueError: boom")


def test_cleaning_that_fails_leaves_the_job_as_it_ended_and_is_tried_again(desk):
    job, _ = started(desk)
    desk.ledger.finish_job(job.id, JobState.FAILED, error="boom", counts={"code": "internal"})

    for error in (InvalidRequest("x"), Unavailable("y"), ValueError("z"), CorruptData("w")):
        ready(desk)
        assert desk.leases.to_clean(60.0) == [job.id]
        desk.on_job(job.id, (JobState.FAILED,), BULK, fail(error))

    now = desk.ledger.job(job.id)
    assert (now.state, now.error, now.cleanup) == (JobState.FAILED, "boom", Cleanup.STAGED)


def test_a_job_that_was_done_keeps_what_it_was_ended_with(desk):
    job = desk.ledger.create_job("r")

    def work(job, _hold, _emit):
        desk.ledger.finish_job(job.id, JobState.FAILED, error="removed", holder=job.holder)

    desk.on_job(job.id, (JobState.QUEUED,), BULK, work)

    now = desk.ledger.job(job.id)
    assert (now.state, now.error, now.holder) == (JobState.FAILED, "removed", "")


def test_work_that_left_its_job_as_it_was_frees_it(desk):
    job, _ = started(desk)

    desk.on_job(job.id, STARTED_STATES, BULK, nothing)

    assert desk.ledger.job(job.id).holder == ""
    assert desk.leases.claim_job(job.id, STARTED_STATES, "next", 60.0)


def test_failing_a_job_that_has_ended_changes_and_sends_nothing(desk, said):
    job, _ = started(desk)
    desk.ledger.finish_job(job.id, JobState.DONE)

    desk.fail_job(job.id, InvalidRequest("late"), BULK)

    assert desk.ledger.job(job.id).state is JobState.DONE
    assert said == []


def test_points_are_not_cleaned_up_while_another_batch_of_the_job_is_held(desk, said):
    job, (batch, held) = started(desk, batches=2)
    desk.leases.claim_batch(held.id, BatchState.PLANNED, "writes", 60.0)

    for _ in range(3):
        desk.on_batch(batch.id, BatchState.PLANNED, BULK, fail(ValueError()))

    assert desk.ledger.job(job.id).state is JobState.FAILED
    assert said == [], "the sweeper sends it once the other has ended"


def test_a_ledger_that_does_not_answer_ends_the_message_and_raises_nothing(desk, monkeypatch):
    _, (batch,) = started(desk)

    def gone(*_, **__):
        raise Unavailable("no ledger")

    monkeypatch.setattr(desk.leases, "release_batch", gone)
    desk.on_batch(batch.id, BatchState.PLANNED, BULK, fail(Unavailable("no store")))
    monkeypatch.setattr(desk.leases, "claim_batch", gone)
    monkeypatch.setattr(desk.leases, "claim_job", gone)
    desk.on_batch(batch.id, BatchState.PLANNED, BULK, nothing)
    desk.on_job(1, (JobState.QUEUED,), BULK, nothing)


def test_a_batch_that_was_deleted_while_somebody_overslept_is_nobodys_fault(desk):
    job, (batch,) = started(desk)

    def overslept(*_):
        desk.ledger.finish_job(job.id, JobState.FAILED, error="boom")
        desk.ledger.cleaned(job.id)
        desk.leases.prune(done_s=0.0, failed_s=-60.0)
        raise ValueError("late")

    desk.on_batch(batch.id, BatchState.PLANNED, BULK, overslept)

    assert desk.ledger.batches(job.id) == []


def test_a_queue_that_does_not_answer_is_not_the_works_fault(desk):
    job, (batch,) = started(desk)

    def refuse(*_):
        raise ConnectionError("no broker")

    desk.publish = refuse

    def work(_hold, emit):
        desk.ledger.chunked(batch.id, pack="pack", chunks=1, skipped=[])
        emit(Message("embed", batch.id))

    desk.on_batch(batch.id, BatchState.PLANNED, BULK, work)

    assert desk.ledger.batch(batch.id).error == ""
    ready(desk)
    assert [each.key for each in desk.leases.waiting(9)] == [batch.id]
    assert job


def test_of_schemas_that_come_within_one_tick_the_last_is_the_newest(desk):
    for name in map(str, range(40)):
        desk.catalog.register_schema(Schema(name, 8))

        assert desk.active_schema().name == name


def test_the_newest_schema_is_indexed_for(desk):
    with pytest.raises(Unavailable, match="no embedder"):
        desk.active_schema()
    desk.catalog.register_schema(Schema("old", 8))
    desk.catalog.register_schema(Schema("new", 8))

    assert desk.active_schema().name == "new"
    assert desk.schema("old") == Schema("old", 8)
    with pytest.raises(InvalidRequest, match="was dropped"):
        desk.schema("gone")
