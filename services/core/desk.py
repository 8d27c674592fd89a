"""A worker's desk: what it needs for every message, and what becomes of a row when the work on it fails."""

import logging
import os
import random
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine

from services.core.catalog import Catalog, Schema
from services.core.database import open_database
from services.core.errors import InvalidRequest, NotFound, QuarryError, Unavailable
from services.core.keeper import Hold, kept
from services.core.leases import Leases, Priority
from services.core.ledger import OPEN_STATES, Batch, BatchState, Job, JobState, Ledger
from services.core.model import Message
from services.core.ports import BlobStore, Emit
from services.core.sender import Publish, Sender
from services.core.settings import Settings
from services.core.wiring import open_served_blobs

log = logging.getLogger(__name__)

# By stage: what is done with the key of a message.
Tasks = Mapping[str, Callable[[Any, Priority], None]]

# How long something rests that could not be done: twice as long after each failure, with jitter.
_PAUSE_S = 5.0
_MAX_PAUSE_S = 60.0


@dataclass
class Desk:
    """The parts are opened when first used: after the fork, in the process that uses them."""

    settings: Settings
    publish: Publish

    @cached_property
    def holder(self) -> str:
        """Who holds what this process works on."""
        return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"

    @cached_property
    def engine(self) -> Engine:
        """The ledger's database."""
        return open_database(self.settings.database_url)

    @cached_property
    def ledger(self) -> Ledger:
        """Jobs and batches."""
        return Ledger(self.engine)

    @cached_property
    def leases(self) -> Leases:
        """Claims on them."""
        return Leases(self.engine)

    @cached_property
    def catalog(self) -> Catalog:
        """Every repository, whatever the schema."""
        return Catalog(self.engine)

    @cached_property
    def blobs(self) -> BlobStore:
        """Packs, vectors and manifests."""
        return open_served_blobs(self.settings)

    @cached_property
    def sender(self) -> Sender:
        """Where messages go."""
        return Sender(self.publish, self.leases, self.settings.resend_s)

    def active_schema(self) -> Schema:
        """Return what is indexed for now.

        Raises:
            Unavailable: no embedder has said so yet.
        """
        schemas = self.catalog.schemas()
        if not schemas:
            raise Unavailable("no embedder has started yet, so it is not known which model to index for")
        return schemas[0]

    def schema(self, name: str) -> Schema:
        """Return a schema.

        Raises:
            InvalidRequest: it was dropped.
        """
        for schema in self.catalog.schemas():
            if schema.name == name:
                return schema
        raise InvalidRequest(f"schema {name!r} was dropped; index the repository again")

    def send(self, stage: str, key: int | str, priority: Priority) -> None:
        """Send one message."""
        self.sender.send([Message(stage, key)], priority)

    def on_batch(
        self, batch_id: int, state: BatchState, priority: Priority, work: Callable[[Hold, Emit], None]
    ) -> None:
        """Do `work` on a batch if it is in `state` and free; a failure is counted and kept, never raised."""
        with _left_to_the_sweeper("batch", batch_id):
            if not self.leases.claim_batch(batch_id, state, self.holder, self.settings.lease_s):
                log.info("batch_passed_over", extra={"batch": batch_id, "state": state.value})
                return
            try:
                with self._kept(self.leases.keep_batch, batch_id) as hold:
                    work(hold, self.sender.emit(priority))
            except Unavailable as error:
                log.warning("batch_waits", extra={"batch": batch_id, "error": str(error)})
                self.leases.release_batch(batch_id, self.holder, wait_s=_pause(0), error=str(error))
            except Exception as error:  # whatever it is, it is the batch's fault until shown otherwise
                log.warning("batch_failed", extra={"batch": batch_id}, exc_info=not isinstance(error, QuarryError))
                wait_s = _pause(self.ledger.batch(batch_id).attempts)
                self.fail_batch(batch_id, _reason(error), priority, holder=self.holder, wait_s=wait_s)

    def on_job(
        self, job_id: int, states: Sequence[JobState], priority: Priority, work: Callable[[Job, Hold, Emit], None]
    ) -> None:
        """Do `work` on a job if it is in one of `states` and free; a failure is counted and kept, never raised."""
        with _left_to_the_sweeper("job", job_id):
            try:
                job = self.leases.claim_job(job_id, states, self.holder, self.settings.lease_s)
            except NotFound:
                job = None
            if job is None:
                log.info("job_passed_over", extra={"job": job_id})
                return
            try:
                with self._kept(self.leases.keep_job, job_id) as hold:
                    work(job, hold, self.sender.emit(priority))
            except Unavailable as error:
                log.warning("job_waits", extra={"job": job_id, "error": str(error)})
                self.leases.release_job(job_id, self.holder, wait_s=_pause(0), error=str(error), counted=False)
            except Exception as error:
                log.warning("job_attempt_failed", extra={"job": job_id}, exc_info=not isinstance(error, QuarryError))
                self._failed(job, error, priority)
            else:
                self.leases.release_job(job_id, self.holder, wait_s=0.0, error="", counted=False)

    def fail_batch(self, batch_id: int, error: str, priority: Priority, *, holder: str, wait_s: float = 0.0) -> None:
        """Count a failed attempt at a batch of `holder`'s, "" for nobody's; too many end its job."""
        batch = self.ledger.failed(batch_id, error, self.settings.max_attempts, holder=holder, wait_s=wait_s)
        if batch.state is BatchState.DEAD:
            self.give_up(batch, priority)

    def give_up(self, batch: Batch, priority: Priority) -> None:
        """End the job of a dead batch, for the reason that the batch died of."""
        files = f"batch {batch.id} ({batch.file_count} files)"
        reason = f"{files} failed {batch.attempts} times, the last with: {batch.error}"
        self.fail_job(batch.job, QuarryError(reason), priority)

    def fail_job(self, job_id: int, error: QuarryError, priority: Priority, *, holder: str | None = None) -> None:
        """End a job that can't go on, have what it wrote removed, and begin the next of its repository.

        One that has ended already, or a `holder` is given for and another has, is left as it is.
        """
        counts = {"code": error.code}
        try:
            self.ledger.finish_job(job_id, JobState.FAILED, error=str(error), counts=counts, holder=holder)
        except InvalidRequest as refusal:
            log.info("job_passed_over", extra={"job": job_id, "reason": str(refusal)})
            return
        job = self.ledger.job(job_id)
        log.warning("job_failed", extra={"job": job_id, "repo": job.repo, "error": str(error)})
        if self.leases.may_be_cleaned(job_id, self.settings.search_grace_s):
            self.send("clean", job_id, priority)
        self.begin_next(job.repo)

    def begin_next(self, repo: str) -> None:
        """Send the next queued job of a repository on its way."""
        for job in self.ledger.jobs(repo, (JobState.QUEUED,))[:1]:
            self.send("plan", job.id, Priority(job.priority))

    def _failed(self, job: Job, error: Exception, priority: Priority) -> None:
        """Count a failed attempt; too many end the job, or one if nothing but a change of the request can help."""
        wait_s = _pause(job.attempts)
        attempts = self.leases.release_job(job.id, self.holder, wait_s=wait_s, error=_reason(error))
        hopeless = isinstance(error, InvalidRequest) or (attempts or 0) >= self.settings.max_attempts
        if attempts is not None and hopeless and job.state in OPEN_STATES:
            known = error if isinstance(error, QuarryError) else QuarryError(_reason(error))
            # Unless somebody has begun another attempt since.
            self.fail_job(job.id, known, priority, holder="")

    def _kept(self, keep: Callable[[int, str, float], bool], key: int) -> AbstractContextManager[Hold]:
        lease_s = self.settings.lease_s
        return kept(lambda: keep(key, self.holder, lease_s), lease_s)


@contextmanager
def _left_to_the_sweeper(kind: str, key: int) -> Iterator[None]:
    """Pass over a ledger that does not answer: whatever lease was taken passes, and the row is sent again.

    So for a row that has been deleted meanwhile, which nobody sends again.
    """
    try:
        yield
    except (Unavailable, NotFound) as error:
        log.warning("message_dropped", extra={kind: key, "error": str(error)})


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, QuarryError) else f"{type(error).__name__}: {error}"


def _pause(attempts: int) -> float:
    return float(min(_PAUSE_S * 2**attempts, _MAX_PAUSE_S)) * random.uniform(0.5, 1.5)
