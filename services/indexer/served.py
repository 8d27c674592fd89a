"""The vector stores of the distributed mode: one collection for each schema."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING
from uuid import UUID

from services.core.catalog import Schema
from services.core.ports import Points, VectorWriter
from services.core.settings import Settings
from services.core.wiring import open_collections, open_served_vectors
from services.indexer.collection import prepare

if TYPE_CHECKING:
    from services.core.adapters.qdrant import QdrantVectors


def open_store(settings: Settings, schema: Schema) -> "QdrantVectors":
    """Return the store of a schema; its collection is made if it is missing.

    Raises:
        Unavailable: the server does not answer.
    """
    with closing(open_collections(settings)) as collections:
        name = prepare(collections, schema.name, schema.dim)
    return open_served_vectors(settings, name, schema.dim)


class HeldStore:
    """A `VectorWriter` that asks before each write whether its caller may still write: `check` raises if not.

    Points of a job that is over would come back, or those of the next one go: the store knows no leases.
    """

    def __init__(self, store: VectorWriter, check: Callable[[], None]) -> None:
        self._store = store
        self._check = check

    def upsert(self, points: Points) -> None:
        """Insert or replace points."""
        self._check()
        self._store.upsert(points)

    def retire(self, ids: Sequence[UUID], generation: int) -> None:
        """Mark points as replaced by `generation`."""
        self._check()
        self._store.retire(ids, generation)

    def purge(self, *, retired_by: int | None = None, generation: int | None = None, repo: str | None = None) -> None:
        """Delete the points retired by a generation, written by one, or of a repository."""
        self._check()
        self._store.purge(retired_by=retired_by, generation=generation, repo=repo)

    def flush(self) -> None:
        """Return once everything written before is on disk, and was ours to write."""
        self._store.flush()
        self._check()


class AllStores:
    """What is done to the points of a repository under every schema."""

    def __init__(self, stores: Sequence[VectorWriter]) -> None:
        self._stores = stores

    def purge(self, *, repo: str) -> None:
        """Delete the points of a repository."""
        for store in self._stores:
            store.purge(repo=repo)

    def flush(self) -> None:
        """Return once everything written before is on disk."""
        for store in self._stores:
            store.flush()
