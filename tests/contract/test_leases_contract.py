"""What leases promise on every database: SQLite, and PostgreSQL with many processes at once."""

import pytest

from services.core.errors import InvalidRequest, QueueFull
from services.core.leases import Priority, Waiting
from services.core.ledger import OPEN_STATES, BatchState, JobState
from services.core.manifest import Manifest
from tests.contract.ledger_results import AT_ONCE, REFS, ROW, caller, finished, started

HOUR_S = 3600.0
# A lease that has passed when it is taken.
PAST_S = -1.0


@pytest.fixture
def at_once(engine):
    return caller(engine)


def test_a_batch_has_one_holder(ledger, leases, at_once):
    (batch,) = ledger.batches(started(ledger).id)

    taken = at_once(lambda number: leases.claim_batch(batch.id, BatchState.PLANNED, f"worker {number}", HOUR_S))

    assert taken.count(True) == 1
    assert leases.keep_batch(batch.id, f"worker {taken.index(True)}", HOUR_S)
    assert not leases.keep_batch(batch.id, f"worker {taken.index(False)}", HOUR_S)


def test_a_batch_whose_lease_has_passed_is_anothers(ledger, leases):
    (batch,) = ledger.batches(started(ledger).id)
    assert leases.claim_batch(batch.id, BatchState.PLANNED, "killed", PAST_S)
    assert leases.overdue() == [batch.id]

    assert leases.claim_batch(batch.id, BatchState.PLANNED, "other", HOUR_S)

    leases.release_batch(batch.id, "killed", wait_s=0.0, error="late")
    assert not leases.keep_batch(batch.id, "killed", HOUR_S)
    assert leases.keep_batch(batch.id, "other", HOUR_S)
    assert (leases.overdue(), ledger.batch(batch.id).error) == ([], "")


def test_only_a_batch_in_the_right_state_of_a_running_job_is_taken(ledger, leases):
    job = started(ledger)
    (batch,) = ledger.batches(job.id)

    assert not leases.claim_batch(batch.id, BatchState.CHUNKED, "worker", HOUR_S)
    ledger.finish_job(job.id, JobState.FAILED, error="boom")
    assert not leases.claim_batch(batch.id, BatchState.PLANNED, "worker", HOUR_S)


def test_a_result_or_a_failure_frees_a_batch(ledger, leases):
    (batch,) = ledger.batches(started(ledger).id)
    steps = [
        (BatchState.PLANNED, lambda: ledger.failed(batch.id, "boom", 5)),
        (BatchState.PLANNED, lambda: ledger.chunked(batch.id, pack="pack", chunks=3, skipped=[])),
        (BatchState.CHUNKED, lambda: ledger.embedded(batch.id, vectors="vecs", embedded=3, cached=0)),
        (BatchState.EMBEDDED, lambda: ledger.indexed({batch.id: [ROW]})),
    ]

    for number, (state, step) in enumerate(steps):
        assert leases.claim_batch(batch.id, state, f"worker {number}", HOUR_S)
        step()

    assert ledger.batch(batch.id).state is BatchState.INDEXED


def test_one_job_of_a_repository_runs_at_a_time(ledger, leases, at_once):
    jobs = [ledger.create_job("r") for _ in range(AT_ONCE)]
    other = ledger.create_job("other")

    taken = at_once(lambda number: leases.claim_job(jobs[number].id, OPEN_STATES, f"worker {number}", HOUR_S))

    assert sum(job is not None for job in taken) == 1
    assert leases.claim_job(other.id, OPEN_STATES, "worker", HOUR_S)


def test_a_job_whose_lease_has_passed_is_anothers(ledger, leases):
    job = ledger.create_job("r")
    assert leases.claim_job(job.id, OPEN_STATES, "killed", PAST_S)
    assert leases.overdue_jobs() == [job.id]

    assert leases.claim_job(job.id, OPEN_STATES, "other", HOUR_S)

    assert not leases.keep_job(job.id, "killed", HOUR_S)
    assert leases.keep_job(job.id, "other", HOUR_S)
    assert leases.release_job(job.id, "other", wait_s=0.0, error="boom") == 1


def test_requests_share_the_job_that_nobody_has_begun(ledger, leases, at_once):
    found = at_once(lambda number: leases.request_job("r", "main", list(Priority)[number % 3], max_open=100))

    assert len({job.id for job, _ in found}) == 1
    assert sum(new for _, new in found) == 1
    (job,) = ledger.jobs("r")
    assert job.priority == Priority.INTERACTIVE
    assert leases.request_job("r", "other", Priority.BULK, max_open=100)[1]
    leases.claim_job(job.id, OPEN_STATES, "worker", HOUR_S)
    assert leases.request_job("r", "main", Priority.BULK, max_open=100)[1]


def test_a_full_queue_takes_no_new_job_but_answers_for_those_it_has(leases):
    leases.request_job("a", "", Priority.BULK, max_open=1)

    with pytest.raises(QueueFull, match="1 jobs"):
        leases.request_job("b", "", Priority.BULK, max_open=1)

    assert not leases.request_job("a", "", Priority.BULK, max_open=1)[1]


def test_what_waits_is_listed_by_urgency_and_not_again_once_it_is_sent(ledger, leases):
    bulk = started(ledger)
    (batch,) = ledger.batches(bulk.id)
    urgent, _ = leases.request_job("other", "", Priority.INTERACTIVE, max_open=9)
    expected = [Waiting("plan", urgent.id, Priority.INTERACTIVE), Waiting("chunk", batch.id, Priority.BULK)]
    assert leases.waiting(10) == expected
    assert leases.depths() == {("plan", Priority.INTERACTIVE): 1, ("chunk", Priority.BULK): 1}

    leases.sent(expected, HOUR_S)

    assert leases.waiting(10) == []
    assert leases.claim_batch(batch.id, BatchState.PLANNED, "worker", HOUR_S)


def test_a_job_whose_batches_are_all_indexed_waits_for_its_commit(ledger, leases):
    job = started(ledger, batches=[REFS[:1], REFS[1:]])
    for batch in ledger.batches(job.id):
        assert Waiting("commit", job.id, Priority.BULK) not in leases.waiting(10)
        finished(ledger, batch.id)

    assert leases.waiting(10) == [Waiting("commit", job.id, Priority.BULK)]


def test_what_a_commit_replaced_is_cleaned_up_after_the_grace_time(ledger, leases, catalog):
    catalog.add("r", "git", "/r", "")
    done, failed = started(ledger), started(ledger, "other")
    ledger.commit_job(done, catalog, Manifest("r", "1", "s"), "digest", {})
    ledger.finish_job(failed.id, JobState.FAILED, error="boom")

    assert leases.to_clean(HOUR_S) == [failed.id]
    assert leases.to_clean(PAST_S) == [done.id, failed.id]


def test_a_failed_job_goes_on_from_what_is_stored_of_it(ledger, leases, catalog):
    catalog.add("r", "git", "/r", "")
    job = started(ledger, batches=[REFS, REFS, REFS])
    planned, chunked, indexed = (batch.id for batch in ledger.batches(job.id))
    ledger.chunked(chunked, pack="pack", chunks=1, skipped=[])
    finished(ledger, indexed)
    for batch_id in (planned, chunked):
        ledger.failed(batch_id, "boom", 1)
    ledger.finish_job(job.id, JobState.FAILED, error="boom")
    with pytest.raises(InvalidRequest, match="still being removed"):
        leases.retry_job(job.id)
    ledger.cleaned(job.id)

    assert leases.retry_job(job.id).state is JobState.RUNNING

    states = [batch.state for batch in ledger.batches(job.id)]
    assert states == [BatchState.PLANNED, BatchState.CHUNKED, BatchState.EMBEDDED]
