"""What the ledger promises on every database: SQLite, and PostgreSQL with many processes at once."""

import pytest

from services.core.errors import InvalidRequest, NotFound
from services.core.ledger import BatchState, Cleanup, JobState
from services.core.manifest import Manifest
from tests.contract.ledger_results import AT_ONCE, REFS, ROW, SKIPPED, caller, finished, started


@pytest.fixture
def at_once(engine):
    return caller(engine)


def test_what_a_stage_records_is_read_back(ledger):
    job = started(ledger)
    (batch,) = ledger.batches(job.id, [BatchState.PLANNED])

    finished(ledger, batch.id)

    assert ledger.batch_files(batch.id) == REFS
    assert ledger.results(job.id) == ([ROW], [SKIPPED])
    assert ledger.batch(batch.id).state is BatchState.INDEXED
    progress = ledger.progress(job.id)
    assert (progress.files, progress.files_indexed, progress.chunks, progress.cached) == (2, 2, 3, 1)


def test_a_late_result_does_not_take_a_batch_back(ledger):
    (batch,) = ledger.batches(started(ledger).id)
    finished(ledger, batch.id)

    ledger.chunked(batch.id, pack="late", chunks=9, skipped=[])
    ledger.embedded(batch.id, vectors="late", embedded=9, cached=0)

    now = ledger.batch(batch.id)
    assert (now.state, now.pack, now.vectors) == (BatchState.INDEXED, "pack", "vecs")


def test_a_late_failure_does_not_kill_a_batch_that_is_done(ledger):
    (batch,) = ledger.batches(started(ledger).id)
    finished(ledger, batch.id)

    ledger.failed(batch.id, "late", 1)

    assert ledger.batch(batch.id).state is BatchState.INDEXED


@pytest.mark.parametrize(
    "error", ["boom", "NUL \0", "no UTF-8: \udcff", "😀 ᚠ", "'; DROP TABLE jobs; --", "x" * 100_000]
)
def test_a_batch_dies_with_its_error_whatever_that_says(ledger, error):
    (batch,) = ledger.batches(started(ledger).id)

    states = [ledger.failed(batch.id, error, 3, {"n\udcff": "parser_crashed"}).state for _ in range(4)]

    assert states == [BatchState.PLANNED] * 3 + [BatchState.DEAD]
    assert ledger.batch(batch.id).error.startswith(error[:3])
    assert ledger.batch(batch.id).suspects == {"n\udcff": "parser_crashed"}


@pytest.mark.parametrize("error", ["NUL \0", "no UTF-8: \udcff"])
def test_a_job_ends_with_its_error_whatever_that_says(ledger, error):
    job = started(ledger)

    ledger.finish_job(job.id, JobState.FAILED, error=error, counts={"code": "internal"})

    assert ledger.job(job.id).error.startswith(error[:3])
    assert ledger.job(job.id).counts == {"code": "internal"}


def test_no_failure_is_lost_when_several_are_counted_at_once(ledger, at_once):
    (batch,) = ledger.batches(started(ledger).id)

    at_once(lambda number: ledger.failed(batch.id, f"boom {number}", AT_ONCE))

    assert ledger.batch(batch.id).attempts == AT_ONCE
    assert ledger.batch(batch.id).state is BatchState.DEAD


def test_an_update_is_fenced_until_its_commit_and_what_it_replaced_after(ledger, catalog):
    catalog.add("r", "git", "/r", "")
    job = started(ledger)
    assert (ledger.fences().staged, ledger.fences().retired) == ((job.id,), ())

    ledger.commit_job(job, catalog, Manifest("r", "1", "s"), "digest", {"files": 0})

    assert (ledger.fences().staged, ledger.fences().retired) == ((), (job.id,))
    assert catalog.get("r").revision == "1"
    ledger.cleaned(job.id)
    assert (ledger.fences().staged, ledger.fences().retired) == ((), ())


def test_a_first_index_is_not_fenced_until_it_fails(ledger):
    job = started(ledger, first=True)
    assert ledger.fences().staged == ()

    ledger.finish_job(job.id, JobState.FAILED, error="boom")

    assert ledger.job(job.id).cleanup is Cleanup.STAGED
    assert ledger.fences().staged == (job.id,)


def test_a_job_is_started_once_and_ends_once(ledger, catalog):
    job = started(ledger)

    with pytest.raises(InvalidRequest, match="is running"):
        ledger.start_job(job.id, revision="2", schema="s", plan="p", first=False, batches=[REFS])
    ledger.finish_job(job.id, JobState.FAILED, error="boom")
    for again in (
        lambda: ledger.commit_job(job, catalog, Manifest("r", "1", "s"), "digest", {}),
        lambda: ledger.finish_job(job.id, JobState.DONE),
    ):
        with pytest.raises(InvalidRequest, match="is failed"):
            again()
    assert len(ledger.batches(job.id)) == 1


def test_a_job_is_started_by_one_of_several(ledger, at_once):
    job = ledger.create_job("r")

    def start(number):
        try:
            ledger.start_job(job.id, revision=str(number), schema="s", plan="p", first=False, batches=[REFS, REFS])
        except InvalidRequest:
            return False
        return True

    assert at_once(start).count(True) == 1
    assert len(ledger.batches(job.id)) == 2


def test_a_commit_by_several_at_once_is_one_commit(ledger, catalog, at_once):
    catalog.add("r", "git", "/r", "")
    job = started(ledger)

    at_once(lambda _: ledger.commit_job(job, catalog, Manifest("r", "1", "s"), "digest", {"files": 7}))

    assert (ledger.job(job.id).state, ledger.job(job.id).counts) == (JobState.DONE, {"files": 7})
    assert catalog.get("r").manifest == "digest"


def test_a_number_of_a_job_is_never_used_again(ledger, engine):
    last = ledger.create_job("r").id
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM jobs")

    assert ledger.create_job("r").id > last


def test_what_is_not_there_is_not_found(ledger, catalog):
    for look in (lambda: ledger.job(7), lambda: ledger.batch(7), lambda: catalog.get("nope")):
        with pytest.raises(NotFound):
            look()
