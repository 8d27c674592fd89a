"""The rows of the ledger as the code sees them: jobs, batches, the states they go through, and sums over them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    """queued → running → done or failed; interrupted ones go on where they stopped.

    One that can't, because the repository has changed since, is superseded by another (`counts["successor"]`).
    """

    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    SUPERSEDED = "superseded"
    DONE = "done"
    FAILED = "failed"


OPEN_STATES = (JobState.QUEUED, JobState.RUNNING, JobState.INTERRUPTED)
STARTED_STATES = (JobState.RUNNING, JobState.INTERRUPTED)


class Cleanup(StrEnum):
    """Points a job still has to remove: those it replaced, or its own that never went live."""

    NOTHING = ""
    RETIRED = "retired"
    STAGED = "staged"


class BatchState(StrEnum):
    """planned → chunked → embedded → indexed; or dead after too many attempts."""

    PLANNED = "planned"
    CHUNKED = "chunked"
    EMBEDDED = "embedded"
    INDEXED = "indexed"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `jobs`."""

    id: int
    repo: str
    state: JobState
    revision: str
    schema: str
    plan: str
    ref: str
    first: bool
    cleanup: Cleanup
    error: str
    counts: dict[str, Any]
    created_at: float
    finished_at: float | None
    priority: str = "bulk"
    lease_until: float = 0.0
    holder: str = ""
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """One row of `batches`, without its lists of files."""

    id: int
    job: int
    state: BatchState
    attempts: int
    error: str
    file_count: int
    source_bytes: int
    suspects: dict[str, str]
    pack: str
    vectors: str
    chunks: int
    embedded: int
    cached: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Sums over a job's batches: how many files and chunks there are and how far they got.

    A file is embedded before it is indexed and stays counted as such.
    """

    files: int = 0
    files_embedded: int = 0
    files_indexed: int = 0
    chunks: int = 0
    embedded: int = 0
    cached: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class Fences:
    """Generations a search must not see: not live yet, and whose replaced points are not purged yet."""

    staged: tuple[int, ...] = field(default=())
    retired: tuple[int, ...] = field(default=())
