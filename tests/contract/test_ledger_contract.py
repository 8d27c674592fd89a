"""What catalog, ledger and leases promise on every database: SQLite, and PostgreSQL with many processes at once."""

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.core.catalog import Catalog, Schema
from services.core.database import open_database
from services.core.errors import InvalidRequest, NotFound, QueueFull, Unavailable
from services.core.leases import Leases, Priority, Waiting
from services.core.ledger import OPEN_STATES, BatchState, Cleanup, JobState, Ledger
from services.core.manifest import Manifest, ManifestFile
from services.core.model import FileRef, Skipped, SkipReason
from tests.servers import NotToBeHad, free_port, postgres_server

DATABASES = {
    "sqlite": lambda fixture: f"sqlite:///{fixture('tmp_path')}/catalog.db",
    "postgresql": lambda fixture: fixture("postgres_url"),
}
REFS = [FileRef("a.py", "a.py", "1:1", 5), FileRef("n\n\\xff", "n\n\udcff", "1:2", 7)]
ROW = ManifestFile("a.py", "1:1", "blob", 5, "python", "code", "", "pack", "vecs", 0, 1)
SKIPPED = Skipped("n\n\\xff", SkipReason.BINARY, "said the chunker")
HOUR_S = 3600.0
# A lease that has passed when it is taken.
PAST_S = -1.0
AT_ONCE = 8


@pytest.fixture(params=DATABASES)
def url(request):
    return DATABASES[request.param](request.getfixturevalue)


@pytest.fixture
def engine(url):
    opened = open_database(url)
    yield opened
    opened.dispose()


@pytest.fixture
def ledger(engine):
    return Ledger(engine)


@pytest.fixture
def leases(engine):
    return Leases(engine)


@pytest.fixture
def catalog(engine):
    return Catalog(engine)


def started(ledger, repo="r", *, first=False, batches=(REFS,)):
    job = ledger.create_job(repo)
    ledger.start_job(job.id, revision="1", schema="s", plan="p", first=first, batches=batches)
    return ledger.job(job.id)


def finished(ledger, batch_id):
    ledger.chunked(batch_id, pack="pack", chunks=3, skipped=[SKIPPED])
    ledger.embedded(batch_id, vectors="vecs", embedded=2, cached=1)
    ledger.indexed({batch_id: [ROW]})


def in_threads(call):
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(call, range(AT_ONCE)))


@pytest.fixture
def at_once(engine):
    """Return what `call(number)` returns in threads; one by one in SQLite, where one process does one job at a time."""
    return in_threads if engine.dialect.name == "postgresql" else lambda call: [call(n) for n in range(AT_ONCE)]


@contextmanager
def restarting(folder, port):
    """Yield a database on a server of its own, and what stops that for the length of a block."""
    servers = [postgres_server(folder, port=port)]
    engine = open_database(servers[0].url)

    @contextmanager
    def restart():
        servers[-1].stop()
        yield
        servers.append(postgres_server(folder, port=port))

    try:
        yield engine, restart
    finally:
        engine.dispose()
        servers[-1].stop()


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


def test_a_repository_may_be_added_by_several_at_once(catalog):
    added = in_threads(lambda _: catalog.add("r", "git", "/r", "main"))

    assert {repo.source for repo in added} == {"/r"}
    assert [repo.name for repo in catalog.list()] == ["r"]


def test_a_name_belongs_to_one_source(catalog):
    catalog.add("r", "git", "/r", "")

    assert catalog.add("r", "directory", "/r", "main").kind == "directory"
    with pytest.raises(InvalidRequest, match="--name"):
        catalog.add("r", "git", "/other", "")


def test_a_repository_that_is_being_removed_is_seen_by_nobody(catalog):
    catalog.add("r", "git", "/r", "")

    catalog.start_removal("r")

    assert ([repo.name for repo in catalog.removing()], catalog.list()) == (["r"], [])
    with pytest.raises(NotFound):
        catalog.get("r")
    with pytest.raises(InvalidRequest, match="being removed"):
        catalog.add("r", "git", "/r", "")


def test_a_schema_may_be_registered_by_several_at_once(catalog, at_once):
    catalog.register_schema(Schema("old", 256))

    at_once(lambda _: catalog.register_schema(Schema("new", 384)))

    assert catalog.schemas() == [Schema("new", 384), Schema("old", 256)]


def test_several_processes_may_open_a_new_database_at_once(postgres_url):
    def opened(_):
        engine = open_database(postgres_url)
        engine.dispose()

    assert in_threads(opened) == [None] * AT_ONCE


def test_a_database_of_another_version_is_refused(url, engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE meta SET version = 99")

    with pytest.raises(InvalidRequest, match="version 99"):
        open_database(url)


def test_a_database_that_does_not_answer_is_unavailable():
    with pytest.raises(Unavailable, match="PostgreSQL"):
        open_database(f"postgresql+psycopg://quarry@127.0.0.1:{free_port()}/quarry")


@pytest.mark.parametrize("asked_meanwhile", [True, False])
def test_a_restart_of_the_database_server_costs_only_the_time_it_takes(asked_meanwhile):
    folder, port = Path(tempfile.mkdtemp(prefix="quarry-postgres-")), free_port()
    try:
        with restarting(folder, port) as (engine, restart):
            ledger = Ledger(engine)
            job = ledger.create_job("r")
            in_threads(lambda _: ledger.job(job.id))

            with restart():
                if asked_meanwhile:
                    with pytest.raises(Unavailable, match="PostgreSQL"):
                        ledger.job(job.id)

            assert in_threads(lambda _: ledger.job(job.id)) == [job] * AT_ONCE
    except NotToBeHad as reason:
        pytest.skip(str(reason))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
