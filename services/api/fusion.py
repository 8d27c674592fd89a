"""Reciprocal-rank fusion: several ranked lists become one, by rank alone.

Cormack, Clarke and Buettcher (SIGIR 2009). Scores of the lists are not
comparable (a cosine and a BM25 sum), ranks are.
"""

from collections.abc import Sequence
from uuid import UUID

# The value of the paper; smaller values let the first ranks of one list decide alone.
K = 60


def fuse(lists: Sequence[tuple[float, Sequence[tuple[UUID, float]]]]) -> dict[UUID, float]:
    """Return id → sum of ``weight / (K + rank)`` over `lists` of (weight, ranking), ranks from 1.

    Equal scores within a list share the mean of their ranks, so that the result does not depend
    on the order in which a store returns ties.
    """
    fused: dict[UUID, float] = {}
    for weight, ranking in lists:
        if not weight:
            continue
        for (point, _), rank in zip(ranking, _ranks(ranking), strict=True):
            fused[point] = fused.get(point, 0.0) + weight / (K + rank)
    return fused


def scale(fused: dict[UUID, float]) -> dict[UUID, float]:
    """Return the scores divided by the best one, so that weights of rules mean the same for every query."""
    best = max(fused.values(), default=0.0)
    return {point: score / best for point, score in fused.items()} if best > 0 else dict(fused)


def _ranks(ranking: Sequence[tuple[UUID, float]]) -> list[float]:
    ranks: list[float] = []
    start = 0
    for end in range(1, len(ranking) + 1):
        if end == len(ranking) or ranking[end][1] != ranking[start][1]:
            ranks += [(start + 1 + end) / 2] * (end - start)
            start = end
    return ranks
