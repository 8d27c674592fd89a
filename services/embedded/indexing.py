"""One job from start to end: find the revision, plan, have batches chunked and embedded, index, commit.

Whatever ends it early (a kill, an interrupt, a full disk) leaves the job
`running` in the ledger; the next run of the same revision goes on from there.
"""

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.chunker import git, mirror
from services.chunker.plan import batches, make_plan
from services.chunker.source import Limits, open_source
from services.core.catalog import Repo
from services.core.errors import QuarryError, Unavailable
from services.core.ledger import BatchState, Job, JobState, Progress
from services.core.manifest import Manifest, ManifestFile
from services.core.ports import Source
from services.embedded.owner import Owner
from services.embedded.pool import Order, Outcome, WorkerPool
from services.indexer.commit import commit
from services.indexer.stage import LiveFiles, acknowledge, index, live_files

# How much work a kill may cost; each acknowledgement flushes the vector store.
_ACKNOWLEDGE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class _Revision:
    """A revision found: `id` names it, the rest is what the workers open it by."""

    id: str
    kind: str
    location: str
    source: Source


def run_job(owner: Owner, pool: WorkerPool, job_id: int) -> dict[str, Any]:
    """Bring a job's repository to its newest revision and return the figures of the run.

    Raises:
        QuarryError: the job failed, with the reason; it stays resumable if it is `Unavailable`.
    """
    job = owner.ledger.job(job_id)
    try:
        counts = _Run(owner, pool, job).run()
    except QuarryError as error:
        if isinstance(error, Unavailable) and owner.ledger.job(job_id).state is JobState.RUNNING:
            owner.ledger.interrupt_job(job_id, error=str(error), code=error.code)
        else:
            owner.ledger.finish_job(job_id, JobState.FAILED, error=str(error), counts={"code": error.code})
        raise
    return counts


class _Run:
    def __init__(self, owner: Owner, pool: WorkerPool, job: Job) -> None:
        self.started = time.monotonic()
        self.owner = owner
        self.pool = pool
        self.job = job
        self.repo = owner.catalog.get(job.repo)

    def run(self) -> dict[str, Any]:
        revision = _find(self.owner, self.repo)
        if (self.repo.revision, self.repo.schema) == (revision.id, self.owner.schema):
            return self._nothing_to_do()
        if not self._resumes(revision):
            self._plan(revision)
        self._work(revision)
        self._refuse_dead()
        return self._commit()

    def _nothing_to_do(self) -> dict[str, Any]:
        manifest = Manifest.load(self.owner.blobs, self.repo.manifest)
        counts = self._figures(manifest, Progress())
        self._forget_points()
        self.owner.ledger.finish_job(self.job.id, JobState.DONE, counts=counts)
        return counts

    def _resumes(self, revision: _Revision) -> bool:
        job = self.job
        return job.state is JobState.RUNNING and (job.revision, job.schema) == (revision.id, self.owner.schema)

    def _forget_points(self) -> None:
        # A job that was interrupted on another revision may have written points under the same generation.
        if self.job.state is JobState.RUNNING:
            self.owner.vectors.purge(generation=self.job.id)

    def _plan(self, revision: _Revision) -> None:
        self.pool.warm()
        self._forget_points()
        owner, repo = self.owner, self.repo
        base = None
        if repo.manifest and repo.schema == owner.schema:
            base = Manifest.load(owner.blobs, repo.manifest)
        refs, skipped = revision.source.files()
        plan = make_plan(repo.name, refs, skipped, base, revision.source)
        kept = Manifest(repo.name, revision.id, owner.schema, tuple(plan.keep), tuple(plan.skipped))
        owner.ledger.start_job(
            self.job.id,
            revision=revision.id,
            schema=owner.schema,
            plan=kept.store(owner.blobs),
            first=base is None,
            batches=batches(plan.chunk, workers=owner.settings.worker_count, batch_bytes=owner.settings.batch_bytes),
        )
        self.job = owner.ledger.job(self.job.id)

    def _work(self, revision: _Revision) -> None:
        ledger, vectors = self.owner.ledger, self.owner.vectors
        live = live_files(self.job, catalog=self.owner.catalog, blobs=self.owner.blobs)
        todo = ledger.batches(self.job.id, (BatchState.PLANNED, BatchState.CHUNKED, BatchState.EMBEDDED))
        waiting = deque(Order(b.id, revision.kind, revision.location, revision.id) for b in todo)
        finished: dict[int, list[ManifestFile]] = {}
        acknowledged = time.monotonic()
        try:
            for outcome in self.pool.outcomes(waiting):
                if not outcome.error:
                    finished[outcome.order.batch] = self._index(outcome.order.batch, live)
                elif self._retry(outcome):
                    waiting.append(outcome.order)
                if time.monotonic() - acknowledged > _ACKNOWLEDGE_EVERY_S:
                    acknowledge(finished, ledger=ledger, vectors=vectors)
                    finished.clear()
                    acknowledged = time.monotonic()
        finally:
            acknowledge(finished, ledger=ledger, vectors=vectors)

    def _index(self, batch_id: int, live: LiveFiles) -> list[ManifestFile]:
        owner = self.owner
        files = index(batch_id, ledger=owner.ledger, blobs=owner.blobs, vectors=owner.vectors, live=live)
        owner.vectors.maintain()
        return files

    def _retry(self, outcome: Outcome) -> bool:
        if outcome.fatal:
            raise Unavailable(outcome.error)
        batch = self.owner.ledger.failed(
            outcome.order.batch, outcome.error, self.owner.settings.max_attempts, outcome.suspects
        )
        return batch.state is not BatchState.DEAD

    def _refuse_dead(self) -> None:
        dead = self.owner.ledger.batches(self.job.id, (BatchState.DEAD,))
        if dead:
            files = sum(batch.file_count for batch in dead)
            raise QuarryError(
                f"{len(dead)} batches ({files} files) of {self.job.repo!r} failed "
                f"{self.owner.settings.max_attempts} times, the last with: {dead[-1].error}"
            )

    def _commit(self) -> dict[str, Any]:
        owner = self.owner
        progress = owner.ledger.progress(self.job.id)
        return commit(
            self.job.id,
            ledger=owner.ledger,
            catalog=owner.catalog,
            blobs=owner.blobs,
            vectors=owner.vectors,
            barrier=owner.barrier.wait,
            figures=lambda manifest: self._figures(manifest, progress),
        )

    def _figures(self, manifest: Manifest, progress: Progress) -> dict[str, Any]:
        seconds = time.monotonic() - self.started
        return {
            "repo": manifest.repo,
            "revision": manifest.revision,
            "files": len(manifest.files),
            "changed": progress.files,
            "chunks": manifest.chunks,
            "embedded": progress.embedded,
            "cached": progress.cached,
            "skipped": manifest.skip_counts(),
            "seconds": round(seconds, 3),
            "files_per_s": round(progress.files / seconds, 1),
        }


def _find(owner: Owner, repo: Repo) -> _Revision:
    limits = Limits(max_file_bytes=owner.settings.max_file_bytes)
    kind, location, revision = repo.kind, repo.source, ""
    if kind == "url":
        directory, revision = mirror.fetch(repo.source, owner.home.mirrors, repo.ref)
        kind, location = "git", str(directory)
    elif kind == "git":
        revision = git.resolve(Path(repo.source), repo.ref)
    source = open_source(kind, location, revision, limits)
    if kind == "directory":
        revision = source.revision()
    return _Revision(revision, kind, location, source)
