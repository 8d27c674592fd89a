"""When a row of the ledger may be taken, sent or cleaned up after, as conditions in SQL.

Columns are those of `jobs` or `batches`, or of an alias of them.
"""

from typing import Any

from sqlalchemy import ColumnElement, exists

from services.core import database as db
from services.core.ledger_rows import STARTED_STATES, Cleanup, JobState


def unheld(columns: Any) -> ColumnElement[bool]:
    """Whoever has its message may take the row: a lease without a holder only says when to send again."""
    condition: ColumnElement[bool] = (columns.holder == "") | (columns.lease_until < db.clock())
    return condition


def quiet(columns: Any) -> ColumnElement[bool]:
    """Neither held nor sent a moment ago."""
    condition: ColumnElement[bool] = columns.lease_until < db.clock()
    return condition


def held(columns: Any) -> ColumnElement[bool]:
    """Somebody works on the row."""
    condition: ColumnElement[bool] = (columns.holder != "") & (columns.lease_until >= db.clock())
    return condition


def overdue(columns: Any) -> ColumnElement[bool]:
    """Whoever has the row has let the lease pass."""
    condition: ColumnElement[bool] = (columns.holder != "") & (columns.lease_until < db.clock())
    return condition


def another_is_busy() -> ColumnElement[bool]:
    """Whether another job of the same repository must come to its end first."""
    jobs, other = db.jobs.c, db.jobs.alias().c
    # Also past its lease: until that is taken back, the planner may come to and start the job.
    planned = (other.state == JobState.QUEUED) & (other.holder != "")
    # Points that a failed job has written must be gone before another writes the same ones.
    busy = other.state.in_(STARTED_STATES) | planned | (other.cleanup == Cleanup.STAGED)
    return exists().where(other.repo == jobs.repo, other.id != jobs.id, busy)


def cleanable(grace_s: float) -> ColumnElement[bool]:
    """Nobody can be writing the points of a job that failed, or, after a grace time, reading those one has replaced."""
    jobs, batches = db.jobs.c, db.batches.c
    # A worker that has not heard of the failure may still be writing.
    written = exists().where(batches.job == jobs.id, held(batches))
    unread = jobs.finished_at < db.clock() - grace_s
    return (jobs.cleanup == Cleanup.STAGED) & ~written | (jobs.cleanup == Cleanup.RETIRED) & unread
