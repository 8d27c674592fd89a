"""Which collection of the vector store holds an index, and which one the searches see.

Points of different schemas can't be compared, so each schema has a collection of
its own. An alias says which one is live. A new model is indexed into a new
collection beside the live one, then the alias changes over and the old one can go.
"""

from services.core.collections import ALIAS, PREFIX, Collections, collection_name
from services.core.errors import InvalidRequest


def prepare(collections: Collections, schema: str, dim: int) -> str:
    """Make the collection of a schema if it is missing and return its name; the first one goes live.

    Raises:
        Unavailable: the server does not answer, or is too old.
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
    unused = [name for name in collections.names() if name.startswith(PREFIX) and name not in keep | {live}]
    for name in unused:
        collections.drop(name)
    return unused
