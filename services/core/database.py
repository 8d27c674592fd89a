"""The catalog and ledger database: SQLite in the embedded mode, the same code on PostgreSQL."""

import sqlite3
import time
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.engine import ExceptionContext

from services.core.errors import CorruptData, InvalidRequest, Unavailable

# Raised whenever a table changes; an older or newer database is refused, never guessed at.
SCHEMA_VERSION = 2

metadata = MetaData()

meta = Table("meta", metadata, Column("version", Integer, primary_key=True))

repos = Table(
    "repos",
    metadata,
    Column("name", String, primary_key=True),
    Column("kind", String, nullable=False),  # git, directory
    Column("source", Text, nullable=False),  # path or URL
    Column("ref", String, nullable=False),  # "" for the default branch or a directory
    Column("revision", String, nullable=False, default=""),  # "" until the first commit
    Column("manifest", String, nullable=False, default=""),
    Column("schema", String, nullable=False, default=""),
    Column("files", Integer, nullable=False, default=0),
    Column("chunks", Integer, nullable=False, default=0),
    Column("created_at", Float, nullable=False),
    Column("indexed_at", Float),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),  # also the generation of the points it writes
    Column("repo", String, nullable=False, index=True),
    Column("state", String, nullable=False, index=True),  # see ledger.JobState
    Column("revision", String, nullable=False, default=""),
    Column("schema", String, nullable=False, default=""),
    Column("plan", String, nullable=False, default=""),  # manifest of what is kept and skipped
    Column("ref", String, nullable=False, default=""),
    Column("first", Boolean, nullable=False, default=False),
    Column("cleanup", String, nullable=False, default="", index=True),  # see ledger.Cleanup
    Column("error", Text, nullable=False, default=""),
    Column("counts", Text, nullable=False, default="{}"),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    sqlite_autoincrement=True,  # a number is never used again: points carry it
)

batches = Table(
    "batches",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job", Integer, ForeignKey("jobs.id"), nullable=False),
    Column("state", String, nullable=False),  # see ledger.BatchState
    Column("attempts", Integer, nullable=False, default=0),
    Column("lease_until", Float, nullable=False, default=0.0),
    Column("error", Text, nullable=False, default=""),
    Column("files", LargeBinary, nullable=False),  # zlib JSON: what to chunk
    Column("file_count", Integer, nullable=False),
    Column("source_bytes", BigInteger, nullable=False),
    Column("suspects", Text, nullable=False, default="{}"),  # locator -> ParseNote: don't parse again
    Column("skipped", LargeBinary),  # zlib JSON: files left out while chunking
    Column("pack", String, nullable=False, default=""),
    Column("vectors", String, nullable=False, default=""),
    Column("result", LargeBinary),  # zlib JSON: rows of the manifest
    Column("chunks", Integer, nullable=False, default=0),
    Column("embedded", Integer, nullable=False, default=0),
    Column("cached", Integer, nullable=False, default=0),
    Index("batches_job_state", "job", "state"),
    sqlite_autoincrement=True,  # a late message must not mean another batch
)


def open_database(path: Path) -> Engine:
    """Open the SQLite database at `path`, creating it if it is missing.

    Raises:
        CorruptData: the file is not a database, or damaged; so does everything done with the engine.
        Unavailable: it is locked for long, or its disk is full or can't be written; likewise.
        InvalidRequest: it was written by another version of Quarry.
    """
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "handle_error", _translate)
    metadata.create_all(engine)
    with engine.begin() as db:
        version = db.execute(select(meta.c.version)).scalar()
        if version is None:
            db.execute(insert(meta).values(version=SCHEMA_VERSION))
            version = SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        raise InvalidRequest(
            f"database {str(path)!r} has version {version}, this Quarry reads {SCHEMA_VERSION}; "
            "use the Quarry that wrote it, or another QUARRY_HOME"
        )
    return engine


def now() -> float:
    """Return seconds since the epoch."""
    return time.time()


def _translate(context: ExceptionContext) -> None:
    original = context.original_exception
    name = context.engine.url.database if context.engine else ""
    if isinstance(original, sqlite3.OperationalError):
        raise Unavailable(f"database {name!r} can't be used: {original}") from original
    if type(original) is sqlite3.DatabaseError:
        raise CorruptData(f"database {name!r} is damaged: {original}; move it away and index again") from original


def _set_pragmas(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    # FULL: a commit that was acknowledged survives a power cut; commits are few.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
