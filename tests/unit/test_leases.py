"""Claims about who works on what: what the contract of the ledger leaves open, on SQLite and on PostgreSQL.

Time is moved on by setting leases back: nothing here waits for one.
"""

import pytest
from sqlalchemy import update

from services.core import database as db
from services.core.database import open_database
from services.core.errors import InvalidRequest
from services.core.leases import Leases, Priority, Waiting
from services.core.ledger import OPEN_STATES, BatchState, JobState
from tests.unit.ledger_rows import AT_ONCE, HOUR_S, at_once, commit, pass_leases, start, started


@pytest.fixture
def catalog(catalog):
    catalog.add("r", "url", "https://example.com/r.git", "")
    return catalog


def test_of_many_threads_one_gets_each_batch(ledger, leases):
    _, batches = started(ledger, batches=5)

    taken = at_once(lambda n: [leases.claim_batch(b.id, BatchState.PLANNED, f"w{n}", HOUR_S) for b in batches])

    assert [sum(mine[place] for mine in taken) for place in range(5)] == [1] * 5


def test_of_many_threads_one_gets_each_overdue_batch(engine, ledger, leases):
    _, (batch,) = started(ledger)
    leases.claim_batch(batch.id, BatchState.PLANNED, "killed", HOUR_S)
    pass_leases(engine)

    assert at_once(lambda n: leases.claim_batch(batch.id, BatchState.PLANNED, f"w{n}", HOUR_S)).count(True) == 1


def test_requests_at_the_same_moment_are_one_job(leases):
    found = at_once(lambda n: leases.request_job("r", "", list(Priority)[n % 3], max_open=100))

    assert len({job.id for job, _ in found}) == 1
    assert [new for _, new in found].count(True) == 1


def test_of_several_sweepers_one_takes_back_what_is_overdue(engine, ledger, leases):
    job, (batch,) = started(ledger)
    leases.claim_batch(batch.id, BatchState.PLANNED, "killed", HOUR_S)
    leases.claim_job(job.id, OPEN_STATES, "killed", HOUR_S)
    pass_leases(engine)

    assert at_once(lambda _: leases.take_back_batch(batch.id)).count(True) == 1
    assert sorted(at_once(lambda _: leases.take_back_job(job.id, "lost")), key=bool) == [None] * (AT_ONCE - 1) + [1]
    assert (leases.overdue(), leases.overdue_jobs()) == ([], [])


def test_only_what_is_overdue_is_taken_back(ledger, leases):
    job, (batch,) = started(ledger)
    leases.claim_batch(batch.id, BatchState.PLANNED, "works", HOUR_S)
    leases.claim_job(job.id, OPEN_STATES, "works", HOUR_S)

    assert not leases.take_back_batch(batch.id)
    assert leases.take_back_job(job.id, "lost") is None
    assert leases.keep_batch(batch.id, "works", HOUR_S)
    assert leases.keep_job(job.id, "works", HOUR_S)


def test_leases_go_by_the_clock_of_the_database(ledger, leases, monkeypatch):
    monkeypatch.setattr("services.core.database.time.time", lambda: 1e12)
    monkeypatch.setattr("time.time", lambda: 1e12)
    _, (batch,) = started(ledger)

    assert leases.claim_batch(batch.id, BatchState.PLANNED, "a", HOUR_S)

    assert leases.overdue() == []
    assert not leases.claim_batch(batch.id, BatchState.PLANNED, "b", HOUR_S)


def test_a_wrong_clock_of_a_committer_does_not_shorten_the_grace_time(ledger, leases, catalog, monkeypatch):
    monkeypatch.setattr("services.core.database.time.time", lambda: 1.0)
    job, _ = started(ledger, batches=0)

    commit(ledger, catalog, job)

    assert leases.to_clean(HOUR_S) == []


def test_a_failure_of_one_who_lost_the_batch_frees_nobody(engine, ledger, leases):
    _, (batch,) = started(ledger)
    leases.claim_batch(batch.id, BatchState.PLANNED, "slow", HOUR_S)
    pass_leases(engine)
    leases.claim_batch(batch.id, BatchState.PLANNED, "next", HOUR_S)

    assert ledger.failed(batch.id, "late", 5, holder="slow").attempts == 0

    assert leases.keep_batch(batch.id, "next", HOUR_S)
    assert ledger.failed(batch.id, "mine", 5, holder="next").attempts == 1
    assert not leases.keep_batch(batch.id, "next", HOUR_S)


def test_a_batch_that_failed_rests_before_it_is_sent_again(engine, ledger, leases):
    job, (batch,) = started(ledger)
    leases.claim_batch(batch.id, BatchState.PLANNED, "w", HOUR_S)

    ledger.failed(batch.id, "boom", 5, holder="w", wait_s=60.0)

    assert leases.waiting(9) == []
    pass_leases(engine, by_s=61.0)
    assert leases.waiting(9) == [Waiting("chunk", batch.id, Priority(job.priority))]


def test_a_planner_that_lost_its_job_starts_nothing(engine, ledger, leases):
    job = ledger.create_job("r")
    leases.claim_job(job.id, (JobState.QUEUED,), "slow", HOUR_S)
    pass_leases(engine)
    assert leases.claim_job(job.id, (JobState.QUEUED,), "next", HOUR_S)

    with pytest.raises(InvalidRequest, match="'next' holds it"):
        start(ledger, job, holder="slow")
    with pytest.raises(InvalidRequest, match="'next' holds it"):
        ledger.finish_job(job.id, JobState.DONE, holder="slow")

    assert len(start(ledger, job, holder="next")) == 1


def test_two_planners_never_start_two_jobs_of_a_repository(engine, ledger, leases):
    first, second = ledger.create_job("r"), ledger.create_job("r")
    leases.claim_job(first.id, (JobState.QUEUED,), "slow", HOUR_S)
    pass_leases(engine)

    assert leases.claim_job(second.id, (JobState.QUEUED,), "next", HOUR_S) is None, "the slow one may still start"

    leases.take_back_job(first.id, "lost")
    assert leases.claim_job(second.id, (JobState.QUEUED,), "next", HOUR_S)
    with pytest.raises(InvalidRequest):
        start(ledger, first, holder="slow")


def test_a_job_that_has_ended_is_free_at_once(ledger, leases):
    job = ledger.create_job("r")
    leases.claim_job(job.id, (JobState.QUEUED,), "planner", HOUR_S)
    start(ledger, job, holder="planner")
    leases.claim_job(job.id, OPEN_STATES, "committer", HOUR_S)
    ledger.finish_job(job.id, JobState.FAILED, error="boom", holder="committer")

    assert leases.to_clean(HOUR_S) == [job.id]
    assert leases.claim_job(job.id, (JobState.FAILED,), "cleaner", HOUR_S)


def test_the_reason_of_a_failure_survives_its_cleaning(ledger, leases):
    job, _ = started(ledger)
    ledger.finish_job(job.id, JobState.FAILED, error="boom")
    leases.claim_job(job.id, (JobState.FAILED,), "cleaner", HOUR_S)

    leases.release_job(job.id, "cleaner", wait_s=0.0, error="")

    assert ledger.job(job.id).error == "boom"


def test_a_message_to_clean_does_not_stand_in_its_own_way(ledger, leases):
    job, _ = started(ledger)
    ledger.finish_job(job.id, JobState.FAILED, error="boom")

    leases.sent([Waiting("clean", job.id, Priority.BULK)], HOUR_S)

    assert leases.to_clean(HOUR_S) == [], "it is under way"
    assert leases.may_be_cleaned(job.id, HOUR_S)
    assert leases.claim_job(job.id, (JobState.FAILED,), "cleaner", HOUR_S)


def test_points_of_a_failed_job_stay_while_somebody_may_write_them(engine, ledger, leases):
    job, (batch,) = started(ledger)
    leases.claim_batch(batch.id, BatchState.PLANNED, "writes", HOUR_S)
    ledger.finish_job(job.id, JobState.FAILED, error="boom")
    with engine.begin() as connection:
        connection.execute(update(db.jobs).values(finished_at=0.0))

    assert leases.to_clean(1.0) == [], "however long ago it failed"
    assert not leases.may_be_cleaned(job.id, 1.0)
    assert leases.is_worked_on("r")
    pass_leases(engine, db.batches)
    assert leases.to_clean(1.0) == [job.id]
    assert not leases.is_worked_on("r")


def test_cleaning_up_after_a_commit_waits_for_no_job(ledger, leases, catalog, engine):
    done, _ = started(ledger, batches=0)
    commit(ledger, catalog, done)
    running, _ = started(ledger)
    pass_leases(engine)

    assert leases.to_clean(1.0) == [done.id]
    assert leases.claim_job(done.id, (JobState.DONE,), "cleaner", HOUR_S)
    assert leases.claim_job(running.id, OPEN_STATES, "committer", HOUR_S)


def test_nothing_begins_before_a_failed_job_is_cleaned_up(ledger, leases):
    failed, _ = started(ledger)
    ledger.finish_job(failed.id, JobState.FAILED, error="boom")
    waiting = ledger.create_job("r")

    assert leases.claim_job(waiting.id, (JobState.QUEUED,), "planner", HOUR_S) is None
    assert leases.waiting(9) == []
    ledger.cleaned(failed.id)
    assert leases.waiting(9) == [Waiting("plan", waiting.id, Priority.BULK)]
    assert leases.claim_job(waiting.id, (JobState.QUEUED,), "planner", HOUR_S)


def test_two_failed_jobs_of_a_repository_do_not_wait_for_each_other(ledger, leases):
    jobs = [started(ledger)[0] for _ in range(2)]
    for job in jobs:
        ledger.finish_job(job.id, JobState.FAILED, error="boom")

    assert all(leases.claim_job(job.id, (JobState.FAILED,), "cleaner", HOUR_S) for job in jobs)


def test_one_process_is_alone_with_a_name(postgres_url):
    engine = open_database(postgres_url)
    leases = Leases(engine)

    with leases.alone("r") as first, leases.alone("r") as second, leases.alone("other") as other:
        assert (first, second, other) == (True, False, True)
    with leases.alone("r") as again:
        assert again
    engine.dispose()
