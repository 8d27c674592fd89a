"""How good a static model is alone: comments against their functions, and labelled queries against chunks."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.comments import first_sentence
from models.pairs import Pair
from services.chunker.classify import skip_by_text
from services.chunker.decode import decode
from services.chunker.languages import language_of
from services.chunker.split import split
from services.chunker.walk import DirectorySource
from services.core.adapters.static import StaticEmbedder, StaticModel
from services.core.texts import Texts

# Of each language: more make the figure steadier, and every one of them harder.
MAX_QUESTIONS = 1000
_HITS = 10
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Labelled:
    """A repository with queries: texts and places (path, first line, last line) of its chunks, queries and targets."""

    name: str
    texts: list[str]
    places: list[tuple[str, int, int]]
    queries: list[str]
    targets: list[list[str]]


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


def labelled(labels: Path, trees: Path, repositories: Path) -> list[Labelled]:
    """Cut the trees of the labelled repositories into Quarry's chunks; each tree lies in ``trees/NAME``."""
    roots = {entry["name"]: entry.get("benchmark_root") or "" for entry in json.loads(repositories.read_text())}
    found = []
    for path in sorted(labels.glob("*.json")):
        tasks = json.loads(path.read_text())
        chunks = list(_chunks(trees / path.stem / roots[path.stem]))
        found.append(
            Labelled(
                path.stem,
                [text for _, text in chunks],
                [place for place, _ in chunks],
                [task["query"] for task in tasks],
                [[str(t if isinstance(t, str) else t["path"]) for t in task["relevant"]] for task in tasks],
            )
        )
    return found


def ndcg(model: StaticModel, repositories: Sequence[Labelled]) -> dict[str, float]:
    """Return NDCG@10 of dense search alone by repository; a file counts once, at its first chunk."""
    embedder = StaticEmbedder(model)
    figures = {}
    for repository in repositories:
        scores = embedder.embed(Texts(repository.queries)) @ embedder.embed(Texts(repository.texts)).T
        gains = []
        for row, targets in zip(scores, repository.targets, strict=True):
            best = np.argsort(-row, kind="stable")[:_HITS]
            gains.append(_gain([repository.places[chunk][0] for chunk in best], targets))
        figures[repository.name] = float(np.mean(gains))
    return figures


def _gain(paths: list[str], targets: list[str]) -> float:
    gains = {next((rank for rank, path in enumerate(paths) if _same(path, target)), None) for target in targets}
    found = sum(1 / math.log2(rank + 2) for rank in gains if rank is not None)
    return found / sum(1 / math.log2(rank + 2) for rank in range(min(_HITS, len(targets))))


def _same(path: str, target: str) -> bool:
    return path == target or path.endswith(f"/{target}") or target.endswith(f"/{path}")


def _chunks(root: Path) -> Iterator[tuple[tuple[str, int, int], str]]:
    with DirectorySource(root) as source:
        files, _ = source.files()
        for file, raw in zip(files, source.read(files), strict=True):
            text = decode(raw) if isinstance(raw, bytes) else raw
            if not isinstance(text, bytes) or skip_by_text(file.path, text):
                continue
            for chunk in split(text, language_of(file.path, text[:_HEAD_BYTES])).chunks:
                body = text[chunk.start_byte : chunk.end_byte].decode("utf-8", "replace")
                yield (file.path, chunk.start_line, chunk.end_line), body
