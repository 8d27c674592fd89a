"""Claims about who works on what: what the contract of the ledger leaves open, on SQLite and on PostgreSQL.

Time is moved on by setting leases back: nothing here waits for one.
"""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import inspect, update

from services.core import database as db
from services.core.catalog import Catalog, Schema
from services.core.database import open_database
from services.core.errors import InvalidRequest, NotFound, QueueFull
from services.core.leases import Leases, Priority, Waiting
from services.core.ledger import OPEN_STATES, BatchState, JobState, Ledger
from services.core.manifest import Manifest
from services.core.model import FileRef

HOUR_S = 3600.0
AT_ONCE = 8
REFS = [FileRef("a.py", "a.py", "git:1", 5)]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request):
    postgres = request.param == "postgresql"
    path = request.getfixturevalue("postgres_url" if postgres else "tmp_path")
    opened = open_database(path if postgres else path / "catalog.db")
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
    found = Catalog(engine)
    found.add("r", "url", "https://example.com/r.git", "")
    return found


def start(ledger, job, *, batches=1, holder=""):
    ledger.start_job(
        job.id, revision="1", schema="s", plan="p", first=False, batches=[REFS] * batches, holder=holder
    )  # fmt: skip
    return ledger.batches(job.id)


def started(ledger, repo="r", batches=1):
    job = ledger.create_job(repo)
    return ledger.job(job.id), start(ledger, job, batches=batches)


def finish(ledger, batch):
    ledger.chunked(batch.id, pack="pack", chunks=1, skipped=[])
    ledger.embedded(batch.id, vectors="vectors", embedded=1, cached=0)
    ledger.indexed({batch.id: []})


def commit(ledger, catalog, job):
    ledger.commit_job(job, catalog, Manifest(job.repo, "1", "s"), "digest", {})


def pass_leases(engine, table=None, by_s=2 * HOUR_S):
    """Let time go by: every lease, and the time since every job's end."""
    with engine.begin() as connection:
        for each in (table,) if table is not None else (db.jobs, db.batches):
            connection.execute(update(each).values(lease_until=each.c.lease_until - by_s))
        connection.execute(update(db.jobs).values(finished_at=db.jobs.c.finished_at - by_s))


def at_once(call):
    """Return what `call(number)` returns in threads that begin at the same moment."""
    begin = Barrier(AT_ONCE)

    def run(number):
        begin.wait()
        return call(number)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(run, range(AT_ONCE)))


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


def test_one_process_is_alone_with_a_name(postgres_url):
    engine = open_database(postgres_url)
    leases = Leases(engine)

    with leases.alone("r") as first, leases.alone("r") as second, leases.alone("other") as other:
        assert (first, second, other) == (True, False, True)
    with leases.alone("r") as again:
        assert again
    engine.dispose()


VERSION_2 = """
CREATE TABLE meta (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE repos (name VARCHAR NOT NULL, kind VARCHAR NOT NULL, source TEXT NOT NULL, ref VARCHAR NOT NULL,
  revision VARCHAR NOT NULL, manifest VARCHAR NOT NULL, schema VARCHAR NOT NULL, files INTEGER NOT NULL,
  chunks INTEGER NOT NULL, created_at FLOAT NOT NULL, indexed_at FLOAT, PRIMARY KEY (name));
CREATE TABLE jobs (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, repo VARCHAR NOT NULL, state VARCHAR NOT NULL,
  revision VARCHAR NOT NULL, schema VARCHAR NOT NULL, plan VARCHAR NOT NULL, ref VARCHAR NOT NULL,
  first BOOLEAN NOT NULL, cleanup VARCHAR NOT NULL, error TEXT NOT NULL, counts TEXT NOT NULL,
  created_at FLOAT NOT NULL, finished_at FLOAT);
CREATE INDEX ix_jobs_repo ON jobs (repo);
CREATE TABLE batches (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, state VARCHAR NOT NULL,
  attempts INTEGER NOT NULL, lease_until FLOAT NOT NULL, error TEXT NOT NULL, files BLOB NOT NULL,
  file_count INTEGER NOT NULL, source_bytes BIGINT NOT NULL, suspects TEXT NOT NULL, skipped BLOB,
  pack VARCHAR NOT NULL, vectors VARCHAR NOT NULL, result BLOB, chunks INTEGER NOT NULL, embedded INTEGER NOT NULL,
  cached INTEGER NOT NULL, FOREIGN KEY(job) REFERENCES jobs (id));
INSERT INTO meta VALUES (2);
INSERT INTO repos VALUES ('old', 'git', '/src/old', '', 'abc', 'digest', 's', 1, 2, 1.0, 2.0);
INSERT INTO jobs VALUES (7, 'old', 'interrupted', 'abc', 's', 'p', '', 0, '', '', '{}', 1.0, NULL);
INSERT INTO batches VALUES (3, 7, 'planned', 1, 0, '', x'', 1, 2, '{}', NULL, '', '', NULL, 0, 0, 0);
"""


@pytest.fixture
def version_2(tmp_path):
    path = tmp_path / "catalog.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_2)
    connection.close()
    return path


def test_a_database_of_version_2_is_brought_up_to_date_with_what_it_holds(version_2):
    engine = open_database(version_2)

    assert Catalog(engine).get("old").revision == "abc"
    assert Ledger(engine).job(7).priority == Priority.BULK
    assert (Ledger(engine).batch(3).attempts, Ledger(engine).batch(3).source) == (1, "")
    assert Leases(engine).waiting(9) == [Waiting("chunk", 3, Priority.BULK)]
    for table in db.metadata.sorted_tables:
        assert {column["name"] for column in inspect(engine).get_columns(table.name)} == set(table.c.keys())
    engine.dispose()
    open_database(version_2).dispose()


def test_a_migration_that_was_killed_is_done_by_the_next(version_2, monkeypatch):
    columns = db._MIGRATIONS[2]
    monkeypatch.setitem(db._MIGRATIONS, 2, (*columns[:4], ("no_such_table", "x", "TEXT")))
    with pytest.raises(Exception, match="no_such_table"):
        open_database(version_2)

    monkeypatch.setitem(db._MIGRATIONS, 2, columns)
    engine = open_database(version_2)

    assert Ledger(engine).job(7).state is JobState.INTERRUPTED
    engine.dispose()


def test_several_processes_may_bring_a_database_up_to_date(version_2):
    def opened(_):
        open_database(version_2).dispose()

    assert at_once(opened) == [None] * AT_ONCE
