"""From a revision to its being live: plan, have batches chunked and embedded, index them, commit."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from services.chunker.plan import batches, make_plan
from services.core.catalog import Repo
from services.core.errors import QuarryError, Unavailable
from services.core.ledger import STARTED_STATES, BatchState, Job, Progress
from services.core.manifest import Manifest, ManifestFile
from services.embedded.owner import Owner
from services.embedded.pool import Order, Outcome, WorkerPool
from services.embedded.revision import Revision
from services.indexer.commit import commit
from services.indexer.stage import LiveFiles, acknowledge, index, live_files

# How much work a kill may cost; each acknowledgement flushes the vector store.
_ACKNOWLEDGE_EVERY_S = 10.0

Figures = Callable[[Manifest, Progress], dict[str, Any]]


class Pipeline:
    """The run of one job to one revision."""

    def __init__(self, owner: Owner, pool: WorkerPool, job: Job, revision: Revision) -> None:
        self.owner = owner
        self.pool = pool
        self.job = job
        self.revision = revision

    def run(self, figures: Figures) -> dict[str, Any]:
        """Index what changed and make it live; `figures` makes the counts that are kept with the job.

        Raises:
            QuarryError: a batch failed too often, or something needed is not available.
        """
        if self.job.state not in STARTED_STATES:
            self._plan()
        self._work()
        self._refuse_dead()
        return self._commit(figures)

    def _plan(self) -> None:
        self.pool.warm()
        self.owner.home.check_room()
        owner, repo, revision = self.owner, self.owner.catalog.get(self.job.repo), self.revision
        base = self._base(repo)
        if base is None:
            # The store may hold points of an earlier time that this schema was in use, or a damaged part of them.
            owner.catalog.forget_revision(repo.name)
            owner.vectors.purge(repo=repo.name)
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

    def _base(self, repo: Repo) -> Manifest | None:
        """Return the live manifest if its points are all there to build on."""
        owner = self.owner
        if not repo.manifest or repo.schema != owner.schema:
            return None
        manifest = Manifest.load(owner.blobs, repo.manifest)
        return manifest if owner.live_points(repo.name) == manifest.chunks else None

    def _work(self) -> None:
        self.owner.home.check_room()
        revision = self.revision
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
        owner.home.check_room()
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

    def _commit(self, figures: Figures) -> dict[str, Any]:
        owner = self.owner
        progress = owner.ledger.progress(self.job.id)
        kept = len(Manifest.load(owner.blobs, self.job.plan).files)

        def counts(manifest: Manifest) -> dict[str, Any]:
            return figures(manifest, replace(progress, files=len(manifest.files) - kept))

        return commit(
            self.job.id,
            ledger=owner.ledger,
            catalog=owner.catalog,
            blobs=owner.blobs,
            vectors=owner.vectors,
            barrier=owner.barrier.wait,
            figures=counts,
        )
