"""A Qdrant server that is killed, stopped, full of other collections, or changed over under a search."""

import json
import signal
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.core.adapters.qdrant import UPSERT_POINTS, QdrantVectors
from services.core.adapters.qdrant_collections import INDEXES, QdrantCollections
from services.core.adapters.qdrant_server import QdrantServer
from services.core.collections import collection_name
from services.core.errors import InvalidRequest, QuarryError, Unavailable
from services.core.ports import Filter
from tests import qdrant_servers
from tests.contract.test_vectors_contract import DIM, found, make_points
from tests.qdrant_standin import StandIn

# The ids of the tests say what they ran on.
SHARED = pytest.mark.parametrize("kind", [qdrant_servers.KIND])
OWN = pytest.mark.parametrize("kind", [qdrant_servers.OWN_KIND])


@pytest.fixture
def server():
    opened = QdrantServer(qdrant_servers.shared_url())
    yield opened
    opened.close()


@pytest.fixture
def collections(server):
    return QdrantCollections(server)


@pytest.fixture
def two_names(collections, tmp_path):
    """Names of collections that are dropped at the end, and of an alias."""
    names = [collection_name(f"{tmp_path}{i}", DIM) for i in range(2)]
    yield *names, f"test-{names[0]}"
    for name in names:
        collections.drop(name)


@SHARED
def test_a_search_through_the_alias_sees_one_collection_or_the_other(server, collections, two_names, kind):
    blue, green, alias = two_names
    content = {}
    for name, repo in ((blue, "blue"), (green, "green")):
        collections.create(name, DIM)
        points = make_points([f"{i}.py" for i in range(20)], repo=repo)
        QdrantVectors(server, name, DIM).upsert(points)
        content[repo] = frozenset(points.ids)
    collections.point_alias(alias, blue)
    reader, seen, done = QdrantVectors(server, alias, DIM), [], threading.Event()

    def search():
        while not done.is_set():
            seen.append(frozenset(found(reader, make_points(["q"]))))

    with ThreadPoolExecutor(1) as pool:
        searching = pool.submit(search)
        for live in (green, blue, green, blue, green):
            count = len(seen)
            collections.point_alias(alias, live)
            while len(seen) < count + 3 and not searching.done():
                time.sleep(0.001)
        done.set()
        searching.result()

    assert set(seen) == set(content.values())
    assert seen[-1] == content["green"]
    assert collections.behind(alias) == green


@SHARED
def test_a_collection_may_be_made_twice_and_at_the_same_time(collections, two_names, kind):
    name = two_names[0]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: collections.create(name, DIM), range(4)))

    assert name in collections.names()
    with pytest.raises(InvalidRequest, match=f"dimension {DIM}"):
        collections.create(name, DIM + 1)


@SHARED
def test_a_collection_whose_making_was_cut_short_is_completed(server, collections, two_names, kind):
    name = two_names[0]
    server.write("PUT", f"/collections/{name}", {"vectors": {"dense": {"size": DIM, "distance": "Cosine"}}})

    collections.create(name, DIM)

    assert server.read(f"/collections/{name}")["payload_schema"].keys() == INDEXES.keys()


@SHARED
def test_a_dropped_collection_is_gone_with_its_alias(server, collections, two_names, kind):
    name, _, alias = two_names
    collections.create(name, DIM)
    collections.point_alias(alias, name)

    for _ in range(2):
        collections.drop(name)

    assert name not in collections.names()
    assert collections.behind(alias) is None
    with pytest.raises(Unavailable, match="rebuild"):
        QdrantVectors(server, name, DIM).count(Filter())


@SHARED
def test_a_filter_on_a_field_without_an_index_is_refused(server, collections, two_names, kind):
    name = two_names[0]
    collections.create(name, DIM)
    body = {"filter": {"must": [{"key": "kind", "match": {"value": "code"}}]}, "exact": True}

    with pytest.raises(InvalidRequest, match=r"[Ii]ndex required"):
        server.read(f"/collections/{name}/points/count", body)


@SHARED
def test_a_large_batch_is_written_in_slices(server, collections, two_names, kind):
    name = two_names[0]
    collections.create(name, DIM)
    store = QdrantVectors(server, name, DIM)
    points = make_points([f"{i}.py" for i in range(3 * UPSERT_POINTS + 5)])

    store.upsert(points)

    assert store.count(Filter()) == len(points.ids)
    assert store.payloads(points.ids) == dict(zip(points.ids, points.payloads, strict=True))


@SHARED
def test_text_that_is_not_unicode_is_refused_and_nothing_is_written(server, collections, two_names, kind):
    name = two_names[0]
    collections.create(name, DIM)
    store = QdrantVectors(server, name, DIM)
    points = make_points(["a.py", "b.py"])
    points.payloads[1]["repo"] = "r\udce9"

    with pytest.raises(InvalidRequest, match="Unicode"):
        store.upsert(points)
    with pytest.raises(InvalidRequest, match="Unicode"):
        store.query(points.dense[0], None, Filter(path_prefixes=("\udce9",)), 5)
    assert store.count(Filter()) == 0


@SHARED
def test_more_hits_than_a_search_may_ask_for_are_refused(server, collections, two_names, kind):
    name = two_names[0]
    collections.create(name, DIM)

    with pytest.raises(InvalidRequest, match=r"[Ll]imit"):
        QdrantVectors(server, name, DIM).query(np.ones(DIM, np.float32), None, Filter(), 10**6)


@OWN
def test_a_kill_in_the_middle_of_writing_loses_nothing_that_was_acknowledged(tmp_path, kind):
    slices = [make_points([f"{start}/{i}.py" for i in range(40)]) for start in range(60)]
    process = qdrant_servers.qdrant_server(tmp_path)
    port = int(process.url.rpartition(":")[2])
    connection = QdrantServer(process.url)
    QdrantCollections(connection).create("killed", DIM)
    store, written, begun = QdrantVectors(connection, "killed", DIM), set(), threading.Semaphore(0)

    def write():
        for number in sorted(set(range(len(slices))) - written):
            begun.release()
            store.upsert(slices[number])
            written.add(number)

    with ThreadPoolExecutor(1) as pool:
        for slices_between in (7, 15, 11):
            writing = pool.submit(write)
            for _ in range(slices_between):
                begun.acquire()
            process.end(signal.SIGKILL)
            with pytest.raises(Unavailable):
                writing.result()
            while begun.acquire(blocking=False):
                pass
            process = qdrant_servers.qdrant_server(tmp_path, port=port)

            assert [number for number in sorted(written) if not _all_there(store, slices[number])] == []
            # The slice in flight may be there or not.
            assert store.count(Filter()) - sum(len(slices[number].ids) for number in written) in range(0, 41)
    write()

    assert store.count(Filter()) == 60 * 40
    store.close()
    process.stop()


def _all_there(store, points):
    return store.payloads(points.ids) == dict(zip(points.ids, points.payloads, strict=True))


@OWN
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_search_of_a_server_that_is_down_fails_within_two_seconds_and_works_again(tmp_path, how, kind):
    process = qdrant_servers.qdrant_server(tmp_path)
    connection = QdrantServer(process.url)
    QdrantCollections(connection).create("down", DIM)
    store, points = QdrantVectors(connection, "down", DIM), make_points(["a.py", "b.py"])
    store.upsert(points)

    process.process.send_signal(how)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="did not answer") as failure:
        store.query(points.dense[0], None, Filter(), 5)
    took = time.monotonic() - began
    if how is signal.SIGSTOP:
        process.process.send_signal(signal.SIGCONT)
    else:
        process.end(how)
        process = qdrant_servers.qdrant_server(tmp_path, port=int(process.url.rpartition(":")[2]))

    assert took < 2
    assert process.url in str(failure.value)
    assert found(store, points) == set(points.ids)
    store.close()
    process.stop()


@OWN
def test_a_failed_upsert_raises_when_nothing_is_written_any_more(tmp_path, kind):
    process = qdrant_servers.qdrant_server(tmp_path)
    connection = QdrantServer(process.url, write_timeout_s=5)
    QdrantCollections(connection).create("failing", DIM)
    store = QdrantVectors(connection, "failing", DIM)
    process.end(signal.SIGKILL)

    with pytest.raises(QuarryError, match="did not answer"):
        store.upsert(make_points([f"{i}.py" for i in range(4 * UPSERT_POINTS)]))

    store.close()


def test_the_stand_in_says_that_it_is_one(tmp_path):
    with StandIn(("127.0.0.1", 0), tmp_path) as standin:
        threading.Thread(target=standin.handle_request).start()
        with urllib.request.urlopen(standin.url, timeout=10) as response:
            described = json.load(response)

    assert described == {"title": "qdrant stand-in", "version": "1.19.0"}
