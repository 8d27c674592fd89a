"""The collections of a Qdrant server and the alias in front of one of them."""

from typing import Any
from urllib.parse import quote

from services.core.adapters.qdrant_server import QdrantServer
from services.core.adapters.stored_points import DENSE, TERMS
from services.core.errors import InvalidRequest

# What filters use. `repo` is the tenant: its points lie together. The graph gets links of its own within
# repositories and languages only, because those are what a search is narrowed to and each field costs
# another graph; the number of paths and generations has no bound.
INDEXES: dict[str, dict[str, Any]] = {
    "repo": {"type": "keyword", "is_tenant": True},
    "lang": {"type": "keyword"},
    "ext": {"type": "keyword", "enable_hnsw": False},
    "path": {"type": "keyword", "prefix": True, "enable_hnsw": False, "memory": "cold"},
    "gen": {"type": "integer", "lookup": True, "range": False, "enable_hnsw": False},
    "retired": {"type": "integer", "lookup": True, "range": False, "enable_hnsw": False},
}
# Segments that take new points, the smallest first. A new point costs a walk through the posting lists of all its
# terms in its segment, which was half of the server's time with two segments; a search looks at as many points
# whatever the number of segments.
_SEGMENTS = 8
# Kilobytes of vectors in a segment before it gets a graph and codes: 25,000 points of 256 dimensions, so 200,000 in
# all, which are searched one by one in 20 ms. Making a graph takes more of the server's time than all else.
_INDEXING_THRESHOLD_KB = 12_500
# Ten times what a search asks for, and four times the largest upsert: what exceeds them is a mistake.
MAX_LIMIT = 10_000
_MAX_UPSERT = 1024


class QdrantCollections:
    """What may be done to whole collections; every call may be repeated and made by several processes at a time."""

    def __init__(self, server: QdrantServer) -> None:
        self._server = server

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        return sorted(row["name"] for row in self._server.read("/collections")["collections"])

    def behind(self, alias: str) -> str | None:
        """Return the collection that `alias` stands for, None if there is no such alias."""
        rows = self._server.read("/aliases")["aliases"]
        return next((row["collection_name"] for row in rows if row["alias_name"] == alias), None)

    def create(self, name: str, dim: int, *, segments: int = _SEGMENTS) -> None:
        """Make a collection with the indexes its filters need, or what is missing of one that is there.

        A collection of fewer `segments` is made sooner, and slower to fill.

        Raises:
            InvalidRequest: it is there with another dimension.
            Unavailable: the server does not answer, or is too old.
        """
        self._server.check()
        path = f"/collections/{quote(name, safe='')}"
        if not self._exists(path):
            try:
                self._server.write("PUT", path, _settings(dim, segments))
            except InvalidRequest:
                # Another process was faster.
                if not self._exists(path):
                    raise
        found = self._server.read(path)
        size = found["config"]["params"]["vectors"][DENSE]["size"]
        if size != dim:
            raise InvalidRequest(
                f"collection {name!r} has dimension {size}, the model {dim}; drop it or check the model"
            )
        for field in INDEXES.keys() - found["payload_schema"].keys():
            self._server.write("PUT", f"{path}/index?wait=true", {"field_name": field, "field_schema": INDEXES[field]})

    def point_alias(self, alias: str, collection: str) -> None:
        """Let `alias` stand for `collection`: a search sees the one before or this one, and nothing between."""
        # The server applies the list as one; deleting an alias that is not there is no error.
        names = {"alias_name": alias, "collection_name": collection}
        actions = [{"delete_alias": {"alias_name": alias}}, {"create_alias": names}]
        self._server.write("POST", "/collections/aliases", {"actions": actions})

    def drop(self, name: str) -> None:
        """Delete a collection with its points and aliases; one that is not there is no error."""
        self._server.write("DELETE", f"/collections/{quote(name, safe='')}")

    def close(self) -> None:
        """Close the connection to the server."""
        self._server.close()

    def _exists(self, path: str) -> bool:
        return bool(self._server.read(f"{path}/exists")["exists"])


def _settings(dim: int, segments: int) -> dict[str, Any]:
    """Return the settings of a collection.

    Vectors lie on disk as float16, and what a search reads first in memory: int8 codes, a byte a value, which
    lose next to nothing when the best are rescored. One shard, because each counts
    document frequencies for itself. The graph has the default 16 links, overall and within `INDEXES` fields:
    with links in the tenants only, a search over all repositories would look at every point.
    """
    return {
        "vectors": {DENSE: {"size": dim, "distance": "Cosine", "datatype": "float16", "memory": "cold"}},
        "sparse_vectors": {TERMS: {"modifier": "idf", "index": {"memory": "cached"}}},
        "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "memory": "pinned"}},
        "hnsw_config": {"m": 16, "payload_m": 16},
        "optimizers_config": {"default_segment_number": segments, "indexing_threshold": _INDEXING_THRESHOLD_KB},
        "shard_number": 1,
        # A filter on a field without an index reads every payload, so it is refused.
        "strict_mode_config": {
            "enabled": True,
            "unindexed_filtering_retrieve": False,
            "unindexed_filtering_update": False,
            "max_query_limit": MAX_LIMIT,
            "upsert_max_batchsize": _MAX_UPSERT,
        },
    }
