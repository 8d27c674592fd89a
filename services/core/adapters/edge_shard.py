"""One shard of the embedded vector store: an engine shard with what we know of its points.

A shard is mutable (in memory, about 2 KB a point, takes new points) or sealed
(memory-mapped, about 0.3 KB a point). Measured with qdrant-edge-py 0.9.0 on a
two-core machine.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as engine

from services.core.adapters.edge_errors import translated
from services.core.adapters.edge_filter import Contents, equals
from services.core.adapters.edge_layout import ENGINE_FOLDER, check_inventory, write_inventory
from services.core.adapters.edge_points import id_keys
from services.core.adapters.edge_terms import TermCounts
from services.core.adapters.stored_points import DENSE, TERMS
from services.core.digest import digest
from services.core.errors import CorruptData

# Every call of the engine holds the GIL: 256 points keep all other threads waiting for about 10 ms.
UPSERT_POINTS = 256
# Shards of the usual size that become one (`edge_join`). The engine searches the segments of a shard side by side,
# so more would use more cores; but what is joined is sealed again as a whole.
JOINED = 4
# Marking a point of a sealed shard moves it to the shard's mutable part: about 180 µs.
_RETIRE_POINTS = 64
_DELETE_POINTS = 512
_SCROLL_POINTS = 5000
_SCROLL_TERMS = 500
TERMS_FILE = "terms.bin"
_KEYS_FILE = "keys.bin"
_DIGEST_CHARS = 64

Operation = tuple[str, Any]


def shard_config(dim: int, *, sealed: bool) -> engine.EdgeConfig:
    """Return the engine's settings of a shard; the figures are of a two-core machine.

    No HNSW (m=0): its build takes 47 s per 100,000 points, and a linear scan of codes 1.4 ms where they
    are in the processor's cache (4 to 8 ms for the vectors themselves). Beyond that memory is the limit,
    so the codes are small: of 100,000 chunks of the Linux kernel and 15 queries, 256-d static model,
    2-bit codes with four times the oversampling found all of the exact 100 best, as 4-bit codes do with
    twice; 1-bit codes 0.97, binary ones 0.67.
    The inverse document frequency is ours, hence no modifier. No write-ahead log: the ledger
    sends again what was not acknowledged after a flush, and upserts take 30 % less time.
    """
    cold = engine.Memory.Cold
    return engine.EdgeConfig(
        vectors={
            DENSE: engine.EdgeVectorParams(
                size=dim,
                distance=engine.Distance.Dot,
                datatype=engine.VectorStorageDatatype.Float16,
                quantization_config=engine.TurboQuantQuantizationConfig(
                    bits=engine.TurboQuantBitSize.Bits2, memory=engine.Memory.Cached
                ),
            )
        },
        sparse_vectors={TERMS: engine.EdgeSparseVectorParams(memory=cold if sealed else None)},
        hnsw_config=engine.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=10),
        # One KB: whatever is sealed becomes one immutable segment.
        optimizers=engine.EdgeOptimizersConfig(
            default_segment_number=JOINED,
            indexing_threshold=1,
            max_segment_size=1 << 30,
            deleted_threshold=0.01,
            vacuum_min_vector_number=1,
        ),
        wal_enabled=False,
    )


class Shard:
    """A shard that is open.

    `points` counts the live points; `contents` are at least the values that occur in it.
    `keys`, sorted, hold at least the keys of its points, or are None while it takes new points.
    `journal` collects what is done to a shard while a copy of it is sealed.
    """

    def __init__(self, directory: Path, opened: engine.EdgeShard) -> None:
        self.directory = directory
        self.name = directory.name
        self.keys: np.ndarray | None = None
        self.journal: list[Operation] | None = None
        self.overwritten = 0
        self._engine = opened
        self._dirty = False
        self.points = self._engine.info().points_count
        self.contents = self._read_contents()

    @classmethod
    def create(cls, directory: Path, dim: int) -> "Shard":
        """Make an empty shard, with the payload indexes its filters need."""
        directory.mkdir()
        with translated(directory):
            (directory / ENGINE_FOLDER).mkdir()
            opened = engine.EdgeShard.create(str(directory / ENGINE_FOLDER), shard_config(dim, sealed=False))
            for field, index in _indexes():
                opened.update(engine.UpdateOperation.create_field_index(field, index))
            opened.flush()
            write_inventory(directory)
            return cls(directory, opened)

    @classmethod
    def load(cls, directory: Path) -> "Shard":
        """Open a shard.

        Raises:
            CorruptData: it is damaged.
        """
        check_inventory(directory)
        with translated(directory):
            return cls(directory, engine.EdgeShard.load(str(directory / ENGINE_FOLDER)))

    def upsert(self, points: list[engine.Point], payloads: Iterable[dict[str, Any]]) -> None:
        """Insert or replace points, which have these payloads."""
        for payload in payloads:
            self.contents.repos.add(payload["repo"])
            self.contents.generations.add(payload["gen"])
        self._apply(("upsert", points))

    def retire(self, ids: Sequence[UUID], generation: int) -> None:
        """Mark those of the points that are here as replaced by `generation`."""
        self.contents.retired.add(generation)
        for start in range(0, len(ids), _RETIRE_POINTS):
            here = self.present(ids[start : start + _RETIRE_POINTS])
            if here:
                self._apply(("retire", (here, generation)))

    def delete(self, key: str, value: str | int) -> None:
        """Delete the points whose payload has `value` under `key`."""
        while ids := self.scroll(equals(key, value)):
            for start in range(0, len(ids), _DELETE_POINTS):
                self._apply(("delete", ids[start : start + _DELETE_POINTS]))
        held: dict[str, set[Any]] = {
            "repo": self.contents.repos,
            "gen": self.contents.generations,
            "retired": self.contents.retired,
        }
        held[key].discard(value)

    def replay(self, journal: Iterable[Operation]) -> None:
        """Do again what was done to the shard that this one replaces."""
        for operation in journal:
            self._apply(operation)
        self.contents = self._read_contents()

    def search(self, requests: list[engine.QueryRequest]) -> list[list[engine.ScoredPoint]]:
        """Run several queries as one."""
        with translated(self.directory):
            return self._engine.query_batch(engine.QueryBatchRequest(requests))

    def count(self, where: engine.Filter | None) -> int:
        """Return how many points pass."""
        with translated(self.directory):
            return self._engine.count(engine.CountRequest(exact=True, filter=where))

    def payloads(self, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
        """Return the stored payloads of those of the points that are here."""
        with translated(self.directory):
            records = self._engine.retrieve([*ids], True, False)
        return {_uuid(record.id): record.payload or {} for record in records}

    def present(self, ids: Sequence[UUID]) -> list[UUID]:
        """Return those of the points that are here."""
        with translated(self.directory):
            return [_uuid(record.id) for record in self._engine.retrieve([*ids], False, False)]

    def scroll(self, where: engine.Filter | None) -> list[UUID]:
        """Return the ids of the first points that pass."""
        with translated(self.directory):
            request = engine.ScrollRequest(limit=_SCROLL_POINTS, filter=where, with_payload=False, with_vector=False)
            return [_uuid(record.id) for record in self._engine.scroll(request)[0]]

    def mutable_points(self, sealed_points: int) -> int:
        """Return about how many points are held in memory or dead, of `sealed_points` that were sealed."""
        return max(0, sealed_points - self.points) + self.overwritten

    def holds(self, keys: np.ndarray) -> np.ndarray:
        """Return bool[n]: which keys may belong to points of this shard."""
        if self.keys is None or not len(self.keys):
            return np.zeros(len(keys), bool)
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        found: np.ndarray = self.keys[at] == keys
        return found

    def settle_keys(self) -> None:
        """Read the keys of its points, the stored ones if they are whole, else by listing the points."""
        keys = _load_keys(self.directory / _KEYS_FILE)
        if keys is None:
            keys = self.all_keys()
            save_keys(self.directory, keys)
        self.keys = keys

    def all_keys(self) -> np.ndarray:
        """Return the sorted keys of all points, listing them."""
        parts = [id_keys(ids) for ids, _terms in self._pages(_SCROLL_POINTS, with_terms=False)]
        return np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.uint64)

    def read_terms(self) -> TermCounts:
        """Return the shard's term counts, stored ones if they are whole, else by reading the points."""
        with contextlib.suppress(CorruptData):
            return TermCounts.load(self.directory / TERMS_FILE)
        return self.count_terms()

    def count_terms(self) -> TermCounts:
        """Return the term counts of the points as they are."""
        counts = TermCounts()
        for ids, terms in self._pages(_SCROLL_TERMS, with_terms=True):
            counts.add(np.array(terms, dtype=np.uint32), len(ids))
        return counts

    def save_terms(self, terms: TermCounts) -> None:
        """Store the shard's term counts."""
        with translated(self.directory):
            terms.save(self.directory / TERMS_FILE)

    def flush(self) -> bool:
        """Return once everything is on disk; False if it was already."""
        if not self._dirty:
            return False
        with translated(self.directory):
            self._engine.flush()
            write_inventory(self.directory)
        self._dirty = False
        return True

    def close(self) -> None:
        """Release the engine; what was not flushed may be lost."""
        with contextlib.suppress(Exception):
            self._engine.close()

    def _apply(self, operation: Operation) -> None:
        self._dirty = True
        with translated(self.directory):
            self._engine.update(_engine_operation(operation))
            self.points = self._engine.info().points_count
        if self.keys is not None:
            self.overwritten += len(operation[1]) if operation[0] == "upsert" else 0
        if self.journal is not None:
            self.journal.append(operation)

    def _read_contents(self) -> Contents:
        return Contents(self._values("repo"), self._values("gen"), self._values("retired"))

    def _values(self, field: str) -> set[Any]:
        request = engine.FacetRequest(field, limit=1_000_000, exact=False)
        with translated(self.directory):
            return {hit.value for hit in self._engine.facet(request).hits}

    def _pages(self, size: int, *, with_terms: bool) -> Iterator[tuple[list[UUID], list[int]]]:
        offset: Any = None
        while True:
            vectors: Any = [TERMS] if with_terms else False
            request = engine.ScrollRequest(offset=offset, limit=size, with_payload=False, with_vector=vectors)
            with translated(self.directory):
                records, offset = self._engine.scroll(request)
            terms = [index for record in records for index in _terms(record)] if with_terms else []
            if records:
                yield [_uuid(record.id) for record in records], terms
            if offset is None:
                return


def save_keys(directory: Path, keys: np.ndarray) -> None:
    """Store the sorted keys of a shard's points."""
    body = keys.astype("<u8").tobytes()
    with translated(directory):
        (directory / _KEYS_FILE).write_bytes(digest(body).encode() + body)


def _load_keys(path: Path) -> np.ndarray | None:
    data = path.read_bytes() if path.is_file() else b""
    body = data[_DIGEST_CHARS:]
    whole = digest(body).encode() == data[:_DIGEST_CHARS]
    return np.frombuffer(body, dtype="<u8") if whole else None


def _engine_operation(operation: Operation) -> engine.UpdateOperation:
    kind, what = operation
    if kind == "upsert":
        return engine.UpdateOperation.upsert_points(what)
    if kind == "retire":
        ids, generation = what
        return engine.UpdateOperation.set_payload(ids, {"retired": generation})
    return engine.UpdateOperation.delete_points(what)


def _indexes() -> list[tuple[str, Any]]:
    cold = engine.Memory.Cold
    keyword = engine.KeywordIndexParams(memory=cold)
    number = engine.IntegerIndexParams(lookup=True, range=False, memory=cold)
    fields: list[tuple[str, Any]] = [(field, keyword) for field in ("repo", "lang", "ext")]
    fields.append(("path", engine.KeywordIndexParams(prefix=True, memory=cold)))
    return fields + [(field, number) for field in ("gen", "retired")]


def _terms(record: engine.Record) -> Sequence[int]:
    vector: Any = record.vector
    terms: Sequence[int] = vector[TERMS].indices if vector and TERMS in vector else ()
    return terms


def _uuid(point: Any) -> UUID:
    return point if isinstance(point, UUID) else UUID(str(point))
