"""Index requests in the distributed mode: rows in the ledger, and a message to whoever plans."""

from contextlib import suppress

from services.chunker.source import check_name, describe
from services.core.desk import Desk
from services.core.errors import InvalidRequest
from services.core.leases import Priority
from services.core.ledger import OPEN_STATES, JobState


class QueuedJobs:
    """The `Jobs` of the API when others do the work."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._max_open = desk.settings.max_open_jobs
        self._allow_hosts = desk.settings.allowed_git_hosts

    def submit(self, location: str, name: str | None = None, ref: str | None = None) -> int:
        """Queue an index of a git address and return the job's id.

        Raises:
            InvalidRequest: the address or name can't be used.
            QueueFull: too many jobs wait already.
        """
        kind, source, default_name = describe(
            location, allow_local=False, allow_hosts=self._allow_hosts, check_hosts=True
        )
        repo = self._desk.catalog.add(check_name(name or default_name), kind, source, ref or "")
        return self._request(repo.name, repo.ref if ref is None else ref, Priority.INTERACTIVE)

    def look(self, name: str) -> int:
        """Queue a look at a repository because something says that it has changed; return the job's id.

        Raises:
            NotFound: there is no such repository.
            QueueFull: too many jobs wait already.
        """
        repo = self._desk.catalog.get(name)
        return self._request(repo.name, repo.ref, Priority.PUSH)

    def retry(self, job_id: int) -> int:
        """Let a failed job go on and return its id.

        Raises:
            NotFound: there is none of that id.
            InvalidRequest: it can't go on.
        """
        job = self._desk.leases.retry_job(job_id)
        if job.state is JobState.QUEUED:
            self._desk.send("plan", job.id, Priority(job.priority))
        return job.id

    def remove(self, name: str) -> None:
        """Remove a repository: from the searches now, its points soon.

        Raises:
            NotFound: there is none of that name.
        """
        desk = self._desk
        desk.catalog.start_removal(name)
        for job in desk.ledger.jobs(name, OPEN_STATES):
            # It may have ended since.
            with suppress(InvalidRequest):
                desk.ledger.finish_job(job.id, JobState.FAILED, error=f"repository {name!r} was removed")
        desk.send("remove", name, Priority.INTERACTIVE)

    def _request(self, repo: str, ref: str, priority: Priority) -> int:
        job, new = self._desk.leases.request_job(repo, ref, priority, max_open=self._max_open)
        if new or Priority(job.priority) is priority:
            self._desk.send("plan", job.id, priority)
        return job.id
