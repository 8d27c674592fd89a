"""Fusion: several ranked lists become one, by rank, and by how far ahead the first of the lexical list are.

Reciprocal ranks: Cormack, Clarke and Buettcher (SIGIR 2009). Scores of two lists are not comparable
(a cosine and a BM25 sum), ranks are; but within the lexical list a score of half the best is a weak match,
whatever its rank. The same for cosines did not help: those of a static model lie close together.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

# Of 10 to 60 (the paper's), the labels tell none apart; doc comments are the better found the smaller it is.
K = 10


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


def blend(fused: Mapping[UUID, float], scores: Sequence[tuple[UUID, float]], weight: float) -> dict[UUID, float]:
    """Return `fused` with `weight` times each point's share of the best of `scores` added, the best being 1 again."""
    best = max((score for _, score in scores), default=0.0)
    shares = {point: score / best for point, score in scores} if best > 0 else {}
    return scale({point: score + weight * shares.get(point, 0.0) for point, score in fused.items()})


def _ranks(ranking: Sequence[tuple[UUID, float]]) -> list[float]:
    ranks: list[float] = []
    start = 0
    for end in range(1, len(ranking) + 1):
        if end == len(ranking) or ranking[end][1] != ranking[start][1]:
            ranks += [(start + 1 + end) / 2] * (end - start)
            start = end
    return ranks
