"""Candidates: what the vector store offers for a query, and what ranking makes of it."""

import heapq
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import numpy as np

from services.api.fusion import blend, fuse, scale
from services.api.query import Query, last_name, understand
from services.api.ranking import Candidate, Ranked, rank
from services.api.request import Mode, SearchRequest
from services.api.scope import Scope
from services.api.symbols import rank_symbols
from services.api.weights import DEFAULT, Weights
from services.core.payload import StoredChunk, from_payload
from services.core.ports import Embedder, VectorReader
from services.core.sparse import file_query, sparse_query, symbol_query
from services.core.texts import Texts

# Deep enough that what ranking can lift is there, shallow enough to rank within 3 ms.
_CANDIDATES = 150
# Where part of the filter is checked only afterwards, enough must be left.
_CANDIDATES_SELECTIVE = 1_000
_SYMBOL_CANDIDATES = 300
_DEFINITION_CANDIDATES = 40
_FILE_CANDIDATES = 20
_MAX_NAMES = 3

_Ranking = Sequence[tuple[UUID, float]]
_Sparse = tuple[np.ndarray, np.ndarray]


class Retriever:
    """Ranks chunks for the modes that ask the vector store; `weights` are those of the next search."""

    def __init__(self, embedder: Embedder, vectors: VectorReader, weights: Weights = DEFAULT) -> None:
        self.weights = weights
        self._embedder = embedder
        self._vectors = vectors

    def ranked(self, request: SearchRequest, scope: Scope) -> list[Ranked]:
        """Return chunks in scope, best first."""
        if not scope.repos or scope.where.paths == ():
            return []
        if request.mode is Mode.SYMBOL:
            return self._symbols(request.query, scope)
        query = understand(request.query)
        if request.mode is Mode.HYBRID:
            found = self._fused(query, scope)
            return rank(query, found, repos_in_scope=len(scope.repos), weights=self.weights)
        return self._plain(query, scope, request.mode)

    def _fused(self, query: Query, scope: Scope) -> list[Candidate]:
        weights = self.weights
        of_words, of_symbol = (weights.dense, weights.sparse), (weights.dense_symbol, weights.sparse_symbol)
        dense_weight, sparse_weight = of_symbol if query.symbol else of_words
        found = self._vectors.query(
            self._dense(query.text), _some(sparse_query(query.text)), scope.where, _depth(scope)
        )
        lists: list[tuple[float, _Ranking]] = [(dense_weight, found.dense), (sparse_weight, found.sparse)]
        for name in query.names[:_MAX_NAMES]:
            lists.append((weights.definitions, self._sparse(symbol_query(name), scope, _DEFINITION_CANDIDATES)))
        fused = blend(scale(fuse(lists)), found.sparse, weights.lexical_score)
        best = heapq.nsmallest(_depth(scope), fused.items(), key=lambda item: (-item[1], item[0]))
        best += self._named(query, scope, fused, {point for point, _ in best})
        chunks = self._chunks([point for point, _ in best], scope)
        return [Candidate(chunks[point], score) for point, score in best if point in chunks]

    def _named(
        self, query: Query, scope: Scope, fused: Mapping[UUID, float], held: Collection[UUID]
    ) -> list[tuple[UUID, float]]:
        """Return the files whose names have words of the query and that are no candidates yet, by a chunk of each."""
        if not self.weights.files:
            return []
        named = self._sparse(file_query(query.text), scope, _FILE_CANDIDATES)
        return [(point, fused.get(point, 0.0)) for point, _ in named if point not in held]

    def _plain(self, query: Query, scope: Scope, mode: Mode) -> list[Ranked]:
        """Rank by one list alone, its scores as they are."""
        if mode is Mode.SEMANTIC:
            ranking: _Ranking = self._vectors.query(self._dense(query.text), None, scope.where, _depth(scope)).dense
        else:
            ranking = self._sparse(sparse_query(query.text), scope, _depth(scope))
        chunks = self._chunks([point for point, _ in ranking], scope)
        hits = [Ranked(chunks[point], score) for point, score in ranking if point in chunks]
        return sorted(hits, key=lambda hit: (-hit.score, hit.chunk.repo, hit.chunk.path, hit.chunk.ordinal))

    def _symbols(self, text: str, scope: Scope) -> list[Ranked]:
        defining = self._sparse(symbol_query(last_name(text)), scope, _SYMBOL_CANDIDATES)
        chunks = self._chunks([point for point, _ in defining], scope)
        return [Ranked(hit.chunk, hit.score) for hit in rank_symbols(text, chunks.values())]

    def _dense(self, text: str) -> np.ndarray:
        vector: np.ndarray = self._embedder.embed(Texts([text]))[0]
        return vector

    def _sparse(self, vector: _Sparse, scope: Scope, limit: int) -> _Ranking:
        known = _some(vector)
        return self._vectors.query(None, known, scope.where, limit).sparse if known else ()

    def _chunks(self, points: list[UUID], scope: Scope) -> dict[UUID, StoredChunk]:
        stored = ((point, from_payload(payload)) for point, payload in self._vectors.payloads(points).items())
        return {point: chunk for point, chunk in stored if scope.admits(chunk)}


def _depth(scope: Scope) -> int:
    return _CANDIDATES_SELECTIVE if scope.selective else _CANDIDATES


def _some(vector: _Sparse) -> _Sparse | None:
    """Return a sparse vector, None for one without terms (a query of punctuation)."""
    return vector if len(vector[0]) else None
