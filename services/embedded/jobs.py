"""Index requests: which job answers one, and a thread that runs jobs one after the other."""

import logging
import os
import queue
import threading
from typing import Any

from services.chunker.source import check_name, describe
from services.core.catalog import Repo
from services.core.errors import InvalidRequest, QuarryError
from services.core.ledger import OPEN_STATES, Job, JobState
from services.embedded.indexing import run_job
from services.embedded.launcher import Interpreters, Launcher
from services.embedded.owner import Owner
from services.embedded.pool import WorkerPool

log = logging.getLogger(__name__)

# Idle workers hold about 150 MB each; a push usually comes with others.
_POOL_IDLE_S = 60.0
_PATIENCE_S = 30.0
_INTERRUPTED = 130


def request_job(
    owner: Owner, location: str, name: str | None, ref: str | None, *, allow_local: bool = True, active: int = 0
) -> Job:
    """Return the job that will index `location`: the one that waits or was interrupted, or a new one.

    `ref` None means the ref that is live. Without `allow_local` only addresses are taken, no paths
    of this machine. The job `active` may have looked before this change, so it is none to wait for.

    Raises:
        InvalidRequest: the location or name can't be used.
    """
    repo, ref = _register(owner, location, name, ref, allow_local)
    for job in owner.ledger.jobs(repo=repo.name, states=OPEN_STATES):
        if job.id != active and job.ref == ref:
            owner.ledger.resume_job(job.id)
            return owner.ledger.job(job.id)
    return owner.ledger.create_job(repo.name, ref)


def _register(owner: Owner, location: str, name: str | None, ref: str | None, allow_local: bool) -> tuple[Repo, str]:
    allow_hosts = owner.settings.allowed_git_hosts
    kind, source, default_name = describe(location, allow_local=allow_local, allow_hosts=allow_hosts)
    repo = owner.catalog.add(check_name(name or default_name), kind, source, ref or "")
    return repo, (repo.ref if repo.revision else "") if ref is None else ref


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
    """Runs the jobs of a serving owner in a thread of its own, oldest first.

    `ended` is set whenever one has ended; who waits for that clears it.
    """

    def __init__(self, owner: Owner, launcher: Launcher) -> None:
        self._owner = owner
        self._pool = WorkerPool(owner.settings, owner.home.run, launcher)
        self.ended = threading.Event()
        self._inbox: queue.Queue[int | None] = queue.Queue()
        self._lock = threading.Lock()
        self._active: int | None = None
        self._stopping = False
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
        """Stop: the job in hand stays resumable. A job that does not let go in 30 s ends with the process."""
        self._stopping = True
        self._inbox.put(None)
        self._pool.stop()
        if not self._thread.is_alive():
            return
        self._thread.join(timeout=_PATIENCE_S)
        if self._thread.is_alive():
            # What it uses must not be closed under it; everything is built to be killed.
            log.warning("job_does_not_stop")
            os._exit(_INTERRUPTED)

    def submit(
        self, location: str, name: str | None = None, ref: str | None = None, *, allow_local: bool = True
    ) -> int:
        """Queue a job for `location` and return its id; one that is queued already is not queued twice.

        Raises:
            InvalidRequest: the location or name can't be used.
        """
        with self._lock:
            active = self._active or 0
            job = request_job(self._owner, location, name, ref, allow_local=allow_local, active=active)
            self._inbox.put(job.id)
            return job.id

    def look(self, name: str) -> int:
        """Queue a job for a known repository and return its id.

        Raises:
            NotFound: there is none of that name.
        """
        repo = self._owner.catalog.get(name)
        return self.submit(repo.source, repo.name, repo.ref)

    def retry(self, job_id: int) -> int:
        """Queue a job that does what a failed one should have done, and return its id.

        Raises:
            NotFound: there is none of that id, or its repository is gone.
            InvalidRequest: it has not failed.
        """
        job = self._owner.ledger.job(job_id)
        if job.state is not JobState.FAILED:
            raise InvalidRequest(f"job {job_id} is {job.state.value}; only a failed one can be retried")
        repo = self._owner.catalog.get(job.repo)
        return self.submit(repo.source, repo.name, job.ref)

    def remove(self, name: str) -> None:
        """Remove a repository and everything of it from the searches.

        Raises:
            NotFound: there is none of that name.
        """
        from services.embedded.removal import remove_repository

        with self._lock:
            remove_repository(self._owner, name, idle=self._active is None)

    def _loop(self) -> None:
        while True:
            try:
                job_id = self._inbox.get(timeout=_POOL_IDLE_S)
            except queue.Empty:
                self._close_pool()
                continue
            try:
                if job_id is None:
                    return
                if not self._stopping:
                    self._run(job_id)
            except Exception:
                log.exception("job_runner_failed", extra={"job": job_id})
            finally:
                if job_id is None:
                    self._close_pool()
                self._inbox.task_done()

    def _close_pool(self) -> None:
        try:
            self._pool.close()
        except QuarryError as error:
            log.warning("workers_not_closed", extra={"error": str(error)})

    def _run(self, job_id: int) -> None:
        with self._lock:
            if self._owner.ledger.job(job_id).state not in OPEN_STATES:
                return
            self._active = job_id
        try:
            counts = run_job(self._owner, self._pool, job_id)
            log.info("job_done", extra={"job": job_id, "repo": counts["repo"], "seconds": counts["seconds"]})
            self._owner.settle()
        except QuarryError as error:
            log.info("job_failed", extra={"job": job_id, "error": str(error)})
        except Exception:
            log.exception("job_failed", extra={"job": job_id})
            self._give_up(job_id)
        finally:
            with self._lock:
                self._active = None
            self.ended.set()

    def _give_up(self, job_id: int) -> None:
        if self._owner.ledger.job(job_id).state in OPEN_STATES:
            error, counts = "internal error; the log has it", {"code": "internal"}
            self._owner.ledger.finish_job(job_id, JobState.FAILED, error=error, counts=counts)
