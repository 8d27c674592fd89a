"""A repository's place in the ledger: while it is taken, no worker begins, commits or removes anything of it.

It is a job like any other, held as one that is being planned. If its holder is killed, the sweeper
frees it like any other, and what becomes of it is a look at the repository.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from services.core.desk import Desk
from services.core.errors import InvalidRequest, Unavailable
from services.core.keeper import Hold, kept
from services.core.leases import Priority
from services.core.ledger import OPEN_STATES, Cleanup, Job, JobState

_RETRY_S = 0.5
# Workers may be given minutes; whoever repeats a command that was killed should not have to wait for them.
_LEASE_S = 30.0


class PlaceTaken(Unavailable):
    """Somebody works on the repository, and has not come to an end."""


class PlaceLost(Unavailable):
    """Somebody else has ended the job, or the lease has passed."""


@dataclass
class Place:
    """The place while it is held.

    goes_on: whether the job becomes an ordinary index when the place is left.
    """

    job: Job
    desk: Desk
    hold: Hold
    goes_on: bool

    def check(self) -> None:
        """Return if the place is still held; asks the ledger, as a removal of the repository ends its jobs.

        Raises:
            PlaceLost: it is not.
        """
        try:
            self.hold.check()
        except Unavailable as error:
            raise PlaceLost(str(error)) from error
        if not self.desk.leases.keep_job(self.job.id, self.desk.holder, _LEASE_S):
            raise PlaceLost(f"job {self.job.id} of {self.job.repo!r} was ended by somebody else, by a removal perhaps")


@contextmanager
def taken(repo: str, ref: str, desk: Desk, *, wait_s: float) -> Iterator[Place]:
    """Hold the place of a repository; what is asked for meanwhile waits and is done afterwards.

    Raises:
        PlaceTaken: another job of it did not end within `wait_s`.
    """
    deadline = time.monotonic() + wait_s
    while True:
        # Against removals, which wait for the lock and not for this job: they end it.
        with desk.leases.alone(repo) as alone:
            place = _claimed(repo, ref, desk) if alone else None
            if place is not None:
                job, own = place
                with _kept(job, own, desk) as held:
                    yield held
                return
        if time.monotonic() >= deadline:
            raise PlaceTaken(_reason(repo, desk, wait_s))
        time.sleep(_RETRY_S)


def _claimed(repo: str, ref: str, desk: Desk) -> tuple[Job, bool] | None:
    """Return a job that is held now, and whether nobody but us wants it; None if another is in the way."""
    if _in_the_way(repo, desk):
        return None
    job, new = desk.leases.request_job(repo, ref, Priority.BULK, max_open=sys.maxsize)
    claimed = desk.leases.claim_job(job.id, (JobState.QUEUED,), desk.holder, _LEASE_S)
    if claimed is None:
        return None
    # A person or a webhook that joined it before it was claimed has raised its priority. A poll has not,
    # and comes again.
    return claimed, new and claimed.priority == Priority.BULK


def _in_the_way(repo: str, desk: Desk) -> list[Job]:
    busy = [job for job in desk.ledger.jobs(repo, OPEN_STATES) if job.state is not JobState.QUEUED or job.holder]
    return busy + desk.ledger.jobs(repo, cleanups=(Cleanup.STAGED,))


@contextmanager
def _kept(job: Job, own: bool, desk: Desk) -> Iterator[Place]:
    place = None
    try:
        with kept(lambda: desk.leases.keep_job(job.id, desk.holder, _LEASE_S), _LEASE_S) as hold:
            place = Place(job, desk, hold, goes_on=not own)
            yield place
    except (Exception, KeyboardInterrupt) as error:
        reason = str(error) or type(error).__name__
        _leave(job, desk, goes_on=not own, state=JobState.FAILED, error=f"rebuilding was cut short: {reason}")
        raise
    _leave(job, desk, goes_on=place.goes_on, state=JobState.DONE, error="")


def _leave(job: Job, desk: Desk, *, goes_on: bool, state: JobState, error: str) -> None:
    # A ledger that does not answer: the lease passes. A job that was ended meanwhile: so it is.
    with suppress(InvalidRequest, Unavailable):
        if goes_on:
            desk.leases.release_job(job.id, desk.holder, wait_s=0.0, error="", counted=False)
        else:
            desk.ledger.finish_job(job.id, state, error=error, holder=desk.holder)


def _reason(repo: str, desk: Desk, wait_s: float) -> str:
    jobs = [f"job {job.id} of it is {job.cleanup or job.state.value}" for job in _in_the_way(repo, desk)]
    what = jobs[0] if jobs else "it is being removed or rebuilt"
    return f"repository {repo!r} is not free after {wait_s:.0f} s: {what}; are the workers running? try again later"
