"""What every vector store must do: the embedded one with one shard and many, and a Qdrant server."""

import math
import threading
from uuid import UUID

import numpy as np
import pytest

from services.core.adapters.qdrant import QdrantVectors
from services.core.adapters.qdrant_collections import QdrantCollections
from services.core.adapters.qdrant_rpc import QdrantRpc
from services.core.adapters.qdrant_server import QdrantServer
from services.core.adapters.vectors import EdgeVectors
from services.core.collections import collection_name
from services.core.digest import point_id
from services.core.errors import InvalidRequest, Unavailable
from services.core.ports import Filter, Points, SparseRows
from tests import qdrant_servers

DIM = 16


def _one_shard(directory):
    return EdgeVectors(directory, DIM, shard_points=100_000, exact_points=100_000)


def _many_shards(directory):
    return EdgeVectors(directory, DIM, shard_points=5, exact_points=100_000)


def _qdrant(directory):
    server = QdrantServer(qdrant_servers.shared_url())
    name = collection_name(str(directory), DIM)
    QdrantCollections(server).create(name, DIM, segments=1)
    return QdrantVectors(server, name, DIM)


def _qdrant_grpc(directory):
    store = _qdrant(directory)
    rpc = QdrantRpc(qdrant_servers.shared_url(), qdrant_servers.shared_grpc_port())
    return QdrantVectors(store._server, store._collection, DIM, rpc)


STORES = {"one_shard": _one_shard, "many_shards": _many_shards, qdrant_servers.KIND: _qdrant}
if qdrant_servers.HAS_GRPC:
    STORES["qdrant-grpc"] = _qdrant_grpc


def remove(kind, directory):
    """Remove what a store leaves elsewhere than in its directory."""
    if kind.startswith("qdrant"):
        server = QdrantServer(qdrant_servers.shared_url())
        QdrantCollections(server).drop(collection_name(str(directory), DIM))
        server.close()


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    opened = STORES[request.param](tmp_path / "vectors")
    yield opened
    opened.close()
    remove(request.param, tmp_path / "vectors")


def make_points(files, *, repo="r", gen=1, blob="b", seed=0, chunks=1):
    """Points of `files`, `chunks` each; the vectors depend on the seed and the path only."""
    ids, dense, payloads, rows = [], [], [], []
    for path in files:
        for ordinal in range(chunks):
            generator = np.random.default_rng([seed, ordinal, *path.encode()])
            ids.append(point_id(repo, path, blob, ordinal))
            dense.append(generator.standard_normal(DIM).astype(np.float32))
            rows.append(np.unique(generator.integers(0, 200, 6).astype(np.uint32)))
            language = "python" if path.endswith(".py") else "go"
            payloads.append(
                {"repo": repo, "path": path, "ext": path.rpartition(".")[2], "lang": language, "gen": gen}
                | {"kind": "code", "defs": ["f", "g"], "ordinal": ordinal, "symbol": "é\ud800", "at": [1, 2, 3]}
            )
    return Points(ids, np.array(dense, np.float32).reshape(-1, DIM), sparse_rows(rows), payloads)


def sparse_rows(rows, values=None):
    indptr = np.cumsum([0] + [len(row) for row in rows])
    indices = np.concatenate([*rows, np.zeros(0, np.uint32)]).astype(np.uint32)
    return SparseRows(indptr, indices, np.ones(len(indices), np.float32) if values is None else values)


def found(store, points, where=Filter(), limit=1000):  # noqa: B008
    """Ids of a dense search, which reaches every admitted point."""
    candidates = store.query(points.dense[0], None, where, limit)
    return {point for point, _score in candidates.dense}


def test_a_new_store_is_empty(store):
    points = make_points(["a.py"])

    assert store.count(Filter()) == 0
    assert store.query(points.dense[0], (np.array([1], np.uint32), np.ones(1, np.float32)), Filter(), 5).dense == []
    assert store.payloads(points.ids) == {}


def test_payloads_read_back_as_written(store):
    points = make_points(["a.py", "b/c.go", "ü.py"])
    store.upsert(points)

    assert store.payloads(points.ids) == dict(zip(points.ids, points.payloads, strict=True))


def test_dense_search_ranks_by_cosine(store):
    points = make_points([f"{i}.py" for i in range(30)])
    scaled = Points(
        points.ids, points.dense * np.arange(1, 31, dtype=np.float32)[:, None], points.sparse, points.payloads
    )
    store.upsert(scaled)
    query = np.random.default_rng(9).standard_normal(DIM).astype(np.float32)

    hits = store.query(query * 7, None, Filter(), 10).dense

    unit = points.dense / np.linalg.norm(points.dense, axis=1, keepdims=True)
    cosine = unit @ (query / np.linalg.norm(query))
    assert [point for point, _ in hits] == [points.ids[i] for i in np.argsort(-cosine)[:10]]
    assert [score for _, score in hits] == pytest.approx(sorted(cosine, reverse=True)[:10], abs=2e-3)


def test_sparse_search_weighs_terms_by_their_rarity_in_the_whole_store(store):
    rows = [[1, 2], [1], [1], [1, 2], [1], [1], [1], [1], [1, 3], [1]]
    points = make_points([f"{i}.py" for i in range(10)])
    store.upsert(
        Points(points.ids, points.dense, sparse_rows([np.array(row, np.uint32) for row in rows]), points.payloads)
    )

    hits = dict(store.query(None, (np.array([1, 2, 3], np.uint32), np.full(3, 2.0, np.float32)), Filter(), 10).sparse)

    idf = {term: math.log(1 + (10 - df + 0.5) / (df + 0.5)) for term, df in ((1, 10), (2, 2), (3, 1))}
    for i, row in enumerate(rows):
        assert hits[points.ids[i]] == pytest.approx(2 * sum(idf[term] for term in row), rel=1e-3)


def test_equal_scores_are_ordered_by_id(store):
    points = make_points([f"{i}.py" for i in range(20)])
    same = Points(points.ids, np.ones((20, DIM), np.float32), points.sparse, points.payloads)
    store.upsert(same)

    hits = store.query(np.ones(DIM, np.float32), None, Filter(), 20).dense

    assert [point for point, _ in hits] == sorted(points.ids, key=lambda point: point.int)


@pytest.fixture(scope="module", params=STORES)
def two_repos(request, tmp_path_factory):
    """A store that the tests of filters only read."""
    directory = tmp_path_factory.mktemp("filters") / "vectors"
    opened = STORES[request.param](directory)
    for repo in ("one", "two"):
        for start in range(0, len(FILES), 2):
            opened.upsert(make_points(FILES[start : start + 2], repo=repo))
    yield opened
    opened.close()
    remove(request.param, directory)


FILES = ["a.py", "a.go", "src/a.py", "src/b.go", "src2/c.py", "docs/x.md"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Filter(), {(r, p) for r in ("one", "two") for p in FILES}),
        (Filter(repos=("one",)), {("one", p) for p in FILES}),
        (Filter(repos=("one", "none")), {("one", p) for p in FILES}),
        (Filter(repos=("none",)), set()),
        (Filter(languages=("python",), repos=("two",)), {("two", p) for p in ("a.py", "src/a.py", "src2/c.py")}),
        (Filter(extensions=("go", "md"), repos=("two",)), {("two", p) for p in ("a.go", "src/b.go", "docs/x.md")}),
        (Filter(path_prefixes=("src/",), repos=("one",)), {("one", "src/a.py"), ("one", "src/b.go")}),
        (Filter(path_prefixes=("src2", "docs"), repos=("one",)), {("one", "src2/c.py"), ("one", "docs/x.md")}),
        (Filter(path_prefixes=("nowhere",)), set()),
        (Filter(path_prefixes=("",), repos=("one",)), {("one", p) for p in FILES}),
        (Filter(paths=()), set()),
        (Filter(paths=(("one", "a.py"),)), {("one", "a.py")}),
        (Filter(paths=(("one", "a.py"), ("two", "a.go"))), {("one", "a.py"), ("two", "a.go")}),
        (Filter(paths=(("one", "a.py"), ("two", "a.go")), repos=("two",)), {("two", "a.go")}),
        (Filter(paths=(("one", "a.py"),), repos=("two",)), set()),
        (Filter(paths=(("one", "a.py"), ("one", "src/b.go")), languages=("go",)), {("one", "src/b.go")}),
        (Filter(repos=('"} OR 1=1 --', "\0", "one\0")), set()),
    ],
)
def test_a_filter_admits_exactly_what_it_says(two_repos, where, expected):
    store = two_repos
    query = make_points(["q"])
    terms = np.arange(200, dtype=np.uint32)

    candidates = store.query(query.dense[0], (terms, np.ones(200, np.float32)), where, 100)

    for hits in (candidates.dense, candidates.sparse):
        payloads = store.payloads([point for point, _ in hits])
        assert {(p["repo"], p["path"]) for p in payloads.values()} == expected
    assert store.count(where) == len(expected)


def test_staged_points_are_hidden_only_from_those_who_say_so(store):
    old, new = make_points(["a.py"], gen=1), make_points(["b.py"], gen=2)
    for points in (old, new):
        store.upsert(points)

    assert found(store, old) == {*old.ids, *new.ids}
    assert found(store, old, Filter(staged=(2, 7))) == set(old.ids)
    assert store.count(Filter(staged=(1,))) == 1


def test_retired_points_are_hidden_only_from_those_who_say_so(store):
    points = make_points([f"{i}.py" for i in range(20)])
    store.upsert(points)

    for _ in range(2):
        store.retire([*points.ids[:12], UUID(int=5)], 3)

    assert found(store, points) == set(points.ids)
    assert found(store, points, Filter(retired=(3,))) == set(points.ids[12:])
    assert found(store, points, Filter(retired=(4,))) == set(points.ids)


@pytest.mark.parametrize("by", [{"retired_by": 3}, {"generation": 2}, {"repo": "two"}])
def test_purging_deletes_exactly_its_points_and_may_be_repeated(store, by):
    keep = make_points([f"k{i}.py" for i in range(10)], repo="one", gen=1)
    drop = make_points([f"d{i}.py" for i in range(10)], repo="two", gen=2)
    for points in (keep, drop):
        store.upsert(points)
    store.retire(drop.ids, 3)

    for _ in range(2):
        store.purge(**by)

    assert store.payloads([*keep.ids, *drop.ids]).keys() == set(keep.ids)
    assert found(store, keep) == set(keep.ids)


def test_writing_points_again_replaces_them(store):
    points = make_points([f"{i}.py" for i in range(20)], gen=1)
    store.upsert(points)
    store.retire(points.ids, 5)
    again = make_points([f"{i}.py" for i in range(20)], gen=2, seed=1)

    for _ in range(2):
        store.upsert(again)

    assert store.count(Filter()) == 20
    assert store.count(Filter(retired=(5,))) == 20
    assert {p["gen"] for p in store.payloads(points.ids).values()} == {2}
    assert store.query(again.dense[3], None, Filter(), 1).dense[0][0] == points.ids[3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
def test_vectors_without_a_direction_are_refused_whole(store, bad):
    points = make_points(["a.py", "b.py"])
    points.dense[1] = bad

    with pytest.raises(InvalidRequest, match="vector 1 of 2"):
        store.upsert(points)

    assert store.count(Filter()) == 0


def test_vectors_of_another_dimension_are_refused(store):
    points = make_points(["a.py"])

    with pytest.raises(InvalidRequest, match="dimension 16"):
        store.upsert(Points(points.ids, points.dense[:, :5], points.sparse, points.payloads))
    with pytest.raises(InvalidRequest, match="dimension 16"):
        store.query(np.ones(5, np.float32), None, Filter(), 3)


def test_a_chunk_without_terms_is_stored(store):
    points = make_points(["a.py"])
    store.upsert(Points(points.ids, points.dense, sparse_rows([np.zeros(0, np.uint32)]), points.payloads))

    assert found(store, points) == set(points.ids)


def test_what_was_flushed_is_there_after_reopening(tmp_path):
    for kind, make in STORES.items():
        directory = tmp_path / make.__name__
        store = make(directory)
        points = make_points([f"{i}.py" for i in range(60)])
        store.upsert(points)
        store.retire(points.ids[:5], 2)
        store.purge(retired_by=2)
        store.retire(points.ids[5:8], 4)
        store.flush()
        store.close()

        store = make(directory)

        assert found(store, points) == set(points.ids[5:])
        assert found(store, points, Filter(retired=(4,), staged=(9,))) == set(points.ids[8:])
        assert found(store, points, Filter(staged=(1,))) == set()
        store.close()
        remove(kind, directory)


CALLS = {
    "query": lambda store, points: store.query(points.dense[0], None, Filter(), 5),
    "count": lambda store, points: store.count(Filter()),
    "payloads": lambda store, points: store.payloads(points.ids),
    "upsert": lambda store, points: store.upsert(points),
    "retire": lambda store, points: store.retire(points.ids, 2),
    "purge": lambda store, points: store.purge(repo="r"),
    "flush": lambda store, points: store.flush(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_store_says_so_instead_of_being_empty(store, call):
    points = make_points(["a.py"])
    store.upsert(points)
    store.close()

    with pytest.raises(Unavailable, match="closed"):
        CALLS[call](store, points)


def test_a_purge_leaves_the_searches_all_at_once(tmp_path):
    store = EdgeVectors(tmp_path / "vectors", DIM, shard_points=1000, exact_points=100_000)
    keep = make_points([f"k{i}.py" for i in range(10)])
    for points in (keep, make_points([f"d{i}.py" for i in range(2500)], gen=2)):
        store.upsert(points)
    counts, started, done = [], threading.Event(), threading.Event()

    def search():
        while not done.is_set():
            counts.append(len(store.query(keep.dense[0], None, Filter(), 5000).dense))
            started.set()

    thread = threading.Thread(target=search)
    thread.start()
    started.wait(30)
    store.purge(generation=2)
    done.set()
    thread.join()
    store.close()

    assert len(counts) > 1
    assert set(counts) <= {2510, 10}
