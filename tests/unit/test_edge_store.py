"""Claims about an embedded vector store: who may open it, what damage is noticed, and what a query finds in it."""

import numpy as np
import pytest

from services.core.adapters.edge_errors import translated
from services.core.adapters.edge_layout import check_inventory
from services.core.adapters.edge_points import id_keys
from services.core.adapters.edge_terms import TermCounts
from services.core.adapters.stored_points import unfold
from services.core.adapters.vectors import EdgeVectors
from services.core.errors import CorruptData, InvalidRequest, Unavailable
from services.core.ports import Filter
from tests.contract.test_vectors_contract import DIM, make_points
from tests.unit.edge_stores import names, open_store


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "vectors"


def test_only_one_process_at_a_time_may_open_a_store(directory):
    store = open_store(directory)

    with pytest.raises(Unavailable, match="in use"):
        open_store(directory)

    store.close()
    open_store(directory).close()


def test_a_closed_store_refuses_points(directory):
    store = open_store(directory)
    store.close()

    with pytest.raises(Unavailable, match="closed"):
        store.upsert(make_points(["a.py"]))


def test_a_store_of_another_dimension_or_format_is_refused(directory):
    open_store(directory).close()

    with pytest.raises(InvalidRequest, match="dimension 16"):
        EdgeVectors(directory, DIM + 1, shard_points=10, exact_points=10)
    listing = directory / "shards.json"
    listing.write_text(listing.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(InvalidRequest, match="format 2"):
        open_store(directory)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{")])
def test_a_damaged_list_of_shards_is_corrupt_data(directory, damage):
    open_store(directory).close()
    damage(directory / "shards.json")

    with pytest.raises(CorruptData, match="quarry rebuild"):
        open_store(directory)


@pytest.fixture(scope="module")
def two_shards(tmp_path_factory):
    """A closed store with a sealed shard and one that takes points; the first point's vector."""
    directory = tmp_path_factory.mktemp("damage") / "vectors"
    store = open_store(directory)
    points = make_points(names(60))
    store.upsert(points)
    store.settle()
    store.upsert(make_points(names(20, "more")))
    store.flush()
    store.close()
    return directory


def shard_files(directory):
    return [p for p in sorted(directory.glob("s0*/engine/**/*")) if p.is_file() and "journal" not in p.name]


def damaged(path, size):
    """Put a file of `size` bytes in the place of `path`, or none; return what puts it back."""
    aside = path.rename(path.with_name("aside"))
    if size is not None:
        with open(path, "wb") as file:
            file.truncate(size)
    return lambda: aside.replace(path)


def test_any_deleted_or_shortened_file_of_a_shard_is_noticed(two_shards):
    files = shard_files(two_shards)
    assert len(files) > 100
    for path in files:
        shard = two_shards / path.relative_to(two_shards).parts[0]
        for size in {None, 0, path.stat().st_size - 1} - {-1, path.stat().st_size}:
            put_back = damaged(path, size)
            with pytest.raises(CorruptData, match="quarry rebuild"):
                check_inventory(shard)
            put_back()
        check_inventory(shard)


@pytest.mark.parametrize("name", ["segment.json", "matrix.dat", "page_0.dat", "mutable_id_tracker.mappings"])
def test_a_store_with_a_damaged_shard_does_not_open(two_shards, name):
    for path in [path for path in shard_files(two_shards) if path.name == name][:3]:
        put_back = damaged(path, path.stat().st_size // 2)
        with pytest.raises(CorruptData, match="quarry rebuild"):
            open_store(two_shards)
        put_back()
    open_store(two_shards).close()


@pytest.mark.parametrize("name", ["terms.bin", "keys.bin"])
@pytest.mark.parametrize("content", [None, b"", b"x" * 1000])
def test_lost_counts_and_keys_are_read_from_the_points_again(two_shards, name, content):
    store = open_store(two_shards)
    documents, keys = store._terms.documents, store._shards[0].keys
    store.close()
    for path in two_shards.glob(f"s0*/{name}"):
        path.unlink() if content is None else path.write_bytes(content)

    store = open_store(two_shards)

    assert store._terms.documents == documents
    assert np.array_equal(store._shards[0].keys, keys)
    store.close()


def test_quantised_search_finds_what_exact_search_finds(directory):
    generator = np.random.default_rng(5)
    centres = generator.standard_normal((60, 128)).astype(np.float32)
    dense = centres[generator.integers(0, 60, 4000)] + 0.7 * generator.standard_normal((4000, 128), dtype=np.float32)
    points = make_points(names(4000))
    points = type(points)(points.ids, dense, points.sparse, points.payloads)
    store = EdgeVectors(directory, 128, shard_points=2500, exact_points=0)
    store.upsert(points)
    store.settle()
    unit = dense / np.linalg.norm(dense, axis=1, keepdims=True)
    recalls = []
    for query in centres[:20]:
        exact = {points.ids[i] for i in np.argsort(-(unit @ query))[:100]}
        recalls.append(len(exact & {p for p, _ in store.query(query, None, Filter(), 100).dense}) / 100)
    store.close()

    assert np.mean(recalls) >= 0.95


def test_term_counts_add_up_and_come_back(tmp_path):
    one, two = TermCounts(), TermCounts()
    one.add(np.array([1, 2, 2**31], np.uint32), 2)
    two.add(np.array([2], np.uint32), 1)
    both = TermCounts()
    for counts in (one, two):
        both.merge(counts)

    both.save(tmp_path / "terms.bin")
    back = TermCounts.load(tmp_path / "terms.bin")

    terms = np.array([1, 2, 3, 2**31], np.uint32)
    expected = np.log1p((3 - np.array([1, 2, 0, 1]) + 0.5) / (np.array([1, 2, 0, 1]) + 0.5))
    assert back.documents == 3
    assert back.idf(terms) == pytest.approx(expected, rel=1e-6)
    back.merge(two, -1)
    assert back.idf(terms) == pytest.approx(one.idf(terms), rel=1e-6)


@pytest.mark.parametrize("size", [0, 5, 50])
def test_a_damaged_file_of_term_counts_is_noticed(tmp_path, size):
    counts = TermCounts()
    counts.add(np.array([1, 2, 3], np.uint32), 1)
    path = tmp_path / "terms.bin"
    counts.save(path)
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(CorruptData):
        TermCounts.load(path)


@pytest.mark.parametrize("payload", [None, {}, {"repo": "r"}, {"rest": "{"}, {"rest": 5}])
def test_a_payload_that_can_not_be_read_is_corrupt_data(payload):
    with pytest.raises(CorruptData, match="quarry rebuild"):
        unfold(payload)


def test_keys_are_the_first_bytes_of_the_ids():
    points = make_points(names(5))

    assert id_keys(points.ids).tolist() == [int.from_bytes(point.bytes[:8]) for point in points.ids]


class PanicException(BaseException):
    """Looks like a panic of the engine."""


@pytest.mark.parametrize(
    ("error", "translation"),
    [
        (Exception("Service runtime error: No space left on device"), Unavailable),
        (OSError(28, "No space left on device"), Unavailable),
        (Exception("Service runtime error: something odd"), CorruptData),
        (PanicException("index out of bounds"), CorruptData),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_errors_of_the_engine_are_translated(tmp_path, error, translation):
    with pytest.raises(translation), translated(tmp_path):
        raise error
