"""Which collection is made, goes live and is dropped; the server's part is in tests/integration."""

import pytest

from services.core.collections import ALIAS, collection_name
from services.core.errors import InvalidRequest
from services.indexer.collection import drop_unused, prepare, switch


class MemoryCollections:
    """Collections that are names only."""

    def __init__(self, *names):
        self.dims = dict.fromkeys(names, 8)
        self.aliases = {}

    def names(self):
        return sorted(self.dims)

    def behind(self, alias):
        return self.aliases.get(alias)

    def create(self, name, dim):
        self.dims[name] = dim

    def point_alias(self, alias, collection):
        self.aliases[alias] = collection

    def drop(self, name):
        self.dims.pop(name, None)


def test_the_name_tells_schemas_and_dimensions_apart():
    names = {collection_name(schema, dim) for schema in ("a/1/m", "a/2/m") for dim in (256, 384)}

    assert len(names) == 4
    assert collection_name("a/1/m", 256) in names
    assert all(name.startswith("quarry-") and len(name) == len("quarry-") + 12 for name in names)


def test_the_first_collection_goes_live_and_the_next_waits():
    collections = MemoryCollections()

    first = prepare(collections, "old", 8)
    second = prepare(collections, "new", 16)

    assert collections.dims == {first: 8, second: 16}
    assert collections.behind(ALIAS) == first


def test_a_switch_makes_a_collection_live_and_names_the_one_before():
    collections = MemoryCollections()
    first, second = prepare(collections, "old", 8), prepare(collections, "new", 16)

    assert switch(collections, "new", 16) == first
    assert switch(collections, "new", 16) == second
    assert collections.behind(ALIAS) == second


def test_a_collection_that_is_not_there_does_not_go_live():
    collections = MemoryCollections()
    first = prepare(collections, "old", 8)

    with pytest.raises(InvalidRequest, match="no collection"):
        switch(collections, "new", 16)

    assert collections.behind(ALIAS) == first


def test_only_collections_of_ours_that_nobody_uses_are_dropped():
    collections = MemoryCollections("other", "quarrying", "quarry-0123456789ab")
    live, filled = prepare(collections, "old", 8), prepare(collections, "new", 8)

    assert drop_unused(collections, keep={filled}) == ["quarry-0123456789ab"]
    assert collections.names() == sorted([live, filled, "other", "quarrying"])
