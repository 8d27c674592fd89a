"""Points in the engine's terms: ids, unit vectors, and folded payloads."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import numpy as np
import qdrant_edge as engine

from services.core.adapters.stored_points import DENSE, TERMS, fold
from services.core.ports import Points


def id_keys(ids: Iterable[UUID]) -> np.ndarray:
    """Return uint64[n], the first 8 bytes of each id; ids are digests, so these identify them."""
    return np.frombuffer(b"".join(point.bytes[:8] for point in ids), dtype=">u8").astype(np.uint64)


def engine_points(points: Points, dense: np.ndarray, rows: Sequence[int]) -> list[engine.Point]:
    """Return `rows` of `points`, their vectors being those rows of `dense`."""
    sparse = points.sparse
    built = []
    for row in rows:
        start, stop = sparse.indptr[row], sparse.indptr[row + 1]
        terms = engine.SparseVector(sparse.indices[start:stop].tolist(), sparse.values[start:stop].tolist())
        vectors = {DENSE: dense[row].tolist(), TERMS: terms}
        built.append(engine.Point(points.ids[row], vectors, fold(points.payloads[row])))
    return built
