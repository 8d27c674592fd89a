"""How a point is stored, whichever store holds it: unit vectors under two names, and a folded payload."""

import json
from typing import Any

import numpy as np

from services.core.errors import CorruptData, InvalidRequest
from services.core.ports import Filter

DENSE = "dense"
TERMS = "terms"
# What filters ask for. The engine takes 4 to 10 µs to convert each value of a payload,
# so the other fields travel as one string: 25 instead of 90 µs a point.
INDEXED = ("repo", "path", "lang", "ext", "gen")
_REST = "rest"
# What tells whether a point is where and as it should be.
MARKS = ("gen", "retired", _REST)

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


def fold(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload as it is stored: what filters need, and the rest as one string of ASCII."""
    folded = {key: payload[key] for key in INDEXED if key in payload}
    folded[_REST] = _encode({key: value for key, value in payload.items() if key not in folded})
    return folded


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


def admits_nothing(where: Filter) -> bool:
    """Whether the filter's lists alone say that no point can pass."""
    return where.paths is not None and not paths_by_repo(where)


def paths_by_repo(where: Filter) -> dict[str, list[str]]:
    """Return the paths that `where.paths` admits, by repository: alone a path would admit its namesakes elsewhere."""
    by_repo: dict[str, list[str]] = {}
    for repo, path in where.paths or ():
        if not where.repos or repo in where.repos:
            by_repo.setdefault(repo, []).append(path)
    return by_repo
