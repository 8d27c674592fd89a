"""What the indexer does with a message."""

import logging
from collections.abc import Callable
from functools import partial

from services.core.catalog import Catalog, Schema
from services.core.desk import Desk, Tasks
from services.core.keeper import Hold
from services.core.leases import Priority
from services.core.ledger import STARTED_STATES, BatchState, Job, JobState
from services.core.ports import Emit, VectorWriter
from services.core.wiring import create_bucket, open_collections
from services.indexer.commit import clean_up, go_live, remove
from services.indexer.served import AllStores, HeldStore, open_store
from services.indexer.stage import LiveFiles, acknowledge, index, live_files

log = logging.getLogger(__name__)


def indexer_tasks(desk: Desk, open_vectors: Callable[[Schema], VectorWriter] | None = None) -> Tasks:
    """Return the stages of the indexer, with the stores that `open_vectors` returns or those of the settings."""
    indexing = _Indexing(desk, open_vectors or partial(open_store, desk.settings))
    return {"index": indexing.index, "commit": indexing.commit, "clean": indexing.clean, "remove": indexing.remove}


def prepare(desk: Desk) -> None:
    """Make the bucket, and the collections of all schemas.

    What talks to the stores is loaded by that, once for all processes that are forked off.

    Raises:
        Unavailable: a store does not answer.
    """
    create_bucket(desk.settings)
    open_collections(desk.settings).close()
    for schema in desk.catalog.schemas():
        open_store(desk.settings, schema).close()


class _Indexing:
    def __init__(self, desk: Desk, open_vectors: Callable[[Schema], VectorWriter]) -> None:
        self._desk = desk
        self._open = open_vectors
        self._stores: dict[str, VectorWriter] = {}
        self._live: tuple[int, LiveFiles] = (0, {})

    def index(self, batch_id: int, priority: Priority) -> None:
        def work(hold: Hold, _emit: Emit) -> None:
            ledger, blobs = self._desk.ledger, self._desk.blobs
            job = ledger.job(ledger.batch(batch_id).job)
            store = HeldStore(self._store(job.schema), hold.check)
            files = index(batch_id, ledger=ledger, blobs=blobs, vectors=store, live=self._live_files(job))
            acknowledge({batch_id: files}, ledger=ledger, vectors=store)
            if self._desk.leases.is_indexed(job.id):
                self._desk.send("commit", job.id, priority)

        self._desk.on_batch(batch_id, BatchState.EMBEDDED, priority, work)

    def commit(self, job_id: int, priority: Priority) -> None:
        def work(job: Job, hold: Hold, _emit: Emit) -> None:
            catalog, store = Catalog(self._desk.engine, job.schema), HeldStore(self._store(job.schema), hold.check)
            go_live(job.id, ledger=self._desk.ledger, catalog=catalog, blobs=self._desk.blobs, vectors=store)
            self._desk.begin_next(job.repo)

        if self._desk.leases.is_indexed(job_id):
            self._desk.on_job(job_id, STARTED_STATES, priority, work)

    def clean(self, job_id: int, priority: Priority) -> None:
        def work(job: Job, hold: Hold, _emit: Emit) -> None:
            if job.schema in {schema.name for schema in self._desk.catalog.schemas()}:
                clean_up(job, ledger=self._desk.ledger, vectors=HeldStore(self._store(job.schema), hold.check))
            else:
                # Its collection was dropped with all its points.
                self._desk.ledger.cleaned(job.id)
            self._desk.begin_next(job.repo)

        # A search that began before the commit may still read what it replaced.
        if self._desk.leases.may_be_cleaned(job_id, self._desk.settings.search_grace_s):
            self._desk.on_job(job_id, (JobState.DONE, JobState.FAILED), priority, work)

    def remove(self, name: str, _priority: Priority) -> None:
        """Delete a repository that is being removed, once nobody writes its points any more."""
        catalog, leases = self._desk.catalog, self._desk.leases
        # Of two messages the later would delete what was added under the same name since.
        with leases.alone(name) as alone:
            if not alone or leases.is_worked_on(name):
                log.info("removal_passed_over", extra={"repo": name})
            elif name in {repo.name for repo in catalog.removing()}:
                everywhere = AllStores([self._store(schema.name) for schema in catalog.schemas()])
                remove(name, ledger=self._desk.ledger, catalog=catalog, vectors=everywhere)

    def _store(self, schema: str) -> VectorWriter:
        if schema not in self._stores:
            self._stores[schema] = self._open(self._desk.schema(schema))
        return self._stores[schema]

    def _live_files(self, job: Job) -> LiveFiles:
        # A batch after the other is of the same job, and a manifest of 80,000 files takes half a second to read.
        if self._live[0] != job.id:
            catalog = Catalog(self._desk.engine, job.schema)
            self._live = (job.id, live_files(job, catalog=catalog, blobs=self._desk.blobs))
        return self._live[1]
