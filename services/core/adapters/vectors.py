"""The embedded vector store: shards of the Qdrant engine in this process.

The last shard takes new points. A full one is sealed by a child process while
it goes on answering, and then exchanged for its sealed copy, so that at most
two shards are held in memory. Sealed ones are joined, a few in one. An id is in one shard at most: a point that is
written again goes to the shard that has it.
"""

import contextlib
import ctypes
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as engine

from services.core.adapters import edge_layout as layout
from services.core.adapters.edge_errors import translated
from services.core.adapters.edge_filter import compile_filter, equals
from services.core.adapters.edge_join import join, neighbours_to_join
from services.core.adapters.edge_points import engine_points, id_keys
from services.core.adapters.edge_query import Wanted, best, nearest_dense, nearest_sparse, request
from services.core.adapters.edge_seal import Sealing
from services.core.adapters.edge_shard import UPSERT_POINTS, Shard
from services.core.adapters.edge_terms import TermCounts
from services.core.adapters.stored_points import DENSE, TERMS, admits_nothing, unfold, unit_rows
from services.core.errors import QuarryError, Unavailable
from services.core.ports import Candidates, Filter, Points

log = logging.getLogger(__name__)

_RETRY_SEAL_S = 60.0
# A sealed shard is sealed again when this part of it is dead or has moved to its mutable part.
_WASTE = 0.5
# A mutable shard does not reuse the room of deleted points.
_REWRITTEN = 2


class EdgeVectors:
    """A `VectorWriter` and `VectorReader` in `directory`; threads may share it, processes may not.

    Searches of up to `exact_points` points are exact; beyond, dense ones compare
    2-bit codes and rescore. A shard that has `shard_points` points is sealed.
    Once the store is closed, searches and writes raise `Unavailable`.

    Raises:
        Unavailable: another process has it open.
        CorruptData: a shard is damaged.
        InvalidRequest: it was made for another dimension.
    """

    def __init__(self, directory: Path, dim: int, *, shard_points: int, exact_points: int) -> None:
        self._directory = directory
        self._dim = dim
        self._shard_points = shard_points
        self._exact_points = exact_points
        # Writers take `_writing` first; `_reading` is held while a search goes through the shards.
        self._writing = threading.RLock()
        self._reading = threading.Lock()
        self._shards: list[Shard] = []
        self._sealed_points: dict[str, int] = {}
        self._hidden: list[engine.Filter] = []
        self._terms, self._fresh_terms = TermCounts(), TermCounts()
        self._sealing: Sealing | None = None
        self._retry_at = 0.0
        with translated(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = layout.lock_directory(directory)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def upsert(self, points: Points) -> None:
        """Insert or replace points; searchable at once, durable after `flush`.

        Raises:
            InvalidRequest: a dense vector is not finite, has no length or another dimension.
        """
        dense = unit_rows(points.dense, self._dim)
        for start in range(0, len(points.ids), UPSERT_POINTS):
            with self._writing:
                self._upsert(points, dense, range(start, min(start + UPSERT_POINTS, len(points.ids))))

    def retire(self, ids: Sequence[UUID], generation: int) -> None:
        """Mark points as replaced by `generation`; ids that are not here are passed over."""
        with self._writing:
            self._check_open()
            for shard, rows in self._homes(ids):
                shard.retire([ids[row] for row in rows], generation)

    def purge(self, *, retired_by: int | None = None, generation: int | None = None, repo: str | None = None) -> None:
        """Delete the points retired by a generation, written by one, or of a repository.

        They leave the searches all at once, before the first is deleted.
        """
        wanted: list[tuple[str, str | int | None]] = [("retired", retired_by), ("gen", generation), ("repo", repo)]
        with self._writing:
            self._check_open()
            for key, value in wanted:
                if value is not None:
                    self._purge(key, value)

    def flush(self) -> None:
        """Return once everything written before is on disk."""
        with self._writing:
            self._check_open()
            for shard in self._shards:
                if shard.flush() and shard is self._shards[-1]:
                    shard.save_terms(self._fresh_terms)

    def query(
        self, dense: np.ndarray | None, sparse: tuple[np.ndarray, np.ndarray] | None, where: Filter, limit: int
    ) -> Candidates:
        """Return the `limit` best points by each vector given, ties by id."""
        if limit < 1 or admits_nothing(where):
            return Candidates()
        with self._reading:
            self._check_open()
            wanted = self._queries(dense, sparse)
            found: dict[str, list[engine.ScoredPoint]] = {name: [] for name in wanted}
            for shard in self._shards:
                if not wanted or not shard.contents.may_hold(where):
                    continue
                filtered = self._filter(shard, where)
                requests = [request(query, filtered, limit) for query in wanted.values()]
                for name, hits in zip(wanted, shard.search(requests), strict=True):
                    found[name] += hits
        return Candidates(best(found.get(DENSE, []), limit), best(found.get(TERMS, []), limit))

    def payloads(self, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
        """Return the payload of each point that is still there."""
        with self._reading:
            self._check_open()
            found: dict[UUID, dict[str, Any]] = {}
            for shard, rows in self._homes(ids):
                found |= shard.payloads([ids[row] for row in rows])
        return {point: unfold(payload) for point, payload in found.items()}

    def count(self, where: Filter) -> int:
        """Return how many points the filter admits."""
        if admits_nothing(where):
            return 0
        with self._reading:
            self._check_open()
            shards = [shard for shard in self._shards if shard.contents.may_hold(where)]
            return sum(shard.count(self._filter(shard, where)) for shard in shards)

    def maintain(self) -> None:
        """Begin to seal a shard, take over a sealed one, or join some, as needed; call it now and then."""
        with self._writing:
            if self._sealing is not None and self._sealing.poll():
                self._finish_sealing()
            if self._sealing is None and time.monotonic() >= self._retry_at:
                self._join_sealed()
                self._begin_sealing()

    def settle(self) -> None:
        """Return once every shard that needs it is sealed, or could not be."""
        with self._writing:
            self._retry_at = 0.0
            self.maintain()
            while self._sealing is not None:
                self._sealing.wait()
                self.maintain()

    def close(self) -> None:
        """Close the store; sealing in progress is given up, and what was not flushed may be lost."""
        with self._writing, self._reading:
            if self._sealing is not None:
                self._sealing.abandon()
                shutil.rmtree(self._sealing.target, ignore_errors=True)
                self._sealing = None
            for shard in self._shards:
                shard.close()
            self._shards = []
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def _open(self) -> None:
        listing = layout.read_listing(self._directory, self._dim)
        layout.remove_unlisted(self._directory, listing)
        self._sealed_points = {row.name: row.sealed_points for row in listing.shards}
        for row in listing.shards:
            self._shards.append(Shard.load(self._directory / row.name))
        for shard in self._shards[:-1]:
            shard.settle_keys()
            self._terms.merge(shard.read_terms())
        if self._shards:
            self._fresh_terms = self._shards[-1].read_terms()
            self._terms.merge(self._fresh_terms)
        else:
            self._add_shard()

    def _check_open(self) -> None:
        # An open store has at least the shard that takes new points.
        if not self._shards:
            raise Unavailable(f"vector store {str(self._directory)!r} is closed")

    def _upsert(self, points: Points, dense: np.ndarray, rows: range) -> None:
        self._check_open()
        for shard, at in self._homes(points.ids[rows.start : rows.stop]):
            here = [rows.start + i for i in at]
            shard.upsert(engine_points(points, dense, here), [points.payloads[row] for row in here])
            if shard is self._shards[-1]:
                self._count_terms(points, here)
        if self._is_full(self._shards[-1]):
            self._rotate()

    def _count_terms(self, points: Points, rows: list[int]) -> None:
        bounds = points.sparse.indptr
        terms = np.concatenate([points.sparse.indices[bounds[row] : bounds[row + 1]] for row in rows])
        for counts in (self._terms, self._fresh_terms):
            counts.add(terms, len(rows))

    def _homes(self, ids: Sequence[UUID]) -> list[tuple[Shard, list[int]]]:
        # The shard of each id as row numbers; an id that no older shard has belongs to the last.
        if not ids:
            return []
        keys, left, homes = id_keys(ids), np.ones(len(ids), bool), []
        for shard in self._shards[:-1]:
            here = shard.holds(keys) & left
            if here.any():
                homes.append((shard, np.flatnonzero(here).tolist()))
                left &= ~here
        return [*homes, (self._shards[-1], np.flatnonzero(left).tolist())] if left.any() else homes

    def _is_full(self, shard: Shard) -> bool:
        rewritten = self._fresh_terms.documents >= _REWRITTEN * self._shard_points
        return shard.points >= self._shard_points or rewritten

    def _rotate(self) -> None:
        # Two mutable shards are the bound on memory: the next one starts when the one before is sealed.
        if self._sealing is not None:
            self._sealing.wait()
            self._finish_sealing()
        full = self._shards[-1]
        self.flush()
        full.settle_keys()
        self._add_shard()
        self._fresh_terms = TermCounts()
        self._begin_sealing()

    def _add_shard(self) -> None:
        name = layout.new_name(self._listing(self._shards))
        with translated(self._directory):
            shard = Shard.create(self._directory / name, self._dim)
            layout.sync_tree(shard.directory)
        self._exchange([*self._shards, shard], {**self._sealed_points, name: 0})

    def _exchange(self, shards: list[Shard], sealed_points: dict[str, int]) -> None:
        # The list on disk first: whatever it does not name is removed by the next process.
        with translated(self._directory):
            layout.write_listing(self._directory, self._listing(shards, sealed_points))
        with self._reading:
            self._shards = shards
            self._sealed_points = {shard.name: sealed_points.get(shard.name, 0) for shard in shards}

    def _listing(self, shards: list[Shard], sealed_points: dict[str, int] | None = None) -> layout.Listing:
        points = self._sealed_points if sealed_points is None else sealed_points
        return layout.Listing(self._dim, tuple(layout.Listed(s.name, points.get(s.name, 0)) for s in shards))

    def _purge(self, key: str, value: str | int) -> None:
        hidden = equals(key, value)
        with self._reading:
            self._hidden.append(hidden)
        try:
            for shard in self._shards:
                shard.delete(key, value)
        finally:
            with self._reading:
                self._hidden.remove(hidden)
        self._drop_empty()

    def _drop_empty(self) -> None:
        busy = self._sealing.shard if self._sealing else None
        empty = [shard for shard in self._shards[:-1] if not shard.points and shard is not busy]
        if empty:
            self._exchange([shard for shard in self._shards if shard not in empty], self._sealed_points)
            for shard in empty:
                self._terms.merge(shard.read_terms(), -1)
                self._discard(shard)

    def _begin_sealing(self) -> None:
        shard = next((shard for shard in self._shards[:-1] if self._needs_sealing(shard)), None)
        if shard is None:
            return
        target = self._directory / layout.new_name(self._listing(self._shards))
        try:
            shard.flush()
            self._sealing = Sealing(shard, target, self._dim)
            shard.journal = []
        except QuarryError as error:
            self._give_up(target, "sealing_failed", str(error))

    def _needs_sealing(self, shard: Shard) -> bool:
        sealed = self._sealed_points.get(shard.name, 0)
        return not sealed or shard.mutable_points(sealed) > min(_WASTE * sealed, self._shard_points)

    def _finish_sealing(self) -> None:
        sealing, self._sealing = self._sealing, None
        if sealing is None:
            return
        journal, sealing.shard.journal = sealing.shard.journal or [], None
        failure = sealing.failure()
        try:
            if not failure:
                self._take_over(sealing.shard, Shard.load(sealing.target), journal)
                return
        except QuarryError as error:
            failure = str(error)
        self._give_up(sealing.target, "sealing_failed", failure)

    def _take_over(self, old: Shard, new: Shard, journal: Iterable[tuple[str, Any]]) -> None:
        points = new.points
        try:
            new.settle_keys()
            new.replay(journal)
            new.flush()
            shards = [new if shard is old else shard for shard in self._shards]
            self._exchange(shards, {**self._sealed_points, new.name: max(points, 1)})
        except BaseException:
            new.close()
            raise
        self._terms.merge(old.read_terms(), -1)
        self._terms.merge(new.read_terms())
        self._discard(old)
        log.info("shard_sealed", extra={"shard": new.name, "points": new.points})

    def _join_sealed(self) -> None:
        sealed = [shard for shard in self._shards[:-1] if not self._needs_sealing(shard)]
        while pair := neighbours_to_join(sealed, self._shard_points):
            target = self._directory / layout.new_name(self._listing(self._shards))
            try:
                joined = join(pair, target)
            except QuarryError as error:
                self._give_up(target, "joining_failed", str(error))
                return
            sealed = [joined if shard is pair[0] else shard for shard in sealed if shard is not pair[1]]
            shards = [joined if shard is pair[0] else shard for shard in self._shards if shard is not pair[1]]
            points = sum(self._sealed_points[shard.name] for shard in pair)
            self._exchange(shards, {**self._sealed_points, joined.name: points})
            for shard in pair:
                self._discard(shard)

    def _give_up(self, target: Path, event: str, reason: str) -> None:
        self._retry_at = time.monotonic() + _RETRY_SEAL_S
        shutil.rmtree(target, ignore_errors=True)
        log.warning(event, extra={"shard": target.name, "reason": reason})

    def _discard(self, shard: Shard) -> None:
        shard.close()
        shutil.rmtree(shard.directory, ignore_errors=True)
        _give_memory_back()

    def _filter(self, shard: Shard, where: Filter) -> engine.Filter | None:
        return compile_filter(where, shard.contents, self._hidden)

    def _queries(self, dense: np.ndarray | None, sparse: tuple[np.ndarray, np.ndarray] | None) -> dict[str, Wanted]:
        wanted = {}
        if dense is not None:
            exact = sum(shard.points for shard in self._shards) <= self._exact_points
            wanted[DENSE] = nearest_dense(unit_rows(dense.reshape(1, -1), self._dim)[0], exact=exact)
        if sparse is not None and len(sparse[0]):
            wanted[TERMS] = nearest_sparse(sparse[0], sparse[1] * self._terms.idf(sparse[0]))
        return wanted


def _give_memory_back() -> None:
    # A mutable shard takes 250 MB on the heap, and glibc keeps what is freed below something still used.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
