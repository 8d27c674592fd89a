"""What the stages and the API need from the outside, and nothing more.

Each port has a local and a served implementation in `services.core.adapters`;
one contract suite in tests/contract runs every implementation of a port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from services.core.model import FileRef, Message, Skipped

if TYPE_CHECKING:
    # Half of the commands need no array; importing NumPy takes them 0.15 s.
    import numpy as np

    from services.core.texts import Texts

Emit = Callable[[Message], None]


class BlobStore(Protocol):
    """Immutable bytes under their digest."""

    def put(self, data: bytes) -> str:
        """Store `data` durably and return its digest; storing it again changes nothing."""

    def get(self, digest: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a blob, or `length` bytes of it from `start`.

        A whole blob is verified against its digest; a range cannot be, its reader does that.

        Raises:
            NotFound: there is no such blob.
            CorruptData: the bytes do not match, or the blob is shorter than the range.
        """

    def delete(self, digest: str, *, older_than_s: float = 0.0) -> None:
        """Remove a blob, unless it was stored, or stored again, since so long; one that is not there is no error."""

    def digests(self, *, older_than_s: float = 0.0) -> Iterable[str]:
        """Yield the digest of every blob that was not stored, or stored again, since so long; in no order."""


class EmbeddingCache(Protocol):
    """Embeddings by (model, digest of the text); may forget anything at any time."""

    def get(self, model: str, digests: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the known ones, each float32[dim]."""

    def put(self, model: str, vectors: Mapping[str, np.ndarray]) -> None:
        """Remember vectors, each float32[dim]; stored as float16."""

    def stats(self) -> dict[str, int | float]:
        """Return ``entries``, ``size_bytes``, ``limit_bytes``, ``hits``, ``misses``, ``hit_rate``."""

    def clear(self) -> None:
        """Forget everything."""


class Embedder(Protocol):
    """Text to dense vectors."""

    @property
    def model_id(self) -> str:
        """Name of the model with the digest of its weights: the cache key and collection name."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def embed(self, texts: Texts) -> np.ndarray:
        """Return float32[len(texts), dim], unit rows, finite; a text without a known word gives a fixed unit row."""


class Reranker(Protocol):
    """Texts against a query, by a larger model than the one that found them."""

    def scores(self, query: str, texts: Sequence[str]) -> np.ndarray:
        """Return float32[len(texts)] in [-1, 1], higher for what answers better; comparable within one call."""


class Source(Protocol):
    """A tree of files at one revision."""

    def files(self) -> tuple[list[FileRef], list[Skipped]]:
        """List the files to index, by path, and those left out."""

    def read(self, refs: Sequence[FileRef]) -> Iterable[bytes | Skipped]:
        """Yield each file's raw bytes in order, or why it can't be read."""


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Sparse vectors in CSR form: row i is ``indices[indptr[i]:indptr[i+1]]``.

    indptr int64[n + 1], indices uint32[nnz] sorted and unique in each row, values float32[nnz].
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.indptr) - 1


@dataclass(frozen=True, slots=True)
class Points:
    """Points to upsert, in columns: ids[n], dense float32[n, dim], sparse n rows, payloads[n]."""

    ids: list[UUID]
    dense: np.ndarray
    sparse: SparseRows
    payloads: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which points a search may see. An empty tuple places no restriction, except where noted.

    paths: exact paths as (repo, path), or None for no restriction; an empty tuple admits nothing.
    path_prefixes, extensions: any of them must fit.
    staged: generations that are not live yet. retired: generations whose replaced points are not purged yet.
    """

    repos: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    paths: tuple[tuple[str, str], ...] | None = None
    path_prefixes: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    staged: tuple[int, ...] = ()
    retired: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidates:
    """Two ranked lists of (id, score), best first; one that was not asked for is empty."""

    dense: list[tuple[UUID, float]] = field(default_factory=list)
    sparse: list[tuple[UUID, float]] = field(default_factory=list)


class VectorWriter(Protocol):
    """The indexer's side of the vector store."""

    def upsert(self, points: Points) -> None:
        """Insert or replace points; searchable at once, durable after `flush`.

        Raises:
            InvalidRequest: a dense vector is not finite or has no length.
        """

    def retire(self, ids: Sequence[UUID], generation: int) -> None:
        """Mark points as replaced by `generation`: hidden from searches that name it in `Filter.retired`."""

    def purge(self, *, retired_by: int | None = None, generation: int | None = None, repo: str | None = None) -> None:
        """Delete the points retired by a generation, written by one, or of a repository (any one of them given)."""

    def flush(self) -> None:
        """Return once everything written before is on disk."""


class VectorReader(Protocol):
    """The API's side of the vector store."""

    def query(
        self, dense: np.ndarray | None, sparse: tuple[np.ndarray, np.ndarray] | None, where: Filter, limit: int
    ) -> Candidates:
        """Return the `limit` best points by each vector given.

        By cosine for dense float32[dim], by IDF-weighted dot product for sparse
        (indices uint32[m], values float32[m]).
        """

    def payloads(self, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
        """Return the payload of each point that is still there."""

    def count(self, where: Filter) -> int:
        """Return how many points the filter admits."""
