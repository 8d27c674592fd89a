"""Points in the engine's terms: ids, unit vectors, and a payload folded for cheap conversion."""

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as engine

from services.core.errors import CorruptData, InvalidRequest
from services.core.ports import Points

DENSE = "dense"
TERMS = "terms"
# What filters ask for. The engine takes 4 to 10 µs to convert each value of a payload,
# so the other fields travel as one string: 25 instead of 90 µs a point.
INDEXED = ("repo", "path", "lang", "ext", "gen")
_REST = "rest"

_encode = json.JSONEncoder(separators=(",", ":")).encode


def unit_rows(dense: np.ndarray, dim: int) -> np.ndarray:
    """Return `dense` as float32[n, dim] with rows of length 1.

    Raises:
        InvalidRequest: another dimension, or a row that is not finite or has no length.
    """
    rows = np.ascontiguousarray(dense, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise InvalidRequest(f"vectors of shape {rows.shape} don't fit an index of dimension {dim}; check the model")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    # A norm is not finite if any value is not; NaN would rank first in every search.
    bad = np.flatnonzero(~np.isfinite(norms) | (norms < 1e-20))
    if len(bad):
        raise InvalidRequest(f"vector {bad[0]} of {len(rows)} is not finite or has no length; check the embedder")
    unit: np.ndarray = rows / norms
    return unit


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
        built.append(engine.Point(points.ids[row], vectors, _fold(points.payloads[row])))
    return built


def unfold(payload: dict[str, Any] | None) -> dict[str, Any]:
    """Return a stored payload as it was given.

    Raises:
        CorruptData: it is not one that was written here.
    """
    stored = dict(payload or {})
    try:
        rest: dict[str, Any] = json.loads(stored.pop(_REST))
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptData(f"the payload of a point can't be read ({error!r}); run 'quarry rebuild'") from error
    return stored | rest


def _fold(payload: dict[str, Any]) -> dict[str, Any]:
    folded = {key: payload[key] for key in INDEXED if key in payload}
    folded[_REST] = _encode({key: value for key, value in payload.items() if key not in folded})
    return folded
