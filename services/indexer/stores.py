"""The vector stores of a deployment, to look at and to repair."""

from dataclasses import dataclass
from typing import Protocol

from services.core.catalog import Schema
from services.core.census import Census
from services.core.collections import Collections, collection_name
from services.core.ports import VectorWriter
from services.core.settings import Settings
from services.core.wiring import open_collections, open_served_vectors


class Store(VectorWriter, Census, Protocol):
    """A vector store that can also be listed."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The store of each schema, by its name; without those whose collection is missing."""

    collections: Collections
    by_schema: dict[str, Store]


def open_stores(settings: Settings, schemas: list[Schema]) -> Stores:
    """Return the stores of the schemas whose collection is there; none is made.

    Raises:
        Unavailable: the server does not answer.
    """
    collections = open_collections(settings)
    there = set(collections.names())
    names = {schema: collection_name(schema.name, schema.dim) for schema in schemas}
    found: dict[str, Store] = {
        schema.name: open_served_vectors(settings, name, schema.dim) for schema, name in names.items() if name in there
    }
    return Stores(collections, found)
