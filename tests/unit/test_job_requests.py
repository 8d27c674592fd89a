"""Claims about what waits, what is asked for and what is tried again, on SQLite and on PostgreSQL."""

import pytest

from services.core.catalog import Schema
from services.core.errors import InvalidRequest, NotFound, QueueFull
from services.core.leases import Priority, Waiting
from services.core.ledger import BatchState, JobState
from tests.unit.ledger_rows import AT_ONCE, HOUR_S, at_once, commit, finish, pass_leases, start, started


@pytest.fixture
def catalog(catalog):
    catalog.add("r", "url", "https://example.com/r.git", "")
    return catalog


def test_many_rows_of_one_stage_hide_no_other(ledger, leases):
    _, batches = started(ledger, batches=30)
    late = started(ledger, "late")[1][0]
    ledger.chunked(late.id, pack="pack", chunks=1, skipped=[])
    queued = ledger.create_job("queued")
    ready, (last,) = started(ledger, "ready")
    finish(ledger, last)

    found = leases.waiting(10)

    assert [each.key for each in found if each.stage == "chunk"] == [batch.id for batch in batches[:10]]
    assert {("embed", late.id), ("plan", queued.id), ("commit", ready.id)} < {(each.stage, each.key) for each in found}


def test_what_is_urgent_is_listed_first_whatever_its_stage(ledger, leases):
    started(ledger)
    leases.request_job("push", "", Priority.PUSH, max_open=9)
    now, _ = leases.request_job("now", "", Priority.INTERACTIVE, max_open=9)
    start(ledger, now)

    assert [each.priority for each in leases.waiting(9)] == [Priority.INTERACTIVE, Priority.PUSH, Priority.BULK]


def test_a_request_raises_the_class_of_the_job_it_shares_and_never_lowers_it(leases):
    for asked, now in (("bulk", "bulk"), ("push", "push"), ("bulk", "push"), ("interactive", "interactive")):
        assert leases.request_job("r", "", Priority(asked), max_open=1)[0].priority == now


def test_a_request_does_not_share_a_job_that_has_looked_already(engine, ledger, leases):
    job, _ = leases.request_job("r", "", Priority.PUSH, max_open=9)
    leases.claim_job(job.id, (JobState.QUEUED,), "planner", HOUR_S)

    again, new = leases.request_job("r", "", Priority.PUSH, max_open=9)

    assert new
    assert again.id != job.id
    leases.release_job(job.id, "planner", wait_s=0.0, error="", counted=False)
    assert leases.request_job("r", "", Priority.PUSH, max_open=9)[0].id == job.id, "it looks again"


def test_ended_jobs_leave_room_for_others(ledger, leases):
    job, _ = leases.request_job("a", "", Priority.BULK, max_open=1)
    with pytest.raises(QueueFull):
        leases.request_job("b", "", Priority.BULK, max_open=1)

    ledger.finish_job(job.id, JobState.DONE)

    assert leases.request_job("b", "", Priority.BULK, max_open=1)[1]


def failed(ledger, batches=1):
    job, rows = started(ledger, batches=batches)
    ledger.finish_job(job.id, JobState.FAILED, error="boom")
    ledger.cleaned(job.id)
    return job, rows


def test_a_retried_job_forgets_its_failures(ledger, leases, catalog):
    job, (batch,) = failed(ledger)
    ledger.failed(batch.id, "boom", 2)

    again = leases.retry_job(job.id)

    assert (again.id, again.state, again.error, again.attempts) == (job.id, JobState.RUNNING, "", 0)
    assert (ledger.batch(batch.id).attempts, ledger.batch(batch.id).error) == (0, "")
    assert leases.waiting(9) == [Waiting("chunk", batch.id, Priority.BULK)]


@pytest.mark.parametrize("why", ["pruned", "something newer is live", "another model", "added again", "not planned"])
def test_a_job_that_can_not_go_on_begins_anew(engine, ledger, leases, catalog, why):
    job, _ = failed(ledger)
    if why == "pruned":
        leases.prune(done_s=HOUR_S, failed_s=-HOUR_S)
    elif why == "something newer is live":
        commit(ledger, catalog, started(ledger, batches=0)[0])
    elif why == "another model":
        catalog.register_schema(Schema("new", 8))
    elif why == "added again":
        catalog.remove("r")
        catalog.add("r", "url", "https://example.com/other.git", "")
    else:
        job = ledger.create_job("r", "main")
        ledger.finish_job(job.id, JobState.FAILED, error="no such host")

    again = leases.retry_job(job.id)

    assert (again.state, again.ref, again.priority) == (JobState.QUEUED, job.ref, job.priority)
    assert again.id > job.id, "a generation of its own: points may carry marks of the old one"
    assert ledger.job(job.id).state is JobState.FAILED


def test_only_a_failed_job_of_a_quiet_repository_is_retried(ledger, leases, catalog):
    job, _ = failed(ledger)
    other, _ = started(ledger)
    with pytest.raises(InvalidRequest, match="another job"):
        leases.retry_job(job.id)
    ledger.finish_job(other.id, JobState.FAILED, error="boom")
    with pytest.raises(InvalidRequest, match="another job"):
        leases.retry_job(job.id)
    ledger.cleaned(other.id)
    catalog.start_removal("r")
    with pytest.raises(NotFound, match="add it again"):
        leases.retry_job(job.id)
    with pytest.raises(NotFound):
        leases.retry_job(999)


def test_of_several_retries_one_counts(ledger, leases, catalog):
    job, _ = failed(ledger)

    def retry(_):
        try:
            return leases.retry_job(job.id).id
        except InvalidRequest:
            return None

    assert sorted(at_once(retry), key=bool) == [None] * (AT_ONCE - 1) + [job.id]


def test_batches_of_jobs_that_ended_long_ago_are_deleted(engine, ledger, leases, catalog):
    running, _ = started(ledger, "running")
    unclean, _ = started(ledger, "unclean")
    ledger.finish_job(unclean.id, JobState.FAILED, error="boom")
    gone, _ = failed(ledger)
    done, (batch,) = started(ledger)
    finish(ledger, batch)
    commit(ledger, catalog, done)
    ledger.cleaned(done.id)
    pass_leases(engine)

    leases.prune(done_s=HOUR_S, failed_s=4 * HOUR_S)
    assert [len(ledger.batches(job.id)) for job in (running, unclean, gone, done)] == [1, 1, 1, 0]
    leases.prune(done_s=HOUR_S, failed_s=HOUR_S)
    assert [len(ledger.batches(job.id)) for job in (running, unclean, gone, done)] == [1, 1, 0, 0]
    assert not leases.claim_batch(batch.id, BatchState.PLANNED, "late", HOUR_S)
