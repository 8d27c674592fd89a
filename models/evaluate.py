"""How good a static model is alone: comments against their functions, and labelled queries against chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.chunking.files import read_files
from benchmarks.retrieval import scoring
from benchmarks.retrieval.pools import Hit, Pool, Question, Suite, Target, Tree
from benchmarks.retrieval.scoring import DEPTH
from models.comments import first_sentence
from models.pairs import Pair
from services.chunker.split import split
from services.core.adapters.static import StaticEmbedder, StaticModel
from services.core.texts import Texts

# Of each language: more make the figure steadier, and every one of them harder.
MAX_QUESTIONS = 1000


def reciprocal_ranks(model: StaticModel, pairs: Sequence[Pair]) -> dict[str, tuple[float, int]]:
    """Return by language the mean reciprocal rank of a comment's own code among the others, and how many there are."""
    embedder = StaticEmbedder(model)
    by_language: dict[str, list[Pair]] = {}
    for pair in pairs:
        if not pair.is_named:
            by_language.setdefault(pair.language, []).append(pair)
    figures = {}
    for language, found in sorted(by_language.items()):
        kept = list({first_sentence(pair.text): pair for pair in found}.values())
        kept = [kept[row] for row in np.random.default_rng(0).permutation(len(kept))[:MAX_QUESTIONS]]
        scores = (
            embedder.embed(Texts([first_sentence(pair.text) for pair in kept]))
            @ embedder.embed(Texts([pair.code for pair in kept])).T
        )
        ranks = (scores >= np.diag(scores)[:, None]).sum(axis=1)
        figures[language] = (float((1 / ranks).mean()), len(kept))
    return figures


def ndcg(model: StaticModel, suite: Suite) -> dict[str, float]:
    """Return NDCG@10 of dense search alone over Quarry's chunks, by repository; any chunk of a file stands for it."""
    embedder = StaticEmbedder(model)
    return {
        pool.trees[0].name: _ndcg(embedder, pool) for pool in suite.pools(by_language=False) if pool.setup == "single"
    }


def _ndcg(embedder: StaticEmbedder, pool: Pool) -> float:
    places, texts = zip(*_chunks(pool.trees[0]), strict=True)
    asked = embedder.embed(Texts([question.text for question in pool.questions]))
    scores = asked @ embedder.embed(Texts(texts)).T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    answers = zip(best, map(_of_files, pool.questions), strict=True)
    return float(np.mean([scoring.ndcg([places[chunk] for chunk in row], question) for row, question in answers]))


def _of_files(question: Question) -> Question:
    return replace(question, targets=tuple(Target(target.path) for target in question.targets))


def _chunks(tree: Tree) -> Iterator[tuple[Hit, str]]:
    for file in read_files(tree.path):
        for chunk in split(file.text, file.language).chunks:
            body = file.text[chunk.start_byte : chunk.end_byte].decode("utf-8", "replace")
            yield Hit(tree.name, file.path, chunk.start_line, chunk.end_line), body
