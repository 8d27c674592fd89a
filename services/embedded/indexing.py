"""One job from start to end.

Whatever ends it early (a kill, an interrupt, a full disk) leaves the job
resumable in the ledger; the next run of the same revision goes on from there.
"""

import logging
import time
from dataclasses import replace
from typing import Any

from services.core.errors import QuarryError, Unavailable
from services.core.ledger import OPEN_STATES, STARTED_STATES, Cleanup, Job, JobState, Progress
from services.core.manifest import Manifest
from services.embedded.owner import Owner
from services.embedded.pool import WorkerPool
from services.embedded.revision import find_revision

log = logging.getLogger(__name__)


def run_job(owner: Owner, pool: WorkerPool, job_id: int) -> dict[str, Any]:
    """Bring a job's repository to its newest revision and return the figures of the run.

    Raises:
        QuarryError: the job failed, with the reason; it stays resumable if it is `Unavailable`.
    """
    try:
        return _run(owner, pool, job_id)
    except QuarryError as error:
        return _ended(owner, job_id, error)


def _ended(owner: Owner, job_id: int, error: QuarryError) -> dict[str, Any]:
    job = owner.ledger.job(job_id)
    if job.state is JobState.DONE:
        # It is live; only cleaning up after it failed, and whoever opens the store next does that.
        log.warning("clean_up_failed", extra={"job": job_id, "error": str(error)})
        return job.counts
    if isinstance(error, Unavailable) and job.state is JobState.RUNNING:
        owner.ledger.interrupt_job(job_id, error=str(error), code=error.code)
    elif job.state in OPEN_STATES:
        owner.ledger.finish_job(job_id, JobState.FAILED, error=str(error), counts={"code": error.code})
        clean_up_job(owner, job_id)
    raise error


def _run(owner: Owner, pool: WorkerPool, job_id: int) -> dict[str, Any]:
    started = time.monotonic()
    job = owner.ledger.job(job_id)
    repo = owner.catalog.get(job.repo)
    if not repo.revision:
        # There will be work, and loading what workers need takes as long as looking at a few thousand files.
        pool.warm()
    with find_revision(owner, replace(repo, ref=job.ref)) as revision:
        found = (revision.id, owner.schema)
        if job.state in STARTED_STATES and (job.revision, job.schema) != found:
            return _start_anew(owner, pool, job)
        if job.state not in STARTED_STATES and (repo.revision, repo.schema) == found:
            counts = _figures(Manifest.load(owner.blobs, repo.manifest), Progress(), started)
            owner.ledger.finish_job(job_id, JobState.DONE, counts=counts)
            return counts
        # Imported when there is work: looking takes a third of the time that loading all of it does.
        from services.embedded.pipeline import Pipeline

        pipeline = Pipeline(owner, pool, job, revision)
        return pipeline.run(lambda manifest, progress: _figures(manifest, progress, started))


def _start_anew(owner: Owner, pool: WorkerPool, job: Job) -> dict[str, Any]:
    """Give up a job whose repository has changed since it was interrupted, for another with a generation of its own."""
    successor = owner.ledger.create_job(job.repo, job.ref)
    counts = {"successor": successor.id}
    owner.ledger.finish_job(job.id, JobState.SUPERSEDED, error="the repository has changed since", counts=counts)
    clean_up_job(owner, job.id)
    return run_job(owner, pool, successor.id)


def clean_up_job(owner: Owner, job_id: int) -> None:
    """Delete the points that an ended job has left behind."""
    job = owner.ledger.job(job_id)
    if job.cleanup is not Cleanup.NOTHING and job.schema == owner.schema:
        from services.indexer.commit import clean_up

        clean_up(job, ledger=owner.ledger, vectors=owner.vectors, barrier=owner.barrier.wait)


def _figures(manifest: Manifest, progress: Progress, started: float) -> dict[str, Any]:
    seconds = time.monotonic() - started
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
