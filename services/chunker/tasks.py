"""What the cloner and the chunker do with a message."""

from functools import cached_property

from services.chunker.clone import Cloner, GitServers, Servers
from services.chunker.isolated import IsolatedSplitter
from services.chunker.look import look
from services.chunker.source import Limits
from services.chunker.source_pack import PackedSource
from services.chunker.stage import SplitText, chunk
from services.core.catalog import Catalog
from services.core.desk import Desk, Tasks
from services.core.keeper import Hold
from services.core.leases import Priority
from services.core.ledger import BatchState, Job, JobState
from services.core.ports import Emit
from services.core.wiring import open_served_blobs


def cloner_tasks(desk: Desk, servers: Servers | None = None) -> Tasks:
    """Return the stages of the cloner, which fetches from the given servers or from those of git."""
    cloning = _Cloning(desk, servers)
    return {"plan": cloning.plan, "look": cloning.look}


def chunker_tasks(desk: Desk, split: SplitText | None = None) -> Tasks:
    """Return the stage of the chunker, which splits by `split` or in a process of its own."""
    return {"chunk": _Chunking(desk, split).chunk}


def prepare(desk: Desk) -> None:
    """Load what talks to the object store, once for all processes that are forked off."""
    open_served_blobs(desk.settings)


class _Cloning:
    def __init__(self, desk: Desk, servers: Servers | None) -> None:
        settings = desk.settings
        limits = Limits(max_file_bytes=settings.max_file_bytes)
        self._desk = desk
        self._servers = servers or GitServers(settings.home / "mirrors", limits, settings.allowed_git_hosts)

    def plan(self, job_id: int, priority: Priority) -> None:
        def work(job: Job, _hold: Hold, emit: Emit) -> None:
            schema = self._desk.active_schema().name
            self._cloner(schema).plan(job, schema, emit)
            if self._desk.ledger.job(job.id).state is JobState.DONE:
                self._desk.begin_next(job.repo)

        self._desk.on_job(job_id, (JobState.QUEUED,), priority, work)

    def look(self, name: str, priority: Priority) -> None:
        look(name, self._desk, self._servers, priority)

    def _cloner(self, schema: str) -> Cloner:
        desk = self._desk
        catalog = Catalog(desk.engine, schema)
        return Cloner(desk.ledger, catalog, desk.blobs, self._servers, desk.settings.batch_bytes)


class _Chunking:
    def __init__(self, desk: Desk, split: SplitText | None) -> None:
        self._desk = desk
        self._split = split

    @cached_property
    def _splitter(self) -> SplitText:
        return self._split or IsolatedSplitter(self._desk.settings.parse_timeout_s)

    def chunk(self, batch_id: int, priority: Priority) -> None:
        def work(_hold: Hold, emit: Emit) -> None:
            ledger, blobs = self._desk.ledger, self._desk.blobs
            source = PackedSource(blobs, ledger.batch(batch_id).source)
            chunk(batch_id, ledger=ledger, blobs=blobs, source=source, emit=emit, split=self._splitter)

        self._desk.on_batch(batch_id, BatchState.PLANNED, priority, work)
