"""`quarry fsck`, the ledger's part: rows that stand still, and blobs that jobs wait for in vain."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import func, select

from services.core import database as db
from services.core.catalog import Repo
from services.core.deliveries import KEPT_S
from services.core.desk import Desk
from services.core.errors import CorruptData, InvalidRequest
from services.core.ledger import OPEN_STATES, BatchState, Cleanup, Job
from services.core.problem import Problem

# The largest repositories take an hour or two.
_LONG_S = 6 * 3600.0
# A clean-up waits for the longest search, and for its turn.
_CLEANUP_S = 3600.0
# The sweeper comes round every few seconds.
_OVERDUE_S = 120.0
# It forgets deliveries a week after GitHub could send one again.
_DELIVERIES_S = 3 * KEPT_S
# What a batch needs next, and what was made of it before.
_NEEDED = {BatchState.PLANNED: "source", BatchState.CHUNKED: "pack", BatchState.EMBEDDED: "vectors"}
_SWEEPER = "start a sweeper, or see its log"


def find_ledger_problems(
    desk: Desk, removing: Sequence[Repo], seen_at: float, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Problem]:
    """Yield every problem of jobs, batches, removals and deliveries.

    `removing` are the repositories that were being removed at `seen_at`, by the monotonic clock: those that
    still are after a lease and a message had their time are stuck, and that time is waited for.
    """
    for job in desk.ledger.jobs(states=OPEN_STATES):
        yield from _open_job(desk, job)
    yield from _cleanups(desk)
    yield from _overdue(desk)
    yield from _deliveries(desk)
    yield from _removals(desk, removing, seen_at, sleep)


def _open_job(desk: Desk, job: Job) -> Iterator[Problem]:
    where = f"job {job.id} of {job.repo}"
    age_s = _now(desk) - job.created_at
    if age_s > _LONG_S:
        said = f": {job.error}" if job.error else ""
        yield Problem(
            where, f"{job.state.value} for {age_s / 3600:.0f} hours{said}", "are workers of each kind running?"
        )
    needed = [("the plan", job.plan)] if job.plan else []
    for batch in desk.ledger.batches(job.id, list(_NEEDED)):
        needed.append((f"the {_NEEDED[batch.state]} of batch {batch.id}", getattr(batch, _NEEDED[batch.state])))
    for what, digest in needed:
        try:
            desk.blobs.get(digest, 0, 0)
        except (CorruptData, InvalidRequest) as error:
            yield Problem(where, f"{what} is missing: {error}", f"once it has failed: quarry index for {job.repo!r}")


def _cleanups(desk: Desk) -> Iterator[Problem]:
    due_s = desk.settings.search_grace_s + _CLEANUP_S
    for job in desk.ledger.jobs(cleanups=(Cleanup.RETIRED, Cleanup.STAGED)):
        age_s = _now(desk) - (job.finished_at or job.created_at)
        if age_s > due_s:
            what = f"ended {age_s / 3600:.1f} hours ago, and its {job.cleanup.value} points are still there"
            yield Problem(f"job {job.id} of {job.repo}", what, "are an indexer and a sweeper running?")


def _overdue(desk: Desk) -> Iterator[Problem]:
    # Who was killed just after the end of his work leaves a name behind that harms nothing.
    unfinished = db.jobs.c.state.in_(OPEN_STATES) | (db.jobs.c.cleanup != Cleanup.NOTHING)
    of_unfinished = db.batches.c.job.in_(select(db.jobs.c.id).where(db.jobs.c.state.in_(OPEN_STATES)))
    for table, what, matters in ((db.jobs, "jobs", unfinished), (db.batches, "batches", of_unfinished)):
        overdue = (table.c.holder != "") & (table.c.lease_until < db.clock() - _OVERDUE_S) & matters
        count = _scalar(desk, select(func.count()).select_from(table).where(overdue))
        if count:
            yield Problem("ledger", f"{count} {what} are past their lease, and nobody takes them back", _SWEEPER)


def _deliveries(desk: Desk) -> Iterator[Problem]:
    old = db.deliveries.c.received_at < db.clock() - _DELIVERIES_S
    count = _scalar(desk, select(func.count()).select_from(db.deliveries).where(old))
    if count:
        yield Problem("ledger", f"{count} webhooks of weeks ago are still remembered", _SWEEPER)


def _removals(
    desk: Desk, removing: Sequence[Repo], seen_at: float, sleep: Callable[[float], None]
) -> Iterator[Problem]:
    if not removing:
        return
    due_at = seen_at + desk.settings.lease_s + desk.settings.resend_s
    while (stuck := _still(desk, removing)) and time.monotonic() < due_at:
        sleep(1.0)
    for repo in stuck:
        yield Problem(repo.name, "its removal does not come to an end", "are an indexer and a sweeper running?")


def _still(desk: Desk, removing: Sequence[Repo]) -> list[Repo]:
    # One of the same name may have been added, and be removed again.
    known = {(repo.name, repo.created_at) for repo in removing}
    return [repo for repo in desk.catalog.removing() if (repo.name, repo.created_at) in known]


def _now(desk: Desk) -> float:
    return float(_scalar(desk, select(db.clock())))


def _scalar(desk: Desk, query: Any) -> Any:
    with desk.engine.connect() as connection:
        return connection.execute(query).scalar()
