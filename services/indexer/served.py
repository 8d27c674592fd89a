"""The vector stores of the distributed mode: one collection for each schema."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.core.catalog import Schema
from services.core.ports import VectorWriter
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
    name = prepare(open_collections(settings), schema.name, schema.dim)
    return open_served_vectors(settings, name, schema.dim)


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
