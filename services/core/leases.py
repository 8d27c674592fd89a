"""Who works on what, and until when: how several processes share the ledger's rows.

A row is free, *sent* (its message is on the way: a lease without a holder) or *held*. Leases
run by the database's clock. Whatever is past its lease is free again, whoever had it: a
message that comes late or twice finds the row held, or moved on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, Engine, Table, case, delete, exists, func, insert, select, update

from services.core import database as db
from services.core import lease_conditions as conditions
from services.core.errors import InvalidRequest, NotFound, QueueFull
from services.core.ledger import OPEN_STATES, STARTED_STATES, BatchState, Cleanup, Job, JobState, Ledger


class Priority(StrEnum):
    """Classes of work, each with queues of its own: somebody waits, somebody pushed, or neither."""

    INTERACTIVE = "interactive"
    PUSH = "push"
    BULK = "bulk"


_URGENCY = {Priority.INTERACTIVE: 0, Priority.PUSH: 1, Priority.BULK: 2}
# Any number; the class of the locks of `alone`.
_ALONE_LOCKS = 7_150_422
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
                job_id = _add(connection, repo, ref, priority)
        return self._ledger.job(row.id if row else job_id), row is None

    def claim_job(self, job_id: int, states: Sequence[JobState], holder: str, lease_s: float) -> Job | None:
        """Take a job in one of `states`; None if it is held or in none of them.

        Of a repository's open jobs one is worked on at a time; cleaning up after those that ended is not held up.
        """
        jobs = db.jobs.c
        repo = self._ledger.job(job_id).repo
        admitted = jobs.state.not_in(OPEN_STATES) | ~conditions.another_is_busy()
        free = (jobs.id == job_id) & jobs.state.in_(states) & conditions.unheld(jobs) & admitted
        with self._engine.begin() as connection:
            _lock_repo(connection, repo)
            if not _take(connection, db.jobs, free, holder, lease_s):
                return None
        return self._ledger.job(job_id)

    def claim_batch(self, batch_id: int, state: BatchState, holder: str, lease_s: float) -> bool:
        """Take a batch in `state`, unless it is held or its job is over."""
        batches, jobs = db.batches.c, db.jobs.c
        runs = exists().where(jobs.id == batches.job, jobs.state.in_(STARTED_STATES))
        free = (batches.id == batch_id) & (batches.state == state) & conditions.unheld(batches) & runs
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
        mine = (batches.id == batch_id) & (batches.holder == holder)
        free = {"holder": "", "lease_until": db.clock() + wait_s, "error": error}
        with self._engine.begin() as connection:
            connection.execute(update(db.batches).where(mine).values(**free))

    def release_job(self, job_id: int, holder: str, *, wait_s: float, error: str, counted: bool = True) -> int | None:
        """Give a job back and return how many attempts at it have failed, this one included if `counted`.

        None if it is not the holder's any more. Why a job has ended stays.
        """
        jobs = db.jobs.c
        return self._release_job(job_id, jobs.holder == holder, wait_s, error, counted=counted)

    def take_back_batch(self, batch_id: int) -> bool:
        """Free a batch if it is overdue; False if it is not any more, or another has done that."""
        batches = db.batches.c
        with self._engine.begin() as connection:
            freed = update(db.batches).where((batches.id == batch_id) & conditions.overdue(batches))
            return connection.execute(freed.values(holder="", lease_until=0.0)).rowcount > 0

    def take_back_job(self, job_id: int, error: str) -> int | None:
        """Free a job if it is overdue and return how many attempts at it have failed; None if it is not any more."""
        return self._release_job(job_id, conditions.overdue(db.jobs.c), 0.0, error, counted=True)

    def sent(self, waiting: Sequence[Waiting], patience_s: float) -> None:
        """Record that messages are on the way: their rows are not sent again before `patience_s`."""
        for table, of_jobs in ((db.batches, False), (db.jobs, True)):
            keys = [each.key for each in waiting if (each.stage not in STAGE_OF.values()) is of_jobs]
            if keys:
                unheld = table.c.id.in_(keys) & (table.c.holder == "")
                with self._engine.begin() as connection:
                    connection.execute(update(table).where(unheld).values(lease_until=db.clock() + patience_s))

    def waiting(self, limit: int) -> list[Waiting]:
        """Return batches and jobs that nobody holds, with no message under way, urgent ones first.

        Up to `limit` of each stage and class: a thousand that wait for one stage don't hide what waits for another.
        """
        batches, jobs = db.batches.c, db.jobs.c
        number = func.row_number().over(partition_by=(batches.state, jobs.priority), order_by=batches.id)
        numbered = (
            select(batches.id, batches.state, jobs.priority, number.label("number"))
            .join_from(db.batches, db.jobs, jobs.id == batches.job)
            .where(batches.state.in_(list(STAGE_OF)), jobs.state.in_(STARTED_STATES), conditions.quiet(batches))
            .subquery()
        )
        query = select(numbered).where(numbered.c.number <= limit).order_by(numbered.c.id)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
            found = [Waiting(STAGE_OF[BatchState(row.state)], row.id, Priority(row.priority)) for row in rows]
            found += self._waiting_jobs(connection, limit)
        return sorted(found, key=lambda each: _URGENCY[each.priority])

    def overdue(self) -> list[int]:
        """Return the batches whose holder has let the lease pass: it was killed, or takes too long."""
        batches, jobs = db.batches.c, db.jobs.c
        query = (
            select(batches.id)
            .join_from(db.batches, db.jobs, jobs.id == batches.job)
            .where(batches.state.in_(list(STAGE_OF)), jobs.state.in_(STARTED_STATES))
            .where(conditions.overdue(batches))
        )
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def overdue_jobs(self) -> list[int]:
        """Return the jobs whose planner, committer or cleaner has let its lease pass."""
        jobs = db.jobs.c
        unfinished = jobs.state.in_(OPEN_STATES) | (jobs.cleanup != Cleanup.NOTHING)
        with self._engine.connect() as connection:
            return list(connection.execute(select(jobs.id).where(unfinished, conditions.overdue(jobs))).scalars())

    def doomed(self) -> list[int]:
        """Return a dead batch of each job that goes on all the same: whoever was to end it has been killed."""
        batches, jobs = db.batches.c, db.jobs.c
        query = (
            select(func.min(batches.id))
            .join_from(db.batches, db.jobs, jobs.id == batches.job)
            .where(batches.state == BatchState.DEAD, jobs.state.in_(STARTED_STATES))
            .group_by(batches.job)
        )
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def to_clean(self, grace_s: float) -> list[int]:
        """Return the jobs that `may_be_cleaned`, without those whose message is under way."""
        jobs = db.jobs.c
        with self._engine.connect() as connection:
            due = select(jobs.id).where(conditions.cleanable(grace_s), conditions.quiet(jobs)).order_by(jobs.id)
            return list(connection.execute(due).scalars())

    def may_be_cleaned(self, job_id: int, grace_s: float) -> bool:
        """Tell whether nobody can be writing the points of a job that failed, or reading those one has replaced.

        The latter is so `grace_s` after its commit.
        """
        with self._engine.connect() as connection:
            cleanable = select(db.jobs.c.id).where(db.jobs.c.id == job_id, conditions.cleanable(grace_s))
            return connection.execute(cleanable).first() is not None

    def is_worked_on(self, repo: str) -> bool:
        """Tell whether somebody holds a job of a repository, or a batch of one."""
        jobs, batches = db.jobs.c, db.batches.c
        job = exists().where(jobs.repo == repo, conditions.held(jobs))
        batch = exists().where(jobs.repo == repo, batches.job == jobs.id, conditions.held(batches))
        with self._engine.connect() as connection:
            return bool(connection.execute(select(job | batch)).scalar())

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Yield whether no other process is inside for the same `name`; only PostgreSQL has several."""
        with self._engine.begin() as connection:
            if connection.dialect.name != "postgresql":
                yield True
                return
            locked = func.pg_try_advisory_xact_lock(_ALONE_LOCKS, func.hashtext(name))
            yield bool(connection.execute(select(locked)).scalar())

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
        """Let a failed job go on from what is stored of it, and return it.

        Where that does not fit what is live any more, or there is nothing, another job begins anew.

        Raises:
            NotFound: there is none of that id, or its repository is gone.
            InvalidRequest: it has not failed, points are still being removed, or another of its repository is open.
        """
        repo = self._ledger.job(job_id).repo
        with self._engine.begin() as connection:
            _lock_repo(connection, repo)
            job = self._ledger.job(job_id)
            _refuse_retry(connection, job)
            if not _can_go_on(connection, job):
                job_id = _add(connection, repo, job.ref, Priority(job.priority))
            else:
                _set_back(connection, job_id)
        return self._ledger.job(job_id)

    def has_failed(self, repo: str, revision: str, schema: str, within_s: float) -> bool:
        """Tell whether a job has failed lately with a revision, "" for those that failed before they knew it."""
        jobs = db.jobs.c
        which = (jobs.repo == repo) & (jobs.revision == revision) & jobs.schema.in_((schema, ""))
        lately = (jobs.state == JobState.FAILED) & (jobs.finished_at > db.clock() - within_s)
        with self._engine.connect() as connection:
            return connection.execute(select(jobs.id).where(which, lately)).first() is not None

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
        jobs = db.jobs.c
        to_plan = (jobs.state == JobState.QUEUED) & ~conditions.another_is_busy()
        unindexed = exists().where(db.batches.c.job == jobs.id, db.batches.c.state != BatchState.INDEXED)
        to_commit = jobs.state.in_(STARTED_STATES) & ~unindexed
        found = []
        for stage, due in (("plan", to_plan), ("commit", to_commit)):
            number = func.row_number().over(partition_by=jobs.priority, order_by=jobs.id)
            numbered = (
                select(jobs.id, jobs.priority, number.label("number")).where(due, conditions.quiet(jobs)).subquery()
            )
            query = select(numbered).where(numbered.c.number <= limit).order_by(numbered.c.id)
            found += [Waiting(stage, row.id, Priority(row.priority)) for row in connection.execute(query)]
        return found

    def _release_job(
        self, job_id: int, whose: ColumnElement[bool], wait_s: float, error: str, *, counted: bool
    ) -> int | None:
        jobs = db.jobs.c
        values = {
            "holder": "",
            "lease_until": db.clock() + wait_s,
            "error": case((jobs.state.in_(OPEN_STATES), error), else_=jobs.error),
            "attempts": jobs.attempts + (1 if counted else 0),
        }
        released = update(db.jobs).where((jobs.id == job_id) & whose).values(**values).returning(jobs.attempts)
        with self._engine.begin() as connection:
            return connection.execute(released).scalar()


def _take(connection: Connection, table: Table, free: ColumnElement[bool], holder: str, lease_s: float) -> bool:
    taken = update(table).where(free).values(holder=holder, lease_until=db.clock() + lease_s)
    return connection.execute(taken).rowcount > 0


def _lock_repo(connection: Connection, repo: str) -> None:
    """Keep others from deciding about the jobs of a repository until this transaction, which begins here, ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(repo))))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _add(connection: Connection, repo: str, ref: str, priority: Priority) -> int:
    values = {"repo": repo, "ref": ref, "state": JobState.QUEUED, "created_at": db.now(), "priority": priority}
    return int(connection.execute(insert(db.jobs).values(**values).returning(db.jobs.c.id)).scalar_one())


def _refuse_when_full(connection: Connection, max_open: int) -> None:
    count = connection.execute(select(func.count()).where(db.jobs.c.state.in_(OPEN_STATES))).scalar_one()
    if count >= max_open:
        raise QueueFull(f"{count} jobs wait or run, the limit is {max_open} (QUARRY_MAX_OPEN_JOBS); try again later")


def _refuse_retry(connection: Connection, job: Job) -> None:
    if job.state is not JobState.FAILED:
        raise InvalidRequest(f"job {job.id} is {job.state.value}; only a failed one can be retried")
    if job.cleanup is not Cleanup.NOTHING:
        raise InvalidRequest(f"what job {job.id} has written is still being removed; retry it in a few seconds")
    jobs, repos = db.jobs.c, db.repos.c
    unfinished = jobs.state.in_(OPEN_STATES) | (jobs.cleanup == Cleanup.STAGED)
    if connection.execute(select(exists().where(jobs.repo == job.repo, unfinished))).scalar():
        raise InvalidRequest(f"another job of {job.repo!r} waits, runs or is being undone; wait for that one")
    if connection.execute(select(repos.name).where(repos.name == job.repo, repos.removing.is_(False))).first() is None:
        raise NotFound(f"repository {job.repo!r} is gone; add it again")


def _can_go_on(connection: Connection, job: Job) -> bool:
    """Tell whether a failed job's plan still fits what is live, and its batches are still there."""
    jobs, repos, schemas = db.jobs.c, db.repos.c, db.schemas.c
    batch = exists().where(db.batches.c.job == job.id)
    newer = exists().where(jobs.repo == job.repo, jobs.state == JobState.DONE, jobs.finished_at >= job.finished_at)
    # One of the same name may have been removed and added since.
    older = exists().where(repos.name == job.repo, repos.created_at <= job.created_at)
    active = connection.execute(select(schemas.name).order_by(schemas.registered_at.desc())).scalar()
    return active in (None, job.schema) and bool(connection.execute(select(batch & ~newer & older)).scalar())


def _set_back(connection: Connection, job_id: int) -> None:
    """Let a job run again; its points were removed, so every batch goes back to before its index."""
    batches = db.batches.c
    stored = case(
        (batches.pack == "", BatchState.PLANNED),
        (batches.vectors == "", BatchState.CHUNKED),
        else_=BatchState.EMBEDDED,
    )
    fresh = {"attempts": 0, "error": "", "holder": "", "lease_until": 0.0}
    connection.execute(update(db.batches).where(batches.job == job_id).values(state=stored, **fresh))
    again = {"state": JobState.RUNNING, "counts": "{}", "finished_at": None}
    connection.execute(update(db.jobs).where(db.jobs.c.id == job_id).values(**again, **fresh))
