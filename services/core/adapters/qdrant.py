"""The vector store of the distributed mode: one collection of a Qdrant server."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID

import numpy as np

from services.core.adapters import qdrant_filter
from services.core.adapters.qdrant_collections import MAX_LIMIT
from services.core.adapters.qdrant_rpc import QdrantRpc
from services.core.adapters.qdrant_server import QdrantServer
from services.core.adapters.qdrant_wire import upsert_message
from services.core.adapters.stored_points import DENSE, MARKS, TERMS, admits_nothing, fold, unfold, unit_rows
from services.core.census import StoredPoint
from services.core.errors import CorruptData
from services.core.ports import Candidates, Filter, Points

# Qdrant's advice is 64 to 256 points in a request and a few requests at a time
# (https://qdrant.tech/documentation/manage-data/bulk-upload/): one is made while another is written.
UPSERT_POINTS = 256
_STREAMS = 2
# Ids in one request; each takes 40 bytes.
_IDS = 1000
# Points listed in one request; each takes 400 bytes.
_SCROLLED = 2000
# A search must be quick or fail; who takes stock of everything has time.
_CENSUS_S = 60.0
# The cosine does not know a vector's length, so that its values may travel as integers: half the bytes of
# floats, a third less time here and a tenth less on the server, with an error (5e-7) far below float16's.
_STEPS = 1_000_000
# Twice as many candidates by codes as asked for are rescored with the stored vectors.
_DENSE_PARAMS = {"quantization": {"rescore": True, "oversampling": 2.0}}


class QdrantVectors:
    """A `VectorWriter` and `VectorReader` on `collection` of a server, a name or an alias; threads may share it.

    Points are inserted over `rpc`, the server's gRPC, where that is given; all else goes over REST.
    Nothing is cached: several processes may write and search at the same time. A purge is not
    atomic for searches, which must name its generation in their `Filter` until it has ended.
    Once the store is closed, searches and writes raise `Unavailable`.
    """

    def __init__(self, server: QdrantServer, collection: str, dim: int, rpc: QdrantRpc | None = None) -> None:
        self._server = server
        self._rpc = rpc
        self._collection = collection
        self._path = f"/collections/{collection}/points"
        self._dim = dim
        self._lock = threading.Lock()
        self._streams: ThreadPoolExecutor | None = None

    def upsert(self, points: Points) -> None:
        """Insert or replace points; searchable at once and durable.

        Raises:
            InvalidRequest: a dense vector is not finite, has no length or another dimension.
            Unavailable: the server does not answer; some of the points may be there.
        """
        dense = unit_rows(points.dense, self._dim)
        slices = [slice(at, at + UPSERT_POINTS) for at in range(0, len(points.ids), UPSERT_POINTS)]
        if len(slices) < 2:
            for part in slices:
                self._upsert(points, dense, part)
            return
        running = [self._executor().submit(self._upsert, points, dense, part) for part in slices]
        _finish(running)

    def retire(self, ids: Sequence[UUID], generation: int) -> None:
        """Mark points as replaced by `generation`; ids that are not here are passed over."""
        for part in _parts(ids):
            # By a filter: a list of ids is refused if one of them is missing.
            body = {"payload": {"retired": generation}, "filter": {"must": [{"has_id": part}]}}
            self._server.write("POST", f"{self._path}/payload?wait=true", body)

    def purge(self, *, retired_by: int | None = None, generation: int | None = None, repo: str | None = None) -> None:
        """Delete the points retired by a generation, written by one, or of a repository."""
        wanted: list[tuple[str, Any]] = [("retired", retired_by), ("gen", generation), ("repo", repo)]
        for key, value in wanted:
            if value is not None:
                body = {"filter": {"must": qdrant_filter.any_of(key, (value,))}}
                self._server.write("POST", f"{self._path}/delete?wait=true", body)

    def flush(self) -> None:
        """Return at once: every write has waited until the server had it in its log and applied it."""
        self._server.require_open()

    def query(
        self, dense: np.ndarray | None, sparse: tuple[np.ndarray, np.ndarray] | None, where: Filter, limit: int
    ) -> Candidates:
        """Return the `limit` best points by each vector given, ties by id.

        Raises:
            Unavailable: the server does not answer within its time limit, or has no such collection.
        """
        if limit < 1 or admits_nothing(where):
            return Candidates()
        wanted = self._queries(dense, sparse)
        if not wanted:
            return Candidates()
        common = {"limit": limit, "filter": qdrant_filter.to_json(where), "with_payload": False}
        body = {"searches": [query | common for query in wanted.values()]}
        answers = self._server.read(f"{self._path}/query/batch", body)
        found = {name: _ranked(answer["points"]) for name, answer in zip(wanted, answers, strict=True)}
        return Candidates(found.get(DENSE, []), found.get(TERMS, []))

    def payloads(self, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
        """Return the payload of each point that is still there."""
        found = {}
        for part in _parts(ids):
            body = {"ids": part, "with_payload": True, "with_vector": False}
            for record in self._server.read(self._path, body):
                found[UUID(record["id"])] = unfold(record["payload"])
        return found

    def count(self, where: Filter) -> int:
        """Return how many points the filter admits."""
        if admits_nothing(where):
            return 0
        body = {"filter": qdrant_filter.to_json(where), "exact": True}
        return int(self._server.read(f"{self._path}/count", body)["count"])

    def scroll(self, repo: str) -> Iterator[StoredPoint]:
        """Yield every point of a repository, hidden ones too, by id."""
        body: dict[str, Any] = {
            "filter": {"must": qdrant_filter.any_of("repo", (repo,))},
            "limit": _SCROLLED,
            "with_payload": list(MARKS),
            "with_vector": False,
        }
        while True:
            page = self._server.read(f"{self._path}/scroll", body, timeout_s=_CENSUS_S)
            yield from map(_stored, page["points"])
            if page.get("next_page_offset") is None:
                return
            body["offset"] = page["next_page_offset"]

    def repos(self) -> dict[str, int]:
        """Return how many points there are of each repository, the 10,000 with the most."""
        body = {"key": "repo", "limit": MAX_LIMIT, "exact": True}
        path = f"{self._path.removesuffix('/points')}/facet"
        hits = self._server.read(path, body, timeout_s=_CENSUS_S)["hits"]
        # The server remembers values that no point has any more.
        return {str(hit["value"]): int(hit["count"]) for hit in hits if hit["count"]}

    def close(self) -> None:
        """Close the connection to the server; what was written is durable."""
        with self._lock:
            self._server.close()
            if self._rpc is not None:
                self._rpc.close()
            if self._streams is not None:
                self._streams.shutdown(cancel_futures=True)

    def _upsert(self, points: Points, dense: np.ndarray, part: slice) -> None:
        if self._rpc is not None:
            self._rpc.upsert(upsert_message(self._collection, points, dense, part))
        else:
            self._server.write("PUT", f"{self._path}?wait=true", {"points": list(_rows(points, dense, part))})

    def _executor(self) -> ThreadPoolExecutor:
        # Made with the first large batch, so that a process may fork before.
        with self._lock:
            self._server.require_open()
            if self._streams is None:
                self._streams = ThreadPoolExecutor(_STREAMS, thread_name_prefix="qdrant-upsert")
            return self._streams

    def _queries(
        self, dense: np.ndarray | None, sparse: tuple[np.ndarray, np.ndarray] | None
    ) -> dict[str, dict[str, Any]]:
        wanted: dict[str, dict[str, Any]] = {}
        if dense is not None:
            vector = unit_rows(dense.reshape(1, -1), self._dim)[0].tolist()
            wanted[DENSE] = {"query": vector, "using": DENSE, "params": _DENSE_PARAMS}
        if sparse is not None and len(sparse[0]):
            terms = {"indices": sparse[0].tolist(), "values": sparse[1].tolist()}
            wanted[TERMS] = {"query": terms, "using": TERMS}
        return wanted


def _rows(points: Points, dense: np.ndarray, part: slice) -> Iterator[dict[str, Any]]:
    bounds, indices, values = points.sparse.indptr, points.sparse.indices, points.sparse.values
    steps = np.rint(dense[part] * np.float32(_STEPS)).astype(np.int32)
    for row, vector in zip(range(len(points.ids))[part], steps.tolist(), strict=True):
        start, stop = bounds[row], bounds[row + 1]
        terms = {"indices": indices[start:stop].tolist(), "values": values[start:stop].tolist()}
        yield {
            "id": points.ids[row],
            "vector": {DENSE: vector, TERMS: terms},
            "payload": fold(points.payloads[row]),
        }


def _stored(record: dict[str, Any]) -> StoredPoint:
    payload = record["payload"]
    try:
        pack = str(unfold(payload).get("pack", ""))
    except CorruptData:
        pack = ""
    return StoredPoint(UUID(record["id"]), int(payload.get("gen", 0)), payload.get("retired"), pack)


def _finish(running: list[Future[None]]) -> None:
    # The first failure is raised, when nothing is written any more that the caller takes for not written.
    try:
        for future in running:
            future.result()
    finally:
        for future in running:
            future.cancel()
        for future in running:
            if not future.cancelled():
                future.exception()


def _parts(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(ids), _IDS):
        yield ids[start : start + _IDS]


def _ranked(hits: list[dict[str, Any]]) -> list[tuple[UUID, float]]:
    scored = [(UUID(hit["id"]), float(hit["score"])) for hit in hits]
    return sorted(scored, key=lambda hit: (-hit[1], hit[0].int))
