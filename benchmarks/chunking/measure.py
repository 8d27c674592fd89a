"""One recipe measured: every labelled repository cut and embedded by it, asked alone and together with the others."""

from collections.abc import Sequence
from typing import Any

from benchmarks.chunking.files import TreeFile
from benchmarks.chunking.memory import MemoryVectors
from benchmarks.chunking.points import Cost, Points, make_points
from benchmarks.chunking.recipe import Recipe
from benchmarks.retrieval import scoring
from benchmarks.retrieval.bootstrap import mean
from benchmarks.retrieval.pools import Hit, Question, Suite
from services.api.candidates import Retriever
from services.api.live import LiveRepo
from services.api.request import Mode, SearchRequest
from services.api.scope import Scope
from services.core.catalog import Repo
from services.core.ports import Embedder, Filter

MODES = (Mode.HYBRID, Mode.SEMANTIC, Mode.LEXICAL)


def measure(suite: Suite, files: dict[str, list[TreeFile]], recipe: Recipe, embedder: Embedder) -> dict[str, Any]:
    """Return figures: NDCG@10 of each mode, single and pooled, by chunk and by file, as means over repositories; costs.

    The sparse list of a mode without dense vectors is the same for recipes that differ only in these.
    """
    cost = Cost()
    made = {tree.name: make_points(tree.name, files[tree.name], recipe, embedder, cost) for tree in suite.trees}
    asked = {tree.name: [q for q in suite.questions if q.repo == tree.name] for tree in suite.trees}
    single = [_scores([made[name]], asked[name], embedder) for name in made]
    together = _scores(list(made.values()), suite.questions, embedder)
    pooled = [{key: _of(values, suite.questions, name) for key, values in together.items()} for name in made]
    figures: dict[str, Any] = {}
    for setup, repos in (("single", single), ("pooled", pooled)):
        for key in repos[0]:
            figures[f"{setup}_{key}"] = round(mean([mean(repo[key]) for repo in repos]), 4)
    return figures | {
        "chunks": cost.chunks,
        "distinct_texts": cost.embedded,
        "vector_mb": round(cost.vector_bytes / 1e6, 1),
        "split_s": round(cost.split_s, 2),
        "embed_s": round(cost.embed_s, 2),
    }


def measure_comments(
    suite: Suite, files: dict[str, list[TreeFile]], recipe: Recipe, embedder: Embedder
) -> dict[str, float]:
    """Return MRR@10 of doc comments against their functions: each package alone, and all of a language together."""
    made = {tree.name: make_points(tree.name, files[tree.name], recipe, embedder, Cost()) for tree in suite.trees}
    found: dict[tuple[str, str], list[float]] = {}
    for pool in suite.pools(by_language=True):
        retriever = Retriever(embedder, MemoryVectors([made[tree.name] for tree in pool.trees]))
        scope = _scope({tree.name for tree in pool.trees})
        for question in pool.questions:
            hits = _hits(retriever, SearchRequest(question.text), scope)
            found.setdefault((pool.setup, question.repo), []).append(scoring.reciprocal_rank(hits, question))
    return {
        f"comments_{setup}": round(mean([mean(values) for (of, _), values in found.items() if of == setup]), 4)
        for setup in ("single", "pooled")
    }


def _of(values: list[float], questions: Sequence[Question], repo: str) -> list[float]:
    return [value for value, question in zip(values, questions, strict=True) if question.repo == repo]


def _scores(points: list[Points], questions: Sequence[Question], embedder: Embedder) -> dict[str, list[float]]:
    """Return a value for each question under ``hybrid``, ``hybrid_file`` and so on."""
    retriever = Retriever(embedder, MemoryVectors(points))
    scope = _scope({chunk.repo for part in points for chunk in part.chunks[:1]})
    found: dict[str, list[float]] = {}
    for mode in MODES:
        answers = [_hits(retriever, SearchRequest(question.text, mode=mode), scope) for question in questions]
        pairs = list(zip(answers, questions, strict=True))
        found[mode.value] = [scoring.ndcg(hits, question) for hits, question in pairs]
        found[f"{mode.value}_file"] = [scoring.ndcg(scoring.by_file(hits), question) for hits, question in pairs]
    return found


def _hits(retriever: Retriever, request: SearchRequest, scope: Scope) -> list[Hit]:
    ranked = retriever.ranked(request, scope)[: scoring.DEPTH]
    return [Hit(hit.chunk.repo, hit.chunk.path, hit.chunk.start_line, hit.chunk.end_line) for hit in ranked]


def _scope(names: set[str]) -> Scope:
    repos = {name: LiveRepo(Repo(name, "directory", "", "", "", "", "", 0, 0, 0.0, None), "") for name in names}
    return Scope(repos, (), (), Filter(), None, frozenset(), selective=False)
