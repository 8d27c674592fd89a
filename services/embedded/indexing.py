"""One job from start to end.

Whatever ends it early (a kill, an interrupt, a full disk) leaves the job
resumable in the ledger; the next run of the same revision goes on from there.
"""

import time
from typing import Any

from services.core.errors import QuarryError, Unavailable
from services.core.ledger import STARTED_STATES, Cleanup, JobState, Progress
from services.core.manifest import Manifest
from services.embedded.owner import Owner
from services.embedded.pool import WorkerPool
from services.embedded.revision import find_revision


def run_job(owner: Owner, pool: WorkerPool, job_id: int) -> dict[str, Any]:
    """Bring a job's repository to its newest revision and return the figures of the run.

    Raises:
        QuarryError: the job failed, with the reason; it stays resumable if it is `Unavailable`.
    """
    try:
        return _run(owner, pool, job_id)
    except QuarryError as error:
        if isinstance(error, Unavailable) and owner.ledger.job(job_id).state is JobState.RUNNING:
            owner.ledger.interrupt_job(job_id, error=str(error), code=error.code)
        else:
            owner.ledger.finish_job(job_id, JobState.FAILED, error=str(error), counts={"code": error.code})
            _clean_up(owner, job_id)
        raise


def _run(owner: Owner, pool: WorkerPool, job_id: int) -> dict[str, Any]:
    started = time.monotonic()
    job = owner.ledger.job(job_id)
    repo = owner.catalog.get(job.repo)
    with find_revision(owner, repo) as revision:
        live = (repo.revision, repo.schema) == (revision.id, owner.schema)
        if live and job.state not in STARTED_STATES:
            counts = _figures(Manifest.load(owner.blobs, repo.manifest), Progress(), started)
            owner.ledger.finish_job(job_id, JobState.DONE, counts=counts)
            return counts
        # Imported when there is work: looking takes a third of the time that loading all of it does.
        from services.embedded.pipeline import Pipeline

        pipeline = Pipeline(owner, pool, job, revision)
        return pipeline.run(lambda manifest, progress: _figures(manifest, progress, started))


def _clean_up(owner: Owner, job_id: int) -> None:
    job = owner.ledger.job(job_id)
    if job.cleanup is not Cleanup.NOTHING:
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
