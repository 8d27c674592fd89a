"""A suite asked of every system: a row of scores for each system, setup and repository."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.retrieval import lexical, quarry, semble
from benchmarks.retrieval.bootstrap import mean
from benchmarks.retrieval.pools import Hit, Pool, Suite
from benchmarks.retrieval.scoring import METRICS, scores


def measure(suite: Suite, folder: Path, *, by_language: bool, ablations: bool, peer: bool) -> list[dict[str, Any]]:
    """Ask every system every question and return the rows; data is kept below `folder` only meanwhile.

    Raises:
        PeerFailed: the peer did not answer.
    """
    suite = _copied(suite, folder / "retrieval" / "trees" / suite.name)
    pools = suite.pools(by_language=by_language)
    rows: list[dict[str, Any]] = []
    for number, pool in enumerate(pools, 1):
        names = pool.trees[0].name if len(pool.trees) == 1 else f"{len(pool.trees)} repositories, {_languages(pool)}"
        print(f"{suite.name} {number}/{len(pools)}: {names}, {len(pool.questions)} questions", file=sys.stderr)
        for system, answers in _asked(pool, folder, ablations=ablations):
            rows += _rows(system, pool, answers)
    if peer:
        for pool, found in zip(pools, semble.answers(folder, pools), strict=True):
            rows += _rows(semble.NAME, pool, found)
    return rows


def _languages(pool: Pool) -> str:
    languages = {tree.language for tree in pool.trees}
    return languages.pop() if len(languages) == 1 else f"{len(languages)} languages"


def _copied(suite: Suite, folder: Path) -> Suite:
    """Return the suite over copies, each in a folder of its repository's name, which is what the peer calls it."""
    shutil.rmtree(folder, ignore_errors=True)
    trees = []
    for tree in suite.trees:
        shutil.copytree(tree.path, folder / tree.name, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        trees.append(replace(tree, path=folder / tree.name))
    return replace(suite, trees=tuple(trees))


def _asked(pool: Pool, folder: Path, *, ablations: bool) -> Iterator[tuple[str, list[list[Hit]]]]:
    variants = (quarry.WHOLE, *quarry.PARTS, *(quarry.RULES_OFF if ablations else ()))
    with quarry.indexed(pool.trees, quarry.home_of(folder / "retrieval", pool)) as index:
        chunks = index.chunks()
        for variant in variants:
            yield variant.name, index.answers(pool.questions, variant)
    postings = lexical.Postings(chunks)
    yield lexical.TERMS, [postings.terms(question) for question in pool.questions]
    yield lexical.BM25, [postings.bm25(question) for question in pool.questions]


def _rows(system: str, pool: Pool, answers: Sequence[Sequence[Hit]]) -> list[dict[str, Any]]:
    rows = []
    for tree in pool.trees:
        asked = [(q, scores(hits, q)) for q, hits in zip(pool.questions, answers, strict=True) if q.repo == tree.name]
        if not asked:
            continue
        found = [score for _, score in asked]
        categories = {
            category: [round(mean([s["ndcg"] for q, s in asked if q.category == category]), 4), _count(asked, category)]
            for category in sorted({question.category for question, _ in asked})
        }
        rows.append(
            {"system": system, "setup": pool.setup, "repo": tree.name, "language": tree.language}
            | {"questions": len(found), "categories": categories}
            | {metric: round(mean([score[metric] for score in found]), 5) for metric in METRICS}
        )
    return rows


def _count(asked: Sequence[tuple[Any, Any]], category: str) -> int:
    return sum(question.category == category for question, _ in asked)
