"""Chunks with their vectors, made of files as the stages make them but without a store, and what that costs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.chunking.files import TreeFile
from benchmarks.chunking.recipe import Recipe, View, cutting
from services.chunker.split import split
from services.core.model import Chunk
from services.core.pack import TextSpan
from services.core.payload import StoredChunk
from services.core.ports import Embedder, SparseRows
from services.core.sparse import sparse_documents
from services.core.texts import Texts

# As many texts share their words as in a batch of the product.
_BATCH = 2000
_HEADER = View(path=1, symbol=1)


@dataclass(frozen=True, slots=True)
class Points:
    """Chunks of one repository: chunks[n], dense float32[n, dim] as rounded for storage, sparse n rows."""

    chunks: list[StoredChunk]
    dense: np.ndarray
    sparse: SparseRows


@dataclass(slots=True)
class Cost:
    """What it took: CPU seconds, bytes of both vectors as stored, and how many texts a cache would not know."""

    split_s: float = 0.0
    embed_s: float = 0.0
    chunks: int = 0
    vector_bytes: int = 0
    embedded: int = 0


def make_points(repo: str, files: Sequence[TreeFile], recipe: Recipe, embedder: Embedder, cost: Cost) -> Points:
    """Cut and embed the files of a repository, and add to `cost` what it took."""
    started = time.process_time()
    with cutting(recipe.goal_bytes):
        cut = [(file, chunk) for file in files for chunk in split(file.text, file.language).chunks]
        split_at = time.process_time()
        parts = [_embed(cut[at : at + _BATCH], recipe, embedder, cost) for at in range(0, len(cut), _BATCH)]
    cost.split_s += split_at - started
    cost.embed_s += time.process_time() - split_at
    sparse = join_rows([rows for _, rows in parts])
    dense = np.concatenate([rows for rows, _ in parts])
    cost.chunks += len(cut)
    cost.vector_bytes += 2 * dense.size + 8 * len(sparse.indices)
    return Points(_stored(repo, cut), dense, sparse)


def join_rows(parts: Sequence[SparseRows]) -> SparseRows:
    """Return the rows of all `parts`, one below the other."""
    ends = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.indptr) for part in parts]))])
    indices = np.concatenate([part.indices for part in parts])
    return SparseRows(ends.astype(np.int64), indices, np.concatenate([part.values for part in parts]))


def _embed(
    cut: list[tuple[TreeFile, Chunk]], recipe: Recipe, embedder: Embedder, cost: Cost
) -> tuple[np.ndarray, SparseRows]:
    dense_texts = Texts([recipe.dense.text(file.path, file.text, chunk) for file, chunk in cut])
    same = recipe.dense == recipe.sparse
    sparse_texts = dense_texts if same else Texts([recipe.sparse.text(f.path, f.text, chunk) for f, chunk in cut])
    dense = embedder.embed(dense_texts)
    if recipe.context:
        headers = embedder.embed(Texts([_HEADER.text(file.path, b"", chunk) for file, chunk in cut]))
        dense = dense + np.float32(recipe.context) * headers
        dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    dense = dense.astype("<f2").astype(np.float32)
    cost.embedded += len(set(dense_texts.texts))
    return dense, sparse_documents(sparse_texts, [file.path for file, _ in cut], [chunk.defines for _, chunk in cut])


def _stored(repo: str, cut: list[tuple[TreeFile, Chunk]]) -> list[StoredChunk]:
    stored: list[StoredChunk] = []
    for file, chunk in cut:
        ordinal = stored[-1].ordinal + 1 if stored and stored[-1].path == file.path else 0
        stored.append(
            StoredChunk(
                repo=repo,
                path=file.path,
                language=file.language,
                kind=file.kind,
                symbol=chunk.symbol,
                defines=chunk.defines,
                start_line=chunk.start_line,
                end_line=chunk.end_line,
                start_byte=chunk.start_byte,
                end_byte=chunk.end_byte,
                ordinal=ordinal,
                pack="",
                text=TextSpan(0, 0, 0, ""),
            )
        )
    return stored
