"""Rows of the ledger in every state, leases that have passed, and threads that begin at the same moment."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sqlalchemy import update

from services.core import database as db
from services.core.manifest import Manifest
from services.core.model import FileRef

HOUR_S = 3600.0
AT_ONCE = 8
REFS = [FileRef("a.py", "a.py", "git:1", 5)]


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
