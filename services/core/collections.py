"""Names of the vector store's collections: one for each schema, and an alias for the one that is live."""

from typing import Protocol

from services.core.digest import digest

ALIAS = "quarry"
PREFIX = f"{ALIAS}-"
# 48 bits: a deployment sees a handful of schemas in its life.
_DIGEST_CHARS = 12


class Collections(Protocol):
    """What is done to whole collections; all of it may be repeated."""

    def names(self) -> list[str]:
        """Return the names of all collections."""

    def behind(self, alias: str) -> str | None:
        """Return the collection that an alias stands for, None if there is no such alias."""

    def create(self, name: str, dim: int) -> None:
        """Make a collection, or what is missing of one that is there."""

    def point_alias(self, alias: str, collection: str) -> None:
        """Let an alias stand for a collection from one moment to the next."""

    def drop(self, name: str) -> None:
        """Delete a collection and its aliases."""


def collection_name(schema: str, dim: int) -> str:
    """Return the name of the collection for a schema and a dimension."""
    return PREFIX + digest(f"{schema}/{dim}".encode())[:_DIGEST_CHARS]
