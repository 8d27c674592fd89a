"""Which collection of the vector store holds an index, and which one the searches see.

Points of different schemas can't be compared, so each schema has a collection of
its own. An alias says which one is live. A new model is indexed into a new
collection beside the live one, then the alias changes over and the old one can go.
"""

from typing import Protocol

from services.core.digest import digest
from services.core.errors import InvalidRequest

ALIAS = "quarry"
_PREFIX = f"{ALIAS}-"
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
        """Delete a collection."""


def collection_name(schema: str, dim: int) -> str:
    """Return the name of the collection for a schema and a dimension."""
    return _PREFIX + digest(f"{schema}/{dim}".encode())[:_DIGEST_CHARS]


def prepare(collections: Collections, schema: str, dim: int) -> str:
    """Make the collection of a schema if it is missing and return its name; the first one goes live.

    Raises:
        Unavailable: the server does not answer.
    """
    name = collection_name(schema, dim)
    collections.create(name, dim)
    if collections.behind(ALIAS) is None:
        collections.point_alias(ALIAS, name)
    return name


def switch(collections: Collections, schema: str, dim: int) -> str | None:
    """Make the collection of a schema the live one and return the one that was; searches see no gap.

    Raises:
        InvalidRequest: it does not exist.
    """
    name, before = collection_name(schema, dim), collections.behind(ALIAS)
    if name not in collections.names():
        raise InvalidRequest(f"there is no collection {name!r} for {schema!r}; index with it before it goes live")
    if before != name:
        collections.point_alias(ALIAS, name)
    return before


def drop_unused(collections: Collections, keep: set[str]) -> list[str]:
    """Delete Quarry's collections that are neither live nor in `keep`, and return their names.

    To `keep` belongs every collection that something still writes to: one being filled is not live yet.
    """
    live = collections.behind(ALIAS)
    unused = [name for name in collections.names() if name.startswith(_PREFIX) and name not in keep | {live}]
    for name in unused:
        collections.drop(name)
    return unused
