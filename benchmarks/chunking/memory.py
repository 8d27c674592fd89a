"""A vector store in memory that answers exactly: the product's ranking on points that were never stored."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np

from benchmarks.chunking.points import Points, join_rows
from services.core.adapters.edge_terms import TermCounts
from services.core.payload import StoredChunk
from services.core.ports import Candidates, Filter


class MemoryVectors:
    """The `VectorReader` over some repositories' points; a point's id is its number."""

    def __init__(self, parts: Sequence[Points]) -> None:
        rows = join_rows([part.sparse for part in parts])
        self._chunks = [chunk for part in parts for chunk in part.chunks]
        self._dense = np.concatenate([part.dense for part in parts])
        self._counts = TermCounts()
        self._counts.add(rows.indices, len(rows))
        order = np.argsort(rows.indices, kind="stable")
        self._terms = rows.indices[order]
        self._holders = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))[order]
        self._values = rows.values[order]

    def query(
        self, dense: np.ndarray | None, sparse: tuple[np.ndarray, np.ndarray] | None, where: Filter, limit: int
    ) -> Candidates:
        """Return the `limit` best points by each vector given; there is no filter here.

        Raises:
            ValueError: there is one.
        """
        if where != Filter():
            raise ValueError("points in memory can't be filtered")
        by_dense = [] if dense is None else _best(self._dense @ dense, limit)
        return Candidates(by_dense, [] if sparse is None else self._lexical(*sparse, limit))

    def payloads(self, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
        """Return the payload of each point."""
        return {point: _payload(self._chunks[point.int]) for point in ids}

    def count(self, where: Filter) -> int:
        """Return how many points there are."""
        return len(self._chunks)

    def _lexical(self, indices: np.ndarray, values: np.ndarray, limit: int) -> list[tuple[UUID, float]]:
        scores = np.zeros(len(self._chunks), dtype=np.float32)
        starts, ends = (np.searchsorted(self._terms, indices, side=side) for side in ("left", "right"))
        for start, end, weight in zip(starts, ends, values * self._counts.idf(indices), strict=True):
            scores[self._holders[start:end]] += self._values[start:end] * weight
        return [(point, score) for point, score in _best(scores, limit) if score > 0]


def _best(scores: np.ndarray, limit: int) -> list[tuple[UUID, float]]:
    order = np.argsort(-scores, kind="stable")[:limit]
    return [(UUID(int=int(row)), float(scores[row])) for row in order]


def _payload(chunk: StoredChunk) -> dict[str, Any]:
    return {
        "repo": chunk.repo,
        "path": chunk.path,
        "lang": chunk.language,
        "kind": chunk.kind,
        "symbol": chunk.symbol,
        "defs": list(chunk.defines),
        "lines": [chunk.start_line, chunk.end_line],
        "bytes": [chunk.start_byte, chunk.end_byte],
        "ordinal": chunk.ordinal,
        "pack": chunk.pack,
        "at": [0, 0, 0],
        "digest": "",
    }
