"""The embedding cache: vectors by (model, digest of the text) in one SQLite file that processes share.

A cache may forget: it never waits for the disk, and whatever goes wrong with its file costs only
what it knew. Every row carries a checksum, so that a flipped bit is a miss and not a wrong vector.
"""

import json
import logging
import math
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from blake3 import blake3

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
# key, slot, used, crc, row; the last two may be anything in a damaged file.
_Entry = tuple[int, int, int, int, bytes]

# Raised whenever the tables change; a file of another version is replaced.
_VERSION = 1
# `keys` is small, so that a miss, and the search for what was used least recently, touch little of
# the file. Rows lie in `slots` in the order they came; what is evicted leaves its slot to others.
_SCHEMA = f"""
CREATE TABLE keys
    (key INTEGER PRIMARY KEY, slot INTEGER NOT NULL, used INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE slots (slot INTEGER PRIMARY KEY, crc INTEGER NOT NULL, row BLOB NOT NULL);
CREATE TABLE free (slot INTEGER PRIMARY KEY);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('hits', 0), ('misses', 0), ('bytes', 0);
PRAGMA user_version = {_VERSION};
"""
_SELECT = (
    "SELECT key, keys.slot, used, crc, row FROM keys LEFT JOIN slots USING (slot)"
    " WHERE key IN (SELECT value FROM json_each(?))"
)
_KNOWN = "SELECT key FROM keys WHERE key IN (SELECT value FROM json_each(?))"
_FORGET = "DELETE FROM keys WHERE key = ? RETURNING slot, bytes"
_EVICT = "DELETE FROM keys WHERE key IN (SELECT key FROM keys ORDER BY used, slot LIMIT ?) RETURNING slot, bytes"
_REUSE = "DELETE FROM free WHERE slot IN (SELECT slot FROM free ORDER BY slot LIMIT ?) RETURNING slot"

# Bytes of an entry beside its row: its key, two record headers, and the unused end of each page.
# Measured 99 at 512-byte rows and 4 KiB pages; more makes the limit stricter, not wrong.
_ENTRY_BYTES = 110
# The part of the limit that goes when it is reached: so rarely that its cost doesn't show.
_EVICTED_SHARE = 0.1
# The part of the limit that entries may take: the rest is for tables and pages that are not full.
_FILLED_SHARE = 0.95
# Uses are told apart by the hour, so that an entry is written at most once an hour for being read.
_STAMP_S = 3600
_BUSY_TIMEOUT_S = 5.0
# Primary result codes that mean "not now"; any other means that the file is not what it should be.
_TRANSIENT = {
    sqlite3.SQLITE_BUSY: "another process holds it",
    sqlite3.SQLITE_LOCKED: "another process holds it",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk does not answer, or is full",
    sqlite3.SQLITE_READONLY: "it can't be written",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened",
    sqlite3.SQLITE_PERM: "it can't be opened",
}


class NullCache:
    """The cache that is switched off: it knows nothing."""

    def get(self, model: str, digests: Sequence[str]) -> dict[str, np.ndarray]:
        """Return nothing."""
        return {}

    def put(self, model: str, vectors: Mapping[str, np.ndarray]) -> None:
        """Do nothing."""

    def stats(self) -> dict[str, int | float]:
        """Return zeros."""
        return _stats(entries=0, size_bytes=0, limit_bytes=0, hits=0, misses=0)

    def clear(self) -> None:
        """Do nothing."""


class SqliteCache:
    """A cache in the file `path` that keeps it to `limit_bytes`; safe for threads and for processes.

    `clock` gives seconds since the epoch. Nothing here raises because of the file: a damaged one is
    replaced by an empty one, and what can't be stored is forgotten, both with a warning in the log.
    """

    def __init__(self, path: Path, limit_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._process = os.getpid()
        self._told: set[tuple[str, str]] = set()

    def get(self, model: str, digests: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the known ones, each float32[dim]."""
        wanted = _keys(model, digests)
        entries: list[_Entry] = self._run(lambda db: db.execute(_SELECT, (_listed(wanted),)).fetchall(), [])
        sound, broken = _sorted_out(entries)
        self._run(lambda db: self._note_use(db, sound, broken, len(wanted)), None)
        return dict(zip([wanted[entry[0]] for entry in sound], _unpacked([entry[4] for entry in sound]), strict=True))

    def put(self, model: str, vectors: Mapping[str, np.ndarray]) -> None:
        """Remember vectors, each float32[dim]; stored as float16. Those that the limit has no room for are not."""
        if vectors:
            rows = dict(zip(_keys(model, vectors), _packed(list(vectors.values())), strict=True))
            self._run(lambda db: self._store(db, rows), None)
            self._run(self._keep_to_limit, None)

    def stats(self) -> dict[str, int | float]:
        """Return entries, sizes and the hit rate since the last `clear`, of all processes together."""
        values = self._run(_read_stats, {"entries": 0, "size_bytes": 0, "hits": 0, "misses": 0})
        return _stats(limit_bytes=self._limit_bytes, **values)

    def clear(self) -> None:
        """Forget everything, give the space back, and count hits from zero."""
        self._run(_delete_all, None)
        self._run(_compact, None)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            if self._db is not None and self._process == os.getpid():
                self._db.close()
            self._db = None

    def _note_use(self, db: sqlite3.Connection, sound: list[_Entry], broken: list[_Entry], wanted: int) -> None:
        stamp = self._stamp()
        stale = [(stamp, entry[0]) for entry in sound if entry[2] < stamp]
        db.executemany("UPDATE keys SET used = ? WHERE key = ?", stale)
        for entry in broken:
            _release(db, db.execute(_FORGET, entry[:1]).fetchall())
        _count(db, hits=len(sound), misses=wanted - len(sound))

    def _store(self, db: sqlite3.Connection, rows: dict[int, bytes]) -> None:
        db.execute("BEGIN IMMEDIATE")
        known = {key for (key,) in db.execute(_KNOWN, (_listed(rows),))}
        fresh = [row for row in rows.items() if row[0] not in known]
        if not fresh:
            return
        size = len(fresh[0][1]) + _ENTRY_BYTES
        fresh = fresh[: self._make_room(db, len(fresh) * size) // size]
        slots = _take_slots(db, len(fresh))
        entries = [(slot, _crc(key, row), row) for slot, (key, row) in zip(slots, fresh, strict=True)]
        db.executemany("INSERT OR REPLACE INTO slots VALUES (?, ?, ?)", entries)
        stamp = self._stamp()
        places = sorted((key, slot, stamp, size) for slot, (key, _) in zip(slots, fresh, strict=True))
        db.executemany("INSERT INTO keys VALUES (?, ?, ?, ?)", places)
        _count(db, bytes=len(fresh) * size)

    def _make_room(self, db: sqlite3.Connection, wanted_bytes: int) -> int:
        """Evict if need be; return how many bytes of entries may be stored."""
        room = int(self._limit_bytes * _FILLED_SHARE) - _counter(db, "bytes")
        if room < wanted_bytes:
            entries = _number(db, "SELECT count(*) FROM keys")
            goal = max(wanted_bytes - room, int(self._limit_bytes * _EVICTED_SHARE))
            count = math.ceil(entries * goal / max(1, _counter(db, "bytes")))
            room += _release(db, db.execute(_EVICT, (count,)).fetchall())
        return max(0, min(wanted_bytes, room))

    def _keep_to_limit(self, db: sqlite3.Connection) -> None:
        """Pack the file again if it outgrew its entries: rows of another length fit evicted slots badly."""
        if _file_bytes(db) > self._limit_bytes:
            db.execute("DELETE FROM slots WHERE slot IN (SELECT slot FROM free)")
            db.execute("DELETE FROM free")
            _compact(db)

    def _stamp(self) -> int:
        return int(self._clock() // _STAMP_S)

    def _run(self, work: Callable[[sqlite3.Connection], _Result], otherwise: _Result) -> _Result:
        """Do `work` in a transaction; whatever SQLite says, answer at least `otherwise`."""
        with self._lock:
            try:
                with self._connection() as db:
                    return work(db)
            except sqlite3.ProgrammingError:
                raise
            except (sqlite3.Error, OSError) as error:
                self._recover(error)
                return otherwise

    def _connection(self) -> sqlite3.Connection:
        if self._process != os.getpid():
            # A connection must not be used, nor closed, on the other side of a fork.
            _inherited.append(self._db)
            self._db, self._process = None, os.getpid()
        if self._db is None:
            self._db = _open(self._path)
            self._opened = _identity(self._path)
        return self._db

    def _recover(self, error: Exception) -> None:
        reason = _TRANSIENT.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if isinstance(error, OSError) or reason:
            self._warn("embedding_cache_passed_over", reason or str(error))
            return
        self._warn("embedding_cache_replaced", str(error))
        self.close()
        # Another process may have replaced it already; its new file is not ours to remove.
        if self._opened in (None, _identity(self._path)):
            for suffix in ("-wal", "-shm", ""):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._opened = None

    def _warn(self, event: str, reason: str) -> None:
        """Warn once for each reason: a full disk would otherwise fill the log."""
        if (event, reason) not in self._told:
            self._told.add((event, reason))
            _log.warning(event, extra={"path": str(self._path), "reason": reason})


_inherited: list[sqlite3.Connection | None] = []


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
    # OFF: after a power cut the file may be damaged, which costs only what it knew.
    for pragma in ("journal_mode=WAL", "synchronous=OFF", "journal_size_limit=4194304", "cache_size=-8000"):
        db.execute(f"PRAGMA {pragma}")
    version = _number(db, "PRAGMA user_version")
    if version == 0:
        _create(db)
    elif version != _VERSION:
        db.close()
        raise sqlite3.DatabaseError(f"version {version}, this Quarry reads {_VERSION}")
    return db


def _create(db: sqlite3.Connection) -> None:
    with db:
        db.execute("BEGIN IMMEDIATE")
        if _number(db, "PRAGMA user_version") == 0:
            for statement in _SCHEMA.split(";")[:-1]:
                db.execute(statement)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _keys(model: str, digests: Iterable[str]) -> dict[int, str]:
    """Map each entry's key, 63 bits of the digest mixed with the model's name, to its digest."""
    salt = int.from_bytes(blake3(model.encode()).digest(8), "big")
    return {(int(digest[:16], 16) ^ salt) >> 1: digest for digest in digests}


def _listed(keys: Iterable[int]) -> str:
    # In order, so that neighbouring keys find their page still at hand.
    return json.dumps(sorted(keys))


def _crc(key: int, row: bytes) -> int:
    # It begins with the key: a row that ended up under another key is not taken for that one's.
    return zlib.crc32(row, key & 0xFFFFFFFF)


def _sorted_out(entries: list[_Entry]) -> tuple[list[_Entry], list[_Entry]]:
    """Return the entries that are as they were written, and those that are not."""
    sound: list[_Entry] = []
    broken: list[_Entry] = []
    for entry in entries:
        key, _, _, crc, row = entry
        (sound if type(row) is bytes and _crc(key, row) == crc else broken).append(entry)
    return sound, broken


def _packed(vectors: list[np.ndarray]) -> list[bytes]:
    rows = np.stack(vectors).astype("<f2")
    size = rows.itemsize * rows.shape[1]
    data = rows.tobytes()
    return [data[at : at + size] for at in range(0, len(data), size)]


def _unpacked(rows: list[bytes]) -> Iterable[np.ndarray]:
    return np.frombuffer(b"".join(rows), "<f2").astype(np.float32).reshape(len(rows), -1) if rows else ()


def _take_slots(db: sqlite3.Connection, count: int) -> list[int]:
    slots = [slot for (slot,) in db.execute(_REUSE, (count,)).fetchall()]
    following = _number(db, "SELECT coalesce(max(slot), 0) + 1 FROM slots")
    return sorted(slots) + list(range(following, following + count - len(slots)))


def _number(db: sqlite3.Connection, query: str) -> int:
    return int(db.execute(query).fetchone()[0])


def _file_bytes(db: sqlite3.Connection) -> int:
    return _number(db, "PRAGMA page_count") * _number(db, "PRAGMA page_size")


def _counter(db: sqlite3.Connection, name: str) -> int:
    return _number(db, f"SELECT coalesce(max(value), 0) FROM counters WHERE name = '{name}'")


def _count(db: sqlite3.Connection, **increments: int) -> None:
    rows = [(increment, name) for name, increment in increments.items()]
    db.executemany("UPDATE counters SET value = value + ? WHERE name = ?", rows)


def _release(db: sqlite3.Connection, entries: list[tuple[int, int]]) -> int:
    """Note the slots of deleted entries as free; return the bytes that were theirs."""
    db.executemany("INSERT OR IGNORE INTO free VALUES (?)", [(slot,) for slot, _ in entries])
    released = sum(size for _, size in entries)
    _count(db, bytes=-released)
    return released


def _read_stats(db: sqlite3.Connection) -> dict[str, int]:
    return {
        "entries": _number(db, "SELECT count(*) FROM keys"),
        "size_bytes": _file_bytes(db),
        "hits": _counter(db, "hits"),
        "misses": _counter(db, "misses"),
    }


def _stats(*, entries: int, size_bytes: int, limit_bytes: int, hits: int, misses: int) -> dict[str, int | float]:
    return {
        "entries": entries,
        "size_bytes": size_bytes,
        "limit_bytes": limit_bytes,
        "hits": hits,
        "misses": misses,
        "hit_rate": hits / (hits + misses) if hits else 0.0,
    }


def _delete_all(db: sqlite3.Connection) -> None:
    for table in ("keys", "slots", "free"):
        db.execute(f"DELETE FROM {table}")
    db.execute("UPDATE counters SET value = 0")


def _compact(db: sqlite3.Connection) -> None:
    db.commit()
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
