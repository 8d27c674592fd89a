"""Scores of one answer: NDCG, reciprocal rank and recall over the first ten hits, relevance being yes or no."""

import math
from collections.abc import Sequence

from benchmarks.retrieval.pools import Hit, Question, Target

DEPTH = 10
METRICS = ("ndcg", "ndcg_file", "mrr", "recall")


def covers(hit: Hit, target: Target, repo: str) -> bool:
    """Tell whether a hit shows (part of) a target; paths need only end alike, as labels leave out leading folders."""
    if hit.repo != repo or not _same_path(hit.path, target.path):
        return False
    return not target.start_line or (hit.start_line <= target.end_line and target.start_line <= hit.end_line)


def ranks(hits: Sequence[Hit], question: Question) -> list[int]:
    """Return the rank, from 1, of the first hit that covers each target that any of the first ten covers."""
    found = []
    for target in question.targets:
        rank = next((n for n, hit in enumerate(hits[:DEPTH], 1) if covers(hit, target, question.repo)), 0)
        if rank:
            found.append(rank)
    return found


def ndcg(hits: Sequence[Hit], question: Question) -> float:
    """Return NDCG@10: a rank counts once, however many targets one hit covers."""
    ideal = sum(map(_gain, range(1, min(DEPTH, len(question.targets)) + 1)))
    return sum(map(_gain, set(ranks(hits, question)))) / ideal if ideal else 0.0


def reciprocal_rank(hits: Sequence[Hit], question: Question) -> float:
    """Return 1 over the rank of the first hit that answers, 0 if none of ten does."""
    return 1.0 / min(ranks(hits, question), default=math.inf)


def recall(hits: Sequence[Hit], question: Question) -> float:
    """Return the share of the targets among the first ten hits."""
    return len(ranks(hits, question)) / len(question.targets) if question.targets else 0.0


def by_file(hits: Sequence[Hit]) -> list[Hit]:
    """Return the first hit of each file."""
    first: dict[tuple[str, str], Hit] = {}
    for hit in hits:
        first.setdefault((hit.repo, hit.path), hit)
    return list(first.values())


def scores(hits: Sequence[Hit], question: Question) -> dict[str, float]:
    """Return every score of an answer; `ndcg_file` merges the hits of a file first."""
    return {
        "ndcg": ndcg(hits, question),
        "ndcg_file": ndcg(by_file(hits), question),
        "mrr": reciprocal_rank(hits, question),
        "recall": recall(hits, question),
    }


def _gain(rank: int) -> float:
    return 1.0 / math.log2(rank + 1)


def _same_path(left: str, right: str) -> bool:
    return left == right or left.endswith("/" + right) or right.endswith("/" + left)
