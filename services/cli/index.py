"""`quarry index`: as the owner of the data directory, or through it."""

import json
import logging
import os
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from services.cli.render import print_figures, progress_bar
from services.core.errors import ERRORS, QuarryError
from services.core.ledger import STARTED_STATES, JobState
from services.core.settings import Settings
from services.embedded.access import persist, reach
from services.embedded.client import OwnerClient
from services.embedded.launcher import Zygote
from services.embedded.owner import Owner

if TYPE_CHECKING:
    from services.embedded.jobs import JobRunner

log = logging.getLogger(__name__)

_POLL_S = 0.1
# Each look is a few queries that the indexing thread waits for.
_POLL_UNSEEN_S = 0.5
# An index that takes longer opens the owner's socket, so that searches are answered meanwhile.
_SOCKET_AFTER_S = 0.5
# To look at 80,000 files takes 2 s; opening the vector store for searches would take longer than that.
_LOOKING_S = 5.0

_ENDED = (JobState.DONE, JobState.FAILED, JobState.INTERRUPTED)


class _Jobs(Protocol):
    def submit(self, location: str, name: str | None, ref: str | None) -> int: ...

    def look(self, job_id: int) -> dict[str, Any]: ...

    def wait(self, seconds: float) -> None: ...


class _LocalJobs:
    def __init__(self, owner: Owner, runner: "JobRunner") -> None:
        self._owner = owner
        self._ended = runner.ended
        self.submit = runner.submit

    def look(self, job_id: int) -> dict[str, Any]:
        """Return the job as the API shows it."""
        from services.api.jobs import job_document

        self._ended.clear()
        return job_document(self._owner.ledger.job(job_id), self._owner.ledger.progress(job_id))

    def wait(self, seconds: float) -> None:
        """Return after so long, or when a job has ended since the last look."""
        self._ended.wait(seconds)


class _RemoteJobs:
    def __init__(self, client: OwnerClient) -> None:
        self._client = client

    def submit(self, location: str, name: str | None, ref: str | None) -> int:
        """Ask the owner for a job."""
        body = {"source": location, "name": name, "ref": ref}
        answer = self._client.post("/v1/repos", {key: value for key, value in body.items() if value is not None})
        job_id: int = answer["job"]["id"]
        return job_id

    def look(self, job_id: int) -> dict[str, Any]:
        """Return the job as the API shows it."""
        return self._client.get(f"/v1/jobs/{job_id}")

    def wait(self, seconds: float) -> None:
        """Return after so long, and soon: nobody says when the job has ended."""
        time.sleep(min(seconds, _POLL_S))


def index(arguments: Namespace, settings: Settings) -> int:
    """Index a repository and print the figures of the run."""
    location = arguments.source
    if os.path.exists(location):
        location = os.path.realpath(location)
    # If its owner ends, what it had queued for us is in the ledger; whoever comes next goes on.
    counts = persist(lambda: _index(settings, location, arguments.name, arguments.ref))
    if arguments.json:
        print(json.dumps(counts))
    else:
        print_figures(counts)
    return 0


def _index(settings: Settings, location: str, name: str | None, ref: str | None) -> dict[str, Any]:
    with _jobs(settings) as jobs:
        return _follow(jobs, jobs.submit(location, name, ref))


def _follow(jobs: _Jobs, job_id: int) -> dict[str, Any]:
    visible = sys.stderr.isatty()
    with progress_bar(visible=visible) as advance:
        while (job := jobs.look(job_id))["state"] not in _ENDED:
            job_id = job["counts"].get("successor", job_id)
            advance(job["progress"])
            jobs.wait(_POLL_S if visible else _POLL_UNSEEN_S)
    if job["state"] != JobState.DONE:
        code = job["counts"].get("code", "")
        raise ERRORS.get(code, QuarryError)(job["error"] or f"job {job_id} was {job['state']}")
    counts: dict[str, Any] = job["counts"]
    return counts


@contextmanager
def _jobs(settings: Settings) -> Iterator[_Jobs]:
    zygote = Zygote(settings)
    try:
        access = reach(settings, "index")
        if isinstance(access, OwnerClient):
            yield _RemoteJobs(access)
            return
        with _runner(access, zygote) as runner:
            yield _LocalJobs(access, runner)
    finally:
        zygote.close()


@contextmanager
def _runner(owner: Owner, zygote: Zygote) -> Iterator[Any]:
    from services.embedded.jobs import JobRunner

    runner = JobRunner(owner, zygote)
    try:
        with _socket(owner, runner):
            runner.start(resume=False)
            yield runner
            runner.finish()
    finally:
        runner.stop()
        owner.close()


@contextmanager
def _socket(owner: Owner, runner: Any) -> Iterator[None]:
    servers: list[Any] = []
    over = threading.Event()

    def start() -> None:
        from services.embedded.server import open_socket

        try:
            if _is_worth_a_socket(owner, over):
                servers.append(open_socket(owner, runner))
        except Exception as error:
            # The index goes on without; others wait for its end.
            log.warning("socket_not_opened", extra={"error": str(error)})

    thread = threading.Thread(target=start, name="socket-opener", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for server in servers:
            server.stop()


def _is_worth_a_socket(owner: Owner, over: threading.Event) -> bool:
    """Wait until a job has work to do, or takes long to find out; False if it is over before."""
    deadline = time.monotonic() + _LOOKING_S
    while not over.wait(_SOCKET_AFTER_S):
        if owner.ledger.jobs(states=STARTED_STATES) or time.monotonic() > deadline:
            return True
    return False
