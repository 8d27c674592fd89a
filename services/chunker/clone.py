"""Planning a job where nobody shares a disk: fetch the revision, compare, and store what is to be chunked."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from services.chunker import mirror
from services.chunker.plan import batches, make_plan
from services.chunker.source import Limits, open_source
from services.chunker.source_pack import write_source_pack
from services.core.catalog import Catalog, Repo
from services.core.errors import Unavailable, Unreachable
from services.core.ledger import Job, JobState, Ledger
from services.core.manifest import Manifest
from services.core.model import Message
from services.core.ports import BlobStore, Emit, Source

# How many workers a job is cut for, each of which gets several batches. A batch costs 45 ms of CPU time over
# all processes whatever is in it: claims, messages, requests to the stores.
_WORKERS = 4


class Servers(Protocol):
    """Where repositories are."""

    def tip(self, repo: Repo) -> str | None:
        """Return the commit that the ref of a repository names now, None if there is no such ref."""

    def fetch(self, repo: Repo, ref: str) -> tuple[str, AbstractContextManager[Source]]:
        """Return the commit that a ref of a repository names now, and its files."""


@dataclass(frozen=True, slots=True)
class GitServers:
    """`Servers` whose repositories are mirrored in `folder`.

    allow_hosts: those that may be fetched from although their addresses are private.
    """

    folder: Path
    limits: Limits
    allow_hosts: frozenset[str]

    def tip(self, repo: Repo) -> str | None:
        """Ask what the ref of a repository names now; nothing is fetched.

        Raises:
            Unavailable: the server does not answer or refuses.
            InvalidRequest: its address must not be asked.
        """
        return mirror.ls_remote(repo.source, repo.ref, allow_hosts=self.allow_hosts)

    def fetch(self, repo: Repo, ref: str) -> tuple[str, AbstractContextManager[Source]]:
        """Fetch what `ref` names now.

        Raises:
            Unreachable: the server does not answer or refuses.
            InvalidRequest: there is no such ref.
        """
        try:
            folder, revision = mirror.fetch(repo.source, self.folder, ref, allow_hosts=self.allow_hosts)
        except Unavailable as error:
            # Also what is private or gone: forges say no more.
            raise Unreachable(str(error)) from error
        return revision, open_source("url", folder, revision, self.limits)


@dataclass(frozen=True, slots=True)
class Cloner:
    """What planning needs; `catalog` must be that of the schema that is planned for."""

    ledger: Ledger
    catalog: Catalog
    blobs: BlobStore
    servers: Servers
    batch_bytes: int

    def plan(self, job: Job, schema: str, emit: Emit) -> None:
        """Bring a queued job to running, with everything stored that its chunkers need; or end it, if nothing changed.

        Raises:
            Unreachable: the repository can't be fetched.
            InvalidRequest: it has no such ref, or the job is somebody else's by now.
            Unavailable: one of our own servers does not answer.
        """
        repo = self.catalog.get(job.repo)
        self.catalog.looked_at(repo.name)
        revision, tree = self.servers.fetch(repo, job.ref)
        with tree as source:
            if (repo.revision, repo.ref) == (revision, job.ref):
                self._nothing_to_do(job, repo)
                return
            self._start(job, repo, revision, schema, source)
        started = [Message("chunk", batch.id) for batch in self.ledger.batches(job.id)]
        for message in started or [Message("commit", job.id)]:
            emit(message)

    def _start(self, job: Job, repo: Repo, revision: str, schema: str, source: Source) -> None:
        refs, skipped = source.files()
        base = Manifest.load(self.blobs, repo.manifest) if repo.manifest else None
        plan = make_plan(repo.name, refs, skipped, base, source)
        kept = Manifest(repo.name, revision, schema, tuple(plan.keep), tuple(plan.skipped))
        parts = batches(plan.chunk, workers=_WORKERS, batch_bytes=self.batch_bytes)
        self.ledger.start_job(
            job.id,
            revision=revision,
            schema=schema,
            plan=kept.store(self.blobs),
            first=base is None,
            holder=job.holder,
            batches=parts,
            sources=[self.blobs.put(write_source_pack(part, source.read(part))) for part in parts],
        )

    def _nothing_to_do(self, job: Job, repo: Repo) -> None:
        manifest = Manifest.load(self.blobs, repo.manifest)
        counts: dict[str, Any] = {
            "files": len(manifest.files),
            "changed": 0,
            "chunks": manifest.chunks,
            "embedded": 0,
            "cached": 0,
            "skipped": manifest.skip_counts(),
        }
        self.ledger.finish_job(job.id, JobState.DONE, counts=counts, holder=job.holder)
