"""The catalog and ledger database: SQLite in the embedded mode, the same code on PostgreSQL."""

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    Column,
    Connection,
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
    TypeDecorator,
    create_engine,
    event,
    false,
    func,
    insert,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from services.core.errors import CorruptData, InvalidRequest, Unavailable

# Raised whenever a table changes. `_MIGRATIONS` brings older databases here; a newer one is refused, never guessed at.
SCHEMA_VERSION = 3

# Any number; that of the lock under which the tables of a server are made.
_CREATION_LOCK = 7_150_421

metadata = MetaData()


class AnyText(TypeDecorator[str]):
    """Text that may hold whatever an error says: PostgreSQL takes no NUL, and neither database lone surrogates."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        """Return it with those escaped."""
        return value and value.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


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
    Column("webhook_secret", Text, nullable=False, default="", server_default=""),
    Column("looked_at", Float, nullable=False, default=0.0, server_default="0"),
    Column("removing", Boolean, nullable=False, default=False, server_default=false()),
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
    Column("error", AnyText, nullable=False, default=""),
    Column("counts", Text, nullable=False, default="{}"),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("priority", String, nullable=False, default="bulk", server_default="bulk"),  # see leases.Priority
    Column("lease_until", Float, nullable=False, default=0.0, server_default="0"),
    Column("holder", String, nullable=False, default="", server_default=""),  # who plans or commits it now
    Column("attempts", Integer, nullable=False, default=0, server_default="0"),
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
    Column("error", AnyText, nullable=False, default=""),
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
    Column("holder", String, nullable=False, default="", server_default=""),  # the worker that has it now
    Column("source", String, nullable=False, default="", server_default=""),  # blob of the files' contents, if packed
    Index("batches_job_state", "job", "state"),
    sqlite_autoincrement=True,  # a late message must not mean another batch
)

# What is live of a repository under each schema: while another model takes over, both are.
revisions = Table(
    "revisions",
    metadata,
    Column("repo", String, primary_key=True),
    Column("schema", String, primary_key=True),
    Column("ref", String, nullable=False),
    Column("revision", String, nullable=False),
    Column("manifest", String, nullable=False),
    Column("files", Integer, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("indexed_at", Float, nullable=False),
)

schemas = Table(
    "schemas",
    metadata,
    Column("name", String, primary_key=True),
    Column("dim", Integer, nullable=False),
    Column("registered_at", Float, nullable=False),  # the newest is the one that is indexed for
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String, primary_key=True),  # forge and the id it gave the webhook
    Column("received_at", Float, nullable=False),
    Column("job", Integer, nullable=False, default=0),  # 0: nothing was to be done
)

# Version of the database -> columns that came after it: table, column, type and default.
_MIGRATIONS: dict[int, tuple[tuple[str, str, str], ...]] = {
    2: (
        ("repos", "webhook_secret", "TEXT NOT NULL DEFAULT ''"),
        ("repos", "looked_at", "FLOAT NOT NULL DEFAULT 0"),
        ("repos", "removing", "BOOLEAN NOT NULL DEFAULT false"),
        ("jobs", "priority", "VARCHAR NOT NULL DEFAULT 'bulk'"),
        ("jobs", "lease_until", "FLOAT NOT NULL DEFAULT 0"),
        ("jobs", "holder", "VARCHAR NOT NULL DEFAULT ''"),
        ("jobs", "attempts", "INTEGER NOT NULL DEFAULT 0"),
        ("batches", "holder", "VARCHAR NOT NULL DEFAULT ''"),
        ("batches", "source", "VARCHAR NOT NULL DEFAULT ''"),
    ),
}


def open_database(where: Path | str) -> Engine:
    """Open the SQLite database at a path, or the database at an SQLAlchemy URL, creating what is missing.

    Raises:
        CorruptData: the file is not a database, or damaged; so does everything done with the engine.
        Unavailable: it is locked for long, or its disk is full or can't be written; likewise.
        InvalidRequest: it was written by another version of Quarry.
    """
    is_url = isinstance(where, str) and "://" in where
    url = make_url(str(where)) if is_url else URL.create("sqlite", database=str(where))
    engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _server(url)
    event.listen(engine, "handle_error", _translate)
    try:
        _prepare(engine, url)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _prepare(engine: Engine, url: URL) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Several processes start at once; the tables are made by one.
            connection.execute(select(func.pg_advisory_xact_lock(_CREATION_LOCK)))
        elif not _is_current(connection):
            # All of it or nothing, and by one process: the driver begins no transaction for such statements.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        metadata.create_all(connection)
        _bring_up_to_date(connection, url.render_as_string(hide_password=True))


def _is_current(connection: Connection) -> bool:
    there = inspect(connection).has_table(meta.name)
    return there and connection.execute(select(meta.c.version)).scalar() == SCHEMA_VERSION


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30})
    event.listen(engine, "connect", _set_pragmas)
    return engine


def _server(url: URL) -> Engine:
    # A connection that the server or a firewall has dropped is noticed before it is used, and a server
    # that has gone while it is: a lease can't be kept by a thread that waits for ever.
    given_up = {"connect_timeout": 5, "tcp_user_timeout": 15_000, "keepalives_idle": 10, "keepalives_interval": 5}
    return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20, connect_args=given_up)


def _bring_up_to_date(connection: Connection, name: str) -> None:
    version = connection.execute(select(meta.c.version)).scalar()
    if version is None:
        connection.execute(insert(meta).values(version=SCHEMA_VERSION))
        return
    while version in _MIGRATIONS:
        for table, column, kind in _MIGRATIONS[version]:
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column} {kind}"))
        version += 1
        connection.execute(update(meta).values(version=version))
    if version != SCHEMA_VERSION:
        raise InvalidRequest(
            f"database {name!r} has version {version}, this Quarry reads {SCHEMA_VERSION}; "
            "use the Quarry that wrote it, or another QUARRY_HOME"
        )


def now() -> float:
    """Return seconds since the epoch by this machine's clock, for people to read."""
    return time.time()


class clock(FunctionElement[float]):  # noqa: N801 - an SQL function
    """Seconds since the epoch by the database's clock: leases must not depend on the workers' clocks."""

    type = Float()
    inherit_cache = True


@compiles(clock)
def _server_clock(_element: clock, _compiler: Any, **_options: Any) -> str:
    return "extract(epoch from clock_timestamp())"


@compiles(clock, "sqlite")
def _sqlite_clock(_element: clock, _compiler: Any, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


def _translate(context: ExceptionContext) -> None:
    original = context.original_exception
    name = context.engine.url.database if context.engine else ""
    if context.engine is not None and context.engine.dialect.name == "postgresql":
        if isinstance(context.sqlalchemy_exception, OperationalError | InterfaceError):
            raise Unavailable(f"database {name!r} does not answer: {original}; is PostgreSQL up?") from original
        return
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
