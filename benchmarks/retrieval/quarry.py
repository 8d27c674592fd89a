"""Quarry as a whole: its own chunks, index and ranking, asked through its search API, with parts switched off."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from benchmarks.retrieval.pools import Chunk, Hit, Pool, Question, Tree
from benchmarks.retrieval.rows import ABLATION
from benchmarks.retrieval.scoring import DEPTH
from services.api.packtext import PackText
from services.api.request import Mode, SearchRequest
from services.api.search import Searcher
from services.api.weights import DEFAULT, RULES, Weights
from services.core.ports import Candidates, Filter, VectorReader
from services.core.settings import Settings
from services.core.wiring import open_embedder
from services.embedded.access import own
from services.embedded.indexing import run_job
from services.embedded.jobs import request_job
from services.embedded.launcher import Interpreters
from services.embedded.owner import Owner
from services.embedded.pool import WorkerPool

NAME = "quarry"
Sparse = tuple[np.ndarray, np.ndarray]
# Not rules of the ranking but the lists it begins with.
_LISTS = frozenset({"dense", "sparse"})


@dataclass(frozen=True, slots=True)
class Variant:
    """Quarry with a mode, and with rules of its ranking switched off."""

    name: str
    mode: Mode = Mode.HYBRID
    off: tuple[str, ...] = ()

    def weights(self) -> Weights:
        """Return the weights of the ranking."""
        weights = DEFAULT
        for rule in self.off:
            weights = weights.without(rule)
        return weights


WHOLE = Variant(NAME)
PARTS = (
    Variant("lexical only", Mode.LEXICAL),
    Variant("dense only", Mode.SEMANTIC),
    Variant("both, no rules", off=tuple(rule for rule in RULES if rule not in _LISTS)),
)
RULES_OFF = tuple(Variant(f"{ABLATION}{rule}", off=(rule,)) for rule in RULES)


class Remembering:
    """A vector store that answers what it was asked before from memory: the rules change nothing about that."""

    def __init__(self, vectors: VectorReader) -> None:
        self._vectors = vectors
        self._found: dict[tuple[object, ...], Candidates] = {}
        self._payloads: dict[UUID, dict[str, Any]] = {}

    def query(self, dense: np.ndarray | None, sparse: Sparse | None, where: Filter, limit: int) -> Candidates:
        """Return the candidates for vectors."""
        parts = (dense, *(sparse or ()))
        key = (*(None if part is None else part.tobytes() for part in parts), where, limit)
        if key not in self._found:
            self._found[key] = self._vectors.query(dense, sparse, where, limit)
        return self._found[key]

    def payloads(self, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
        """Return the payloads of points."""
        self._payloads |= self._vectors.payloads([point for point in ids if point not in self._payloads])
        return {point: self._payloads[point] for point in ids if point in self._payloads}

    def count(self, where: Filter) -> int:
        """Return how many points the filter admits."""
        return self._vectors.count(where)


class Indexed:
    """Quarry with the trees of a pool indexed; `searcher` is the owner's, with a memory for what is asked again."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.searcher = Searcher(
            embedder=owner.embedder,
            vectors=Remembering(owner.searcher.vectors),
            blobs=owner.blobs,
            catalog=owner.catalog,
            ledger=owner.ledger,
            barrier=owner.barrier,
            schema=owner.schema,
        )

    def answers(self, questions: Sequence[Question], variant: Variant = WHOLE) -> list[list[Hit]]:
        """Return the first ten hits for each question, over everything that is indexed."""
        self.searcher.retriever.weights = variant.weights()
        requests = [SearchRequest(question.text, mode=variant.mode, limit=DEPTH) for question in questions]
        found = [self.searcher.search(request).hits for request in requests]
        return [[Hit(hit.repo, hit.path, hit.start_line, hit.end_line) for hit in hits] for hits in found]

    def chunks(self) -> list[Chunk]:
        """Return every chunk, by repository, path and place."""
        searcher = self.searcher
        return [
            chunk
            for name, live in sorted(searcher.live.view().repos.items())
            for file in searcher.live.files(live).files
            for chunk in _chunks(name, file.path, searcher.packs.get(file.pack), file.first, file.count)
        ]


@contextmanager
def indexed(trees: Sequence[Tree], home: Path) -> Iterator[Indexed]:
    """Index trees in a new data directory, yield it, and remove it."""
    shutil.rmtree(home, ignore_errors=True)
    owner = own(replace(Settings.from_env(), home=home), "benchmark")
    try:
        pool = WorkerPool(owner.settings, owner.home.run, Interpreters())
        try:
            for tree in trees:
                run_job(owner, pool, request_job(owner, str(tree.path), tree.name, None).id)
        finally:
            pool.close()
        yield Indexed(owner)
    finally:
        owner.close()
        shutil.rmtree(home, ignore_errors=True)


def _chunks(repo: str, path: str, pack: PackText, first: int, count: int) -> Iterator[Chunk]:
    text = pack.file(first, count)
    for place in pack.places(first, count):
        piece = text[place.start_byte : place.end_byte].decode(errors="replace")
        yield Chunk(Hit(repo, path, place.start_line, place.end_line), piece)


def describe_model() -> dict[str, object]:
    """Return which embedder and model the settings choose; the id holds the digest of the weights."""
    settings = Settings.from_env()
    embedder = open_embedder(settings)
    return {"embedder": settings.embedder, "model": embedder.model_id, "dimensions": embedder.dim}


def home_of(folder: Path, pool: Pool) -> Path:
    """Return the data directory for a pool."""
    return folder / "homes" / f"{pool.setup}-{pool.trees[0].name}"
