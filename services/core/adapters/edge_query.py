"""A search in the engine's terms, and the best of what several shards answer."""

from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as engine

from services.core.adapters.stored_points import DENSE, TERMS

# Rescoring four times as many candidates as asked for brings back what 2-bit codes lose (`shard_config`).
_OVERSAMPLING = 4.0

Wanted = tuple[engine.Query, engine.SearchParams]


def nearest_dense(unit: np.ndarray, *, exact: bool) -> Wanted:
    """Return the query for the nearest to a unit vector, float32[dim]."""
    if exact:
        params = engine.SearchParams(exact=True, quantization=engine.QuantizationSearchParams(ignore=True))
    else:
        quantised = engine.QuantizationSearchParams(rescore=True, oversampling=_OVERSAMPLING)
        params = engine.SearchParams(quantization=quantised)
    return engine.Query.Nearest(unit.tolist(), using=DENSE), params


def nearest_sparse(indices: np.ndarray, weights: np.ndarray) -> Wanted:
    """Return the query for the highest dot product with a sparse vector."""
    vector = engine.SparseVector(indices.tolist(), weights.tolist())
    return engine.Query.Nearest(vector, using=TERMS), engine.SearchParams()


def request(wanted: Wanted, where: engine.Filter | None, limit: int) -> engine.QueryRequest:
    """Return the request for the ids and scores of the `limit` best points that pass."""
    query, params = wanted
    return engine.QueryRequest(query=query, filter=where, params=params, limit=limit, with_payload=False)


def best(hits: list[engine.ScoredPoint], limit: int) -> list[tuple[UUID, float]]:
    """Return the `limit` best of what shards answered, ties by id."""
    scores = [hit.score for hit in hits]
    # The engine makes an id anew at each look, 3 µs; of many shards' hits most are not good enough for one.
    least = sorted(scores, reverse=True)[:limit][-1] if scores else 0.0
    good = [(_uuid(hit.id), score) for hit, score in zip(hits, scores, strict=True) if score >= least]
    return sorted(good, key=lambda hit: (-hit[1], hit[0].int))[:limit]


def _uuid(point: Any) -> UUID:
    return point if isinstance(point, UUID) else UUID(str(point))
