"""What ranking adds to a query: the time from candidates to ranked chunks, over one index of all packages."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.retrieval.pools import Question, Suite
from benchmarks.retrieval.quarry import indexed
from benchmarks.speed.records import percentile
from services.api import candidates
from services.api.ranking import Ranked
from services.api.request import SearchRequest
from services.core.collector import collect_rarely

NAME = "ranking"
QUERIES = 500
_WARM_UP = 50
_SEED = 1


def measure(suite: Suite, folder: Path) -> dict[str, Any]:
    """Index every tree of a suite together, ask 500 of its questions one by one, and return the times as figures."""
    # As every process does that answers searches.
    collect_rarely()
    asked = random.Random(_SEED).sample(suite.questions, min(QUERIES, len(suite.questions)))
    with indexed(suite.trees, folder / "homes" / NAME) as index:
        chunks = len(index.chunks())
        _times(index.owner.searcher, asked[:_WARM_UP])
        ranking_ms, search_ms = _times(index.owner.searcher, asked)
    figures: dict[str, Any] = {"chunks": chunks, "queries": len(asked), "repositories": len(suite.trees)}
    return figures | {"ranking_ms": _percentiles(ranking_ms), "search_ms": _percentiles(search_ms)}


def _times(searcher: Any, questions: Sequence[Question]) -> tuple[list[float], list[float]]:
    search_ms = []
    with _rank_timed() as ranking_ms:
        for question in questions:
            search_ms.append(searcher.search(SearchRequest(question.text)).took_ms)
    return ranking_ms, search_ms


@contextmanager
def _rank_timed() -> Iterator[list[float]]:
    """Yield the list to which every call of `rank` adds its milliseconds; it has no other seam to measure at."""
    taken_ms: list[float] = []
    namespace = vars(candidates)
    rank = namespace["rank"]

    def timed(*arguments: Any, **named: Any) -> list[Ranked]:
        started = time.perf_counter()
        ranked: list[Ranked] = rank(*arguments, **named)
        taken_ms.append((time.perf_counter() - started) * 1e3)
        return ranked

    namespace["rank"] = timed
    try:
        yield taken_ms
    finally:
        namespace["rank"] = rank


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": round(percentile(values, percent), 3) for percent in (50, 95, 99)}
