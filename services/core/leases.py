"""Who works on what, and until when: how several processes share the ledger's rows.

A row is free, *sent* (its message is on the way: a lease without a holder) or *held*. Leases
run by the database's clock. Whatever is past its lease is free again, whoever had it: a
message that comes late or twice finds the row held, or moved on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, case, delete, exists, func, insert, select, update

from services.core import database as db
from services.core.errors import InvalidRequest, NotFound, QueueFull
from services.core.ledger import OPEN_STATES, STARTED_STATES, BatchState, Cleanup, Job, JobState, Ledger


class Priority(StrEnum):
    """Classes of work, each with queues of its own: somebody waits, somebody pushed, or neither."""

    INTERACTIVE = "interactive"
    PUSH = "push"
    BULK = "bulk"


_URGENCY = {Priority.INTERACTIVE: 0, Priority.PUSH: 1, Priority.BULK: 2}
_URGENCY_SQL = case({priority.value: rank for priority, rank in _URGENCY.items()}, value=db.jobs.c.priority, else_=9)
# Which stage takes a batch on from each state.
STAGE_OF = {BatchState.PLANNED: "chunk", BatchState.CHUNKED: "embed", BatchState.EMBEDDED: "index"}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row that somebody should work on: the stage, the row's id, and the class of its job."""

    stage: str
    key: int
    priority: Priority


class Leases:
    """Claims on jobs and batches."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ledger = Ledger(engine)

    def request_job(self, repo: str, ref: str, priority: Priority, *, max_open: int) -> tuple[Job, bool]:
        """Return the job that will bring `repo` to what `ref` names from now on, and whether it is a new one.

        A job that nobody has begun yet is such a job: requests that come meanwhile share it, at the
        highest priority asked for.

        Raises:
            QueueFull: `max_open` jobs wait or run already.
        """
        jobs = db.jobs.c
        with self._engine.begin() as connection:
            _lock_repo(connection, repo)
            unbegun = (jobs.repo == repo) & (jobs.ref == ref) & (jobs.state == JobState.QUEUED) & (jobs.holder == "")
            row = connection.execute(select(jobs.id, jobs.priority).where(unbegun).order_by(jobs.id)).first()
            if row is not None:
                higher = min(Priority(row.priority), priority, key=_URGENCY.__getitem__)
                connection.execute(update(db.jobs).where(jobs.id == row.id).values(priority=higher))
            else:
                _refuse_when_full(connection, max_open)
                values = {"repo": repo, "ref": ref, "state": JobState.QUEUED, "created_at": db.now()}
                added = insert(db.jobs).values(**values, priority=priority).returning(jobs.id)
                job_id = connection.execute(added).scalar_one()
        return self._ledger.job(row.id if row else job_id), row is None

    def claim_job(self, job_id: int, states: Sequence[JobState], holder: str, lease_s: float) -> Job | None:
        """Take a job in one of `states`; None if it is held, over, or another of its repository runs."""
        jobs = db.jobs.c
        repo = self._ledger.job(job_id).repo
        running = db.jobs.alias()
        other_runs = exists().where(running.c.repo == repo, running.c.id != job_id, _busy(running.c, STARTED_STATES))
        free = (jobs.id == job_id) & jobs.state.in_(states) & _unheld(jobs) & ~other_runs
        with self._engine.begin() as connection:
            _lock_repo(connection, repo)
            if not _take(connection, db.jobs, free, holder, lease_s):
                return None
        return self._ledger.job(job_id)

    def claim_batch(self, batch_id: int, state: BatchState, holder: str, lease_s: float) -> bool:
        """Take a batch in `state`, unless it is held or its job is over."""
        batches, jobs = db.batches.c, db.jobs.c
        runs = exists().where(jobs.id == batches.job, jobs.state.in_(STARTED_STATES))
        free = (batches.id == batch_id) & (batches.state == state) & _unheld(batches) & runs
        with self._engine.begin() as connection:
            return _take(connection, db.batches, free, holder, lease_s)

    def keep_batch(self, batch_id: int, holder: str, lease_s: float) -> bool:
        """Extend a lease; False if it is not the holder's any more."""
        batches = db.batches.c
        with self._engine.begin() as connection:
            return _take(connection, db.batches, (batches.id == batch_id) & (batches.holder == holder), holder, lease_s)

    def keep_job(self, job_id: int, holder: str, lease_s: float) -> bool:
        """Extend a lease; False if it is not the holder's any more."""
        jobs = db.jobs.c
        with self._engine.begin() as connection:
            return _take(connection, db.jobs, (jobs.id == job_id) & (jobs.holder == holder), holder, lease_s)

    def release_batch(self, batch_id: int, holder: str, *, wait_s: float, error: str) -> None:
        """Give a batch back undone through no fault of its own; it is not sent again before `wait_s`."""
        batches = db.batches.c
        self._release(db.batches, (batches.id == batch_id) & (batches.holder == holder), wait_s, error)

    def release_job(self, job_id: int, holder: str, *, wait_s: float, error: str, counted: bool = True) -> int:
        """Give a job back undone and return how many attempts at it have failed, this one included if `counted`."""
        jobs = db.jobs.c
        mine = (jobs.id == job_id) & (jobs.holder == holder)
        self._release(db.jobs, mine, wait_s, error, attempts=jobs.attempts + (1 if counted else 0))
        return self._ledger.job(job_id).attempts

    def sent(self, waiting: Sequence[Waiting], patience_s: float) -> None:
        """Record that messages are on the way: their rows are not sent again before `patience_s`."""
        for table, of_jobs in ((db.batches, False), (db.jobs, True)):
            keys = [each.key for each in waiting if (each.stage not in STAGE_OF.values()) is of_jobs]
            if keys:
                unheld = table.c.id.in_(keys) & (table.c.holder == "")
                with self._engine.begin() as connection:
                    connection.execute(update(table).where(unheld).values(lease_until=db.clock() + patience_s))

    def waiting(self, limit: int) -> list[Waiting]:
        """Return up to `limit` batches and jobs that nobody holds, with no message under way, urgent ones first."""
        batches, jobs = db.batches.c, db.jobs.c
        query = (
            select(batches.id, batches.state, jobs.priority)
            .join_from(db.batches, db.jobs, jobs.id == batches.job)
            .where(batches.state.in_(list(STAGE_OF)), jobs.state.in_(STARTED_STATES), _quiet(batches))
            .order_by(_URGENCY_SQL, batches.id)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
            found = [Waiting(STAGE_OF[BatchState(row.state)], row.id, Priority(row.priority)) for row in rows]
            found += self._waiting_jobs(connection, limit)
        return sorted(found, key=lambda each: _URGENCY[each.priority])[:limit]

    def overdue(self) -> list[int]:
        """Return the batches whose holder has let the lease pass: it was killed, or takes too long."""
        batches, jobs = db.batches.c, db.jobs.c
        query = (
            select(batches.id)
            .join_from(db.batches, db.jobs, jobs.id == batches.job)
            .where(batches.state.in_(list(STAGE_OF)), jobs.state.in_(STARTED_STATES))
            .where(batches.holder != "", batches.lease_until < db.clock())
        )
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def overdue_jobs(self) -> list[int]:
        """Return the open jobs whose planner or committer has let its lease pass."""
        jobs = db.jobs.c
        overdue = jobs.state.in_(OPEN_STATES) & (jobs.holder != "") & (jobs.lease_until < db.clock())
        with self._engine.connect() as connection:
            return list(connection.execute(select(jobs.id).where(overdue)).scalars())

    def to_clean(self, grace_s: float) -> list[int]:
        """Return the ended jobs whose points nobody can be reading any more, `grace_s` after a commit."""
        jobs = db.jobs.c
        batches = db.batches.c
        # A worker that has not heard of the failure may still be writing.
        written = exists().where(batches.job == jobs.id, batches.holder != "", batches.lease_until >= db.clock())
        past = (jobs.cleanup == Cleanup.STAGED) & ~written | (jobs.finished_at < db.clock() - grace_s)
        query = select(jobs.id).where(jobs.cleanup != Cleanup.NOTHING, past, _quiet(jobs))
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def is_indexed(self, job_id: int) -> bool:
        """Tell whether a running job waits for nothing but its commit."""
        jobs = db.jobs.c
        unindexed = exists().where(db.batches.c.job == jobs.id, db.batches.c.state != BatchState.INDEXED)
        ready = select(jobs.id).where(jobs.id == job_id, jobs.state.in_(STARTED_STATES), ~unindexed)
        with self._engine.connect() as connection:
            return connection.execute(ready).first() is not None

    def depths(self) -> dict[tuple[str, Priority], int]:
        """Return how many rows wait or are being worked on, by stage and class."""
        batches, jobs = db.batches.c, db.jobs.c
        of_batches = (
            select(batches.state, jobs.priority, func.count())
            .join_from(db.batches, db.jobs, jobs.id == batches.job)
            .where(batches.state.in_(list(STAGE_OF)), jobs.state.in_(STARTED_STATES))
            .group_by(batches.state, jobs.priority)
        )
        of_jobs = select(jobs.priority, func.count()).where(jobs.state == JobState.QUEUED).group_by(jobs.priority)
        with self._engine.connect() as connection:
            found = {
                (STAGE_OF[BatchState(state)], Priority(priority)): count
                for state, priority, count in connection.execute(of_batches)
            }
            queued = {("plan", Priority(priority)): count for priority, count in connection.execute(of_jobs)}
        return found | queued

    def retry_job(self, job_id: int) -> Job:
        """Let a failed job go on from what is stored of it; its points are written again.

        Raises:
            NotFound: there is none of that id.
            InvalidRequest: it has not failed, its points are still being removed, or another of its repository is open.
        """
        job = self._ledger.job(job_id)
        jobs, batches = db.jobs.c, db.batches.c
        with self._engine.begin() as connection:
            _lock_repo(connection, job.repo)
            _refuse_retry(connection, self._ledger.job(job_id))
            for state, done in ((BatchState.PLANNED, batches.pack == ""), (BatchState.CHUNKED, batches.vectors == "")):
                undone = (batches.job == job_id) & (batches.state == BatchState.DEAD) & done
                connection.execute(update(db.batches).where(undone).values(state=state, attempts=0, error=""))
            rest = (batches.job == job_id) & batches.state.in_((BatchState.DEAD, BatchState.INDEXED))
            connection.execute(update(db.batches).where(rest).values(state=BatchState.EMBEDDED, attempts=0, error=""))
            planned = JobState.RUNNING if job.plan else JobState.QUEUED
            again = {"state": planned, "error": "", "counts": "{}", "attempts": 0, "finished_at": None}
            connection.execute(update(db.jobs).where(jobs.id == job_id).values(**again, holder="", lease_until=0.0))
        return self._ledger.job(job_id)

    def prune(self, *, done_s: float, failed_s: float) -> None:
        """Delete the batches of jobs that ended so long ago: nothing asks for them any more."""
        jobs = db.jobs.c
        failed = jobs.state == JobState.FAILED
        over = jobs.state.in_((JobState.DONE, JobState.SUPERSEDED))
        long_ago = failed & (jobs.finished_at < db.clock() - failed_s) | over & (jobs.finished_at < db.clock() - done_s)
        ended = select(jobs.id).where(jobs.cleanup == Cleanup.NOTHING, long_ago)
        with self._engine.begin() as connection:
            connection.execute(delete(db.batches).where(db.batches.c.job.in_(ended)))

    def _waiting_jobs(self, connection: Connection, limit: int) -> list[Waiting]:
        jobs, running = db.jobs.c, db.jobs.alias()
        other = exists().where(running.c.repo == jobs.repo, running.c.id != jobs.id, _busy(running.c, STARTED_STATES))
        to_plan = (jobs.state == JobState.QUEUED) & ~other
        unindexed = exists().where(db.batches.c.job == jobs.id, db.batches.c.state != BatchState.INDEXED)
        to_commit = jobs.state.in_(STARTED_STATES) & ~unindexed
        found = []
        for stage, condition in (("plan", to_plan), ("commit", to_commit)):
            query = select(jobs.id, jobs.priority).where(condition, _quiet(jobs)).order_by(_URGENCY_SQL, jobs.id)
            found += [Waiting(stage, row.id, Priority(row.priority)) for row in connection.execute(query.limit(limit))]
        return found

    def _release(self, table: Table, mine: ColumnElement[bool], wait_s: float, error: str, **values: object) -> None:
        free = {"holder": "", "lease_until": db.clock() + wait_s, "error": error}
        with self._engine.begin() as connection:
            connection.execute(update(table).where(mine).values(**free, **values))


def _take(connection: Connection, table: Table, free: ColumnElement[bool], holder: str, lease_s: float) -> bool:
    taken = update(table).where(free).values(holder=holder, lease_until=db.clock() + lease_s)
    return connection.execute(taken).rowcount > 0


def _unheld(columns: Any) -> ColumnElement[bool]:
    # A lease without a holder only says when to send again; whoever has the message may take the row.
    unheld: ColumnElement[bool] = (columns.holder == "") | (columns.lease_until < db.clock())
    return unheld


def _quiet(columns: Any) -> ColumnElement[bool]:
    """Neither held nor sent a moment ago."""
    quiet: ColumnElement[bool] = columns.lease_until < db.clock()
    return quiet


def _busy(columns: Any, states: Sequence[JobState]) -> ColumnElement[bool]:
    held = (columns.state == JobState.QUEUED) & (columns.holder != "") & (columns.lease_until >= db.clock())
    # Points that a failed job has written must be gone before another writes the same ones.
    unclean = columns.cleanup == Cleanup.STAGED
    busy: ColumnElement[bool] = columns.state.in_(states) | held | unclean
    return busy


def _lock_repo(connection: Connection, repo: str) -> None:
    """Keep other processes from deciding about the jobs of a repository until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(repo))))


def _refuse_when_full(connection: Connection, max_open: int) -> None:
    count = connection.execute(select(func.count()).where(db.jobs.c.state.in_(OPEN_STATES))).scalar_one()
    if count >= max_open:
        raise QueueFull(f"{count} jobs wait or run, the limit is {max_open} (QUARRY_MAX_OPEN_JOBS); try again later")


def _refuse_retry(connection: Connection, job: Job) -> None:
    if job.state is not JobState.FAILED:
        raise InvalidRequest(f"job {job.id} is {job.state.value}; only a failed one can be retried")
    if job.cleanup is not Cleanup.NOTHING:
        raise InvalidRequest(f"what job {job.id} has written is still being removed; retry it in a few seconds")
    jobs = db.jobs.c
    other = exists().where(jobs.repo == job.repo, jobs.state.in_(OPEN_STATES))
    if connection.execute(select(other)).scalar():
        raise InvalidRequest(f"another job of {job.repo!r} waits or runs already; wait for that one")
    if connection.execute(select(db.repos.c.name).where(db.repos.c.name == job.repo)).first() is None:
        raise NotFound(f"repository {job.repo!r} is gone; add it again")
