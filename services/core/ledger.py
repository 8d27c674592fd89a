"""The ledger: the truth about every job and batch; messages are only hints.

A job brings one repository to one revision. Its id is the generation of the
points it writes. A batch is a part of its files; each stage moves the batch on
by one state, and any batch that is not `indexed` can be sent again at any time.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, insert, select, update

from services.core import database as db
from services.core.catalog import Catalog
from services.core.errors import InvalidRequest, NotFound
from services.core.ledger_rows import (
    OPEN_STATES,
    STARTED_STATES,
    Batch,
    BatchState,
    Cleanup,
    Fences,
    Job,
    JobState,
    Progress,
)
from services.core.manifest import Manifest, ManifestFile
from services.core.model import FileRef, Skipped, SkipReason

__all__ = [
    "OPEN_STATES",
    "STARTED_STATES",
    "Batch",
    "BatchState",
    "Cleanup",
    "Fences",
    "Job",
    "JobState",
    "Ledger",
    "Progress",
]

# Nobody works on the row, and whoever likes may.
_FREE: dict[str, Any] = {"holder": "", "lease_until": 0.0}

_BATCH_COLUMNS = [db.batches.c[name] for name in Batch.__dataclass_fields__]


class Ledger:
    """Jobs and batches."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create_job(self, repo: str, ref: str = "") -> Job:
        """Add a queued job that brings `repo` to what `ref` names when it runs."""
        with self._engine.begin() as connection:
            values = {"repo": repo, "ref": ref, "state": JobState.QUEUED, "created_at": db.now()}
            job_id = connection.execute(insert(db.jobs).values(**values).returning(db.jobs.c.id)).scalar_one()
            return _job(_job_row(connection, job_id))

    def job(self, job_id: int) -> Job:
        """Return a job.

        Raises:
            NotFound: there is none of that id.
        """
        with self._engine.connect() as connection:
            return _job(_job_row(connection, job_id))

    def jobs(
        self, repo: str | None = None, states: Sequence[JobState] = (), cleanups: Sequence[Cleanup] = ()
    ) -> list[Job]:
        """Return jobs, oldest first, of `repo` if given, in one of `states` and one of `cleanups` if given."""
        query = select(db.jobs).order_by(db.jobs.c.id)
        if repo is not None:
            query = query.where(db.jobs.c.repo == repo)
        if states:
            query = query.where(db.jobs.c.state.in_(states))
        if cleanups:
            query = query.where(db.jobs.c.cleanup.in_(cleanups))
        with self._engine.connect() as connection:
            return [_job(row) for row in connection.execute(query)]

    def start_job(
        self,
        job_id: int,
        *,
        revision: str,
        schema: str,
        plan: str,
        first: bool,
        batches: Sequence[Sequence[FileRef]],
        sources: Sequence[str] = (),
        holder: str = "",
    ) -> None:
        """Move a queued job to running together with its batches, in one transaction.

        `sources` are the blobs that hold the contents of each batch's files, where they are not read from the source.

        Raises:
            InvalidRequest: it is not queued any more, or not held by `holder`.
        """
        rows = [
            {
                "job": job_id,
                "state": BatchState.PLANNED,
                "files": _squeeze([list(asdict(ref).values()) for ref in refs]),
                "file_count": len(refs),
                "source_bytes": sum(ref.size for ref in refs),
                "source": source,
            }
            for refs, source in zip(batches, sources or [""] * len(batches), strict=True)
        ]
        with self._engine.begin() as connection:
            values = {"revision": revision, "schema": schema, "plan": plan, "first": first}
            _change(connection, job_id, (JobState.QUEUED,), holder=holder, state=JobState.RUNNING, **values)
            if rows:
                connection.execute(insert(db.batches), rows)

    def finish_job(
        self,
        job_id: int,
        state: JobState,
        *,
        error: str = "",
        counts: dict[str, Any] | None = None,
        holder: str | None = None,
    ) -> None:
        """End an open job that does not go live; whatever points it wrote are left for cleaning up.

        Raises:
            InvalidRequest: it has ended already, or a `holder` is given and it is another's.
        """
        with self._engine.begin() as connection:
            has_batches = connection.execute(
                select(func.count()).select_from(db.batches).where(db.batches.c.job == job_id)
            ).scalar()
            cleanup = Cleanup.STAGED if has_batches else Cleanup.NOTHING
            values = {"state": state, "cleanup": cleanup, "error": error}
            _end(connection, job_id, OPEN_STATES, holder=holder, counts=counts or {}, **values)

    def interrupt_job(self, job_id: int, *, error: str, code: str) -> None:
        """Stop a running job where it is, for `resume_job` to go on."""
        values = {"state": JobState.INTERRUPTED, "error": error, "counts": json.dumps({"code": code})}
        with self._engine.begin() as connection:
            connection.execute(update(db.jobs).where(db.jobs.c.id == job_id).values(**values))

    def resume_job(self, job_id: int) -> None:
        """Let an interrupted job run again; any other stays as it is."""
        interrupted = (db.jobs.c.id == job_id) & (db.jobs.c.state == JobState.INTERRUPTED)
        with self._engine.begin() as connection:
            connection.execute(update(db.jobs).where(interrupted).values(state=JobState.RUNNING, error="", counts="{}"))

    def commit_job(self, job: Job, catalog: Catalog, manifest: Manifest, digest: str, counts: dict[str, Any]) -> None:
        """Make the job's revision the live one of its repository, in one transaction; done already, it stays so.

        Raises:
            InvalidRequest: the job is not running.
        """
        with self._engine.begin() as connection:
            # Locked, so that of two committers the second finds it done.
            locked = select(db.jobs.c.state).where(db.jobs.c.id == job.id).with_for_update()
            if connection.execute(locked).scalar() == JobState.DONE:
                return
            catalog.set_live(
                connection,
                job.repo,
                ref=job.ref,
                revision=manifest.revision,
                manifest=digest,
                schema=manifest.schema,
                files=len(manifest.files),
                chunks=manifest.chunks,
            )
            _end(connection, job.id, STARTED_STATES, state=JobState.DONE, cleanup=Cleanup.RETIRED, counts=counts)

    def cleaned(self, job_id: int) -> None:
        """Record that the points of a job's cleanup are gone."""
        with self._engine.begin() as connection:
            connection.execute(update(db.jobs).where(db.jobs.c.id == job_id).values(cleanup=Cleanup.NOTHING))

    def fences(self) -> Fences:
        """Return what searches must not see now."""
        running = db.jobs.c.state.in_(STARTED_STATES) & db.jobs.c.first.is_(False)
        query = select(db.jobs.c.id, db.jobs.c.cleanup).where(running | (db.jobs.c.cleanup != Cleanup.NOTHING))
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return Fences(
            staged=tuple(row.id for row in rows if row.cleanup != Cleanup.RETIRED),
            retired=tuple(row.id for row in rows if row.cleanup == Cleanup.RETIRED),
        )

    def batch(self, batch_id: int) -> Batch:
        """Return a batch.

        Raises:
            NotFound: there is none of that id.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(*_BATCH_COLUMNS).where(db.batches.c.id == batch_id)).first()
        if row is None:
            raise NotFound(f"there is no batch {batch_id}")
        return _batch(row)

    def batches(self, job_id: int, states: Sequence[BatchState] = ()) -> list[Batch]:
        """Return a job's batches in order, in one of `states` if given."""
        query = select(*_BATCH_COLUMNS).where(db.batches.c.job == job_id).order_by(db.batches.c.id)
        if states:
            query = query.where(db.batches.c.state.in_(states))
        with self._engine.connect() as connection:
            return [_batch(row) for row in connection.execute(query)]

    def batch_files(self, batch_id: int) -> list[FileRef]:
        """Return the files a batch is to chunk."""
        with self._engine.connect() as connection:
            data = connection.execute(select(db.batches.c.files).where(db.batches.c.id == batch_id)).scalar_one()
        return [FileRef(*row) for row in _stretch(data)]

    def chunked(self, batch_id: int, *, pack: str, chunks: int, skipped: Sequence[Skipped]) -> None:
        """Record the chunker's work on a batch."""
        rows = [[s.path, s.reason.value, s.detail] for s in skipped]
        self._advance(
            batch_id, BatchState.PLANNED, BatchState.CHUNKED, pack=pack, chunks=chunks, skipped=_squeeze(rows)
        )

    def embedded(self, batch_id: int, *, vectors: str, embedded: int, cached: int) -> None:
        """Record the embedder's work on a batch."""
        self._advance(
            batch_id, BatchState.CHUNKED, BatchState.EMBEDDED, vectors=vectors, embedded=embedded, cached=cached
        )

    def indexed(self, results: dict[int, Sequence[ManifestFile]]) -> None:
        """Record the indexer's work: batch id → its files, once their points are on disk."""
        with self._engine.begin() as connection:
            for batch_id, files in results.items():
                result = _squeeze([[getattr(f, name) for name in ManifestFile.__dataclass_fields__] for f in files])
                ready = (db.batches.c.id == batch_id) & (db.batches.c.state == BatchState.EMBEDDED)
                values = {"state": BatchState.INDEXED, "result": result, "error": "", **_FREE}
                connection.execute(update(db.batches).where(ready).values(**values))

    def failed(
        self,
        batch_id: int,
        error: str,
        max_attempts: int,
        suspects: dict[str, str] | None = None,
        *,
        holder: str | None = None,
        wait_s: float = 0.0,
    ) -> Batch:
        """Count a failed attempt and keep its error; too many make the batch dead. Returns the batch.

        An attempt that found a new suspect is not counted: the next one gets further. Nor is one of a
        batch that has got further since, or is not `holder`'s if one is given.
        """
        with self._engine.begin() as connection:
            locked = select(db.batches.c.holder, *_BATCH_COLUMNS).where(db.batches.c.id == batch_id).with_for_update()
            row = connection.execute(locked).one()
            batch = _batch(row)
            if batch.state in (BatchState.INDEXED, BatchState.DEAD) or holder not in (None, row.holder):
                # Late: its lease passed, and somebody else has it, has done it or given it up.
                return batch
            found = set(suspects or ()) - set(batch.suspects)
            attempts = batch.attempts + (0 if found else 1)
            values: dict[str, Any] = {"attempts": attempts, "error": error, "holder": ""}
            values["lease_until"] = db.clock() + wait_s if wait_s else 0.0
            if attempts >= max_attempts:
                values["state"] = BatchState.DEAD
            if suspects:
                values["suspects"] = json.dumps(batch.suspects | suspects)
            connection.execute(update(db.batches).where(db.batches.c.id == batch_id).values(**values))
        return self.batch(batch_id)

    def results(self, job_id: int) -> tuple[list[ManifestFile], list[Skipped]]:
        """Return the indexed files of a job and those its chunkers left out."""
        query = select(db.batches.c.result, db.batches.c.skipped).where(db.batches.c.job == job_id)
        files: list[ManifestFile] = []
        skipped: list[Skipped] = []
        with self._engine.connect() as connection:
            for result, left_out in connection.execute(query):
                files += [ManifestFile(*row) for row in _stretch(result)]
                skipped += [Skipped(path, SkipReason(reason), detail) for path, reason, detail in _stretch(left_out)]
        return files, skipped

    def progress(self, job_id: int) -> Progress:
        """Return how far a job's batches are."""
        b = db.batches.c
        query = select(b.state, func.sum(b.file_count), func.sum(b.chunks), func.sum(b.embedded), func.sum(b.cached))
        with self._engine.connect() as connection:
            rows = connection.execute(query.where(b.job == job_id).group_by(b.state)).all()
        in_state = {row[0]: row[1] for row in rows}
        indexed = in_state.get(BatchState.INDEXED, 0)
        files, chunks, embedded, cached = (sum(row[i] for row in rows) for i in range(1, 5))
        return Progress(
            files=files,
            files_embedded=indexed + in_state.get(BatchState.EMBEDDED, 0),
            files_indexed=indexed,
            chunks=chunks,
            embedded=embedded,
            cached=cached,
            dead=in_state.get(BatchState.DEAD, 0),
        )

    def _advance(self, batch_id: int, before: BatchState, after: BatchState, **values: object) -> None:
        # Of two workers on one batch the later changes nothing.
        waiting = (db.batches.c.id == batch_id) & (db.batches.c.state == before)
        with self._engine.begin() as connection:
            connection.execute(update(db.batches).where(waiting).values(state=after, error="", **_FREE, **values))


def _end(
    connection: Connection,
    job_id: int,
    before: Sequence[JobState],
    *,
    counts: dict[str, Any],
    holder: str | None = None,
    **values: object,
) -> None:
    # By the database's clock: what the job replaced is deleted a grace time after it.
    ended = {"counts": json.dumps(counts), "finished_at": db.clock()}
    _change(connection, job_id, before, holder=holder, **ended, **values)


def _change(
    connection: Connection, job_id: int, before: Sequence[JobState], *, holder: str | None, **values: object
) -> None:
    expected = (db.jobs.c.id == job_id) & db.jobs.c.state.in_(before)
    if holder is not None:
        expected &= db.jobs.c.holder == holder
    if not connection.execute(update(db.jobs).where(expected).values(**values, **_FREE)).rowcount:
        row = connection.execute(select(db.jobs.c.state, db.jobs.c.holder).where(db.jobs.c.id == job_id)).first()
        whose = f", and {row.holder or 'nobody'!r} holds it" if row and holder is not None else ""
        state = row.state if row else "not there"
        raise InvalidRequest(f"job {job_id} is {state}{whose}; it can't become {values['state']} any more")


def _job_row(connection: Connection, job_id: int) -> Row[Any]:
    row = connection.execute(select(db.jobs).where(db.jobs.c.id == job_id)).first()
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return row


def _job(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    values["state"] = JobState(values["state"])
    values["cleanup"] = Cleanup(values["cleanup"])
    values["counts"] = json.loads(values["counts"])
    return Job(**values)


def _batch(row: Row[Any]) -> Batch:
    values = {name: row._mapping[name] for name in Batch.__dataclass_fields__}
    values["state"] = BatchState(values["state"])
    values["suspects"] = json.loads(values["suspects"])
    return Batch(**values)


def _squeeze(rows: list[Any]) -> bytes:
    return zlib.compress(json.dumps(rows, separators=(",", ":")).encode(), 1)


def _stretch(data: bytes | None) -> list[Any]:
    return json.loads(zlib.decompress(data)) if data else []
