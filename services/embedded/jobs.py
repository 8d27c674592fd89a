"""Index requests: which job answers one, and a thread that runs jobs one after the other."""

import logging
import queue
import threading
from typing import Any

from services.chunker.source import check_name, describe
from services.core.catalog import Repo
from services.core.errors import QuarryError
from services.core.ledger import OPEN_STATES, Job, JobState
from services.embedded.indexing import run_job
from services.embedded.launcher import Interpreters, Launcher
from services.embedded.owner import Owner
from services.embedded.pool import WorkerPool

log = logging.getLogger(__name__)

# Idle workers hold about 150 MB each; a push usually comes with others.
_POOL_IDLE_S = 60.0


def request_job(owner: Owner, location: str, name: str | None, ref: str | None, *, allow_local: bool = True) -> Job:
    """Return the job that will index `location`: the one that waits or was interrupted, or a new one.

    `ref` None keeps the ref the repository was indexed at before. Without `allow_local` only
    addresses are taken, no paths of this machine.

    Raises:
        InvalidRequest: the location or name can't be used.
    """
    repo = _register(owner, location, name, ref, allow_local)
    open_jobs = owner.ledger.jobs(repo=repo.name, states=OPEN_STATES)
    if not open_jobs:
        return owner.ledger.create_job(repo.name)
    owner.ledger.resume_job(open_jobs[0].id)
    return owner.ledger.job(open_jobs[0].id)


def _register(owner: Owner, location: str, name: str | None, ref: str | None, allow_local: bool) -> Repo:
    kind, source, default_name = describe(location, allow_local=allow_local)
    name = check_name(name or default_name)
    known = {repo.name: repo for repo in owner.catalog.list()}
    if ref is None:
        ref = known[name].ref if name in known else ""
    return owner.catalog.add(name, kind, source, ref)


def run_now(owner: Owner, repo: Repo) -> dict[str, Any]:
    """Index a known repository in this thread and return the figures.

    Raises:
        QuarryError: the job failed.
    """
    pool = WorkerPool(owner.settings, owner.home.run, Interpreters())
    try:
        return run_job(owner, pool, request_job(owner, repo.source, repo.name, repo.ref).id)
    finally:
        pool.close()


class JobRunner:
    """Runs the jobs of a serving owner in a thread of its own, oldest first."""

    def __init__(self, owner: Owner, launcher: Launcher) -> None:
        self._owner = owner
        self._pool = WorkerPool(owner.settings, owner.home.run, launcher)
        self._inbox: queue.Queue[int | None] = queue.Queue()
        self._lock = threading.Lock()
        self._active: int | None = None
        self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)

    def start(self, *, resume: bool) -> None:
        """Start the thread; `resume` adds the jobs an earlier owner left."""
        if resume:
            for job in self._owner.ledger.jobs(states=OPEN_STATES):
                self._owner.ledger.resume_job(job.id)
                self._inbox.put(job.id)
        self._thread.start()

    def finish(self) -> None:
        """Return when every job submitted so far has ended."""
        self._inbox.join()

    def stop(self) -> None:
        """Stop: the job in hand stays resumable."""
        self._inbox.put(None)
        self._pool.stop()
        self._thread.join(timeout=30)

    def submit(
        self, location: str, name: str | None = None, ref: str | None = None, *, allow_local: bool = True
    ) -> int:
        """Queue a job for `location` and return its id; one that is queued already is not queued twice.

        Raises:
            InvalidRequest: the location or name can't be used.
        """
        with self._lock:
            job = request_job(self._owner, location, name, ref, allow_local=allow_local)
            if job.id == self._active:
                # The running job may have looked before this change: look again after it.
                job = self._owner.ledger.create_job(job.repo)
            self._inbox.put(job.id)
            return job.id

    def remove(self, name: str) -> None:
        """Remove a repository and everything of it from the searches.

        Raises:
            NotFound: there is none of that name.
        """
        from services.indexer.commit import remove

        remove(name, ledger=self._owner.ledger, catalog=self._owner.catalog, vectors=self._owner.vectors)

    def _loop(self) -> None:
        while True:
            try:
                job_id = self._inbox.get(timeout=_POOL_IDLE_S)
            except queue.Empty:
                self._pool.close()
                continue
            if job_id is None:
                self._pool.close()
                return
            self._run(job_id)
            self._inbox.task_done()

    def _run(self, job_id: int) -> None:
        with self._lock:
            if self._owner.ledger.job(job_id).state not in (JobState.QUEUED, JobState.RUNNING):
                return
            self._active = job_id
        try:
            counts = run_job(self._owner, self._pool, job_id)
            self._owner.settle()
            log.info("job_done", extra={"job": job_id, "repo": counts["repo"], "seconds": counts["seconds"]})
        except QuarryError as error:
            log.info("job_failed", extra={"job": job_id, "error": str(error)})
        except Exception:
            log.exception("job_failed", extra={"job": job_id})
            self._owner.ledger.finish_job(
                job_id, JobState.FAILED, error="internal error; the log has it", counts={"code": "internal"}
            )
        finally:
            with self._lock:
                self._active = None
