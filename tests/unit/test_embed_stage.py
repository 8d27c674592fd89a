"""The embed stage on real packs, a real ledger and embedders that count."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.core.database import open_database
from services.core.errors import CorruptData, NotFound, Unavailable
from services.core.ledger import BatchState, Ledger
from services.core.model import FileRef, Message
from services.core.pack import Pack, write_pack
from services.core.sparse import sparse_query, symbol_query
from services.core.vector_blob import VectorBlob
from services.embedder.stage import embed
from tests.fakes import MemoryBlobs, chunked_file, set_back
from tests.fakes_cache import MemoryCache


class CountingEmbedder:
    """Unit rows made from the text, in float32 digits that float16 has no room for."""

    model_id = "counting@1"
    dim = 16

    def __init__(self):
        self.seen = []

    def embed(self, texts):
        self.seen += texts.texts
        rows = [np.random.default_rng(len(text) + sum(text.encode())).standard_normal(16) for text in texts.texts]
        rows = np.array(rows, dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class BrokenEmbedder(CountingEmbedder):
    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def embed(self, texts):
        return self.rows(super().embed(texts))


@pytest.fixture
def ledger(tmp_path):
    engine = open_database(tmp_path / "catalog.db")
    yield Ledger(engine)
    engine.dispose()


@pytest.fixture
def blobs():
    return MemoryBlobs()


def chunked_batch(ledger, blobs, files):
    job = ledger.create_job("r")
    ref = FileRef("a.py", "a.py", "1", 1)
    ledger.start_job(job.id, revision="1", schema="s", plan="p", first=True, batches=[[ref]])
    (batch,) = ledger.batches(job.id)
    pack = blobs.put(write_pack(files))
    ledger.chunked(batch.id, pack=pack, chunks=sum(len(f.chunks) for f in files), skipped=[])
    return batch.id


def run(batch, ledger, blobs, *, cache=None, embedder=None):
    sent = []
    embed(
        batch,
        ledger=ledger,
        blobs=blobs,
        cache=MemoryCache() if cache is None else cache,
        embedder=embedder or CountingEmbedder(),
        emit=sent.append,
    )
    return sent


def vectors(ledger, blobs, batch):
    return VectorBlob.unpack(blobs.get(ledger.batch(batch).vectors))


def test_a_batch_becomes_a_blob_of_vectors_and_goes_on(ledger, blobs):
    batch = chunked_batch(ledger, blobs, [chunked_file(texts=("one\n", "two\n", "three\n"))])

    sent = run(batch, ledger, blobs)

    row = ledger.batch(batch)
    assert sent == [Message("index", batch)]
    assert (row.state, row.embedded, row.cached) == (BatchState.EMBEDDED, 3, 0)
    assert vectors(ledger, blobs, batch).dense.shape == (3, 16)
    assert vectors(ledger, blobs, batch).model == "counting@1"


def test_equal_texts_are_embedded_once(ledger, blobs):
    files = [chunked_file("a.py", ("same\n", "same\n", "other\n")), chunked_file("b.py", ("same\n",))]
    batch = chunked_batch(ledger, blobs, files)
    embedder = CountingEmbedder()

    run(batch, ledger, blobs, embedder=embedder)

    assert sorted(embedder.seen) == ["other\n", "same\n"]
    assert (ledger.batch(batch).embedded, ledger.batch(batch).cached) == (2, 2)
    dense = vectors(ledger, blobs, batch).dense
    assert np.array_equal(dense[0], dense[1])
    assert np.array_equal(dense[0], dense[3])
    assert not np.array_equal(dense[0], dense[2])


def test_what_the_cache_knows_is_not_embedded_again(ledger, blobs):
    cache, embedder = MemoryCache(), CountingEmbedder()
    run(chunked_batch(ledger, blobs, [chunked_file("a.py", ("one\n", "two\n"))]), ledger, blobs, cache=cache)
    batch = chunked_batch(ledger, blobs, [chunked_file("b.py", ("two\n", "three\n"))])

    run(batch, ledger, blobs, cache=cache, embedder=embedder)

    assert embedder.seen == ["three\n"]
    assert (ledger.batch(batch).embedded, ledger.batch(batch).cached) == (1, 1)


def test_all_that_is_unknown_of_a_batch_is_embedded_in_one_call(ledger, blobs):
    texts = tuple(f"text {number}\n" for number in range(100))
    calls = []

    class Embedder(CountingEmbedder):
        def embed(self, texts):
            calls.append(len(texts))
            return super().embed(texts)

    run(chunked_batch(ledger, blobs, [chunked_file(texts=texts)]), ledger, blobs, embedder=Embedder())

    assert calls == [100]


def test_batches_of_one_process_are_embedded_side_by_side(ledger, blobs):
    batches = [chunked_batch(ledger, blobs, [chunked_file(f"{n}.py", (f"text {n}\n",))]) for n in range(3)]
    together = threading.Barrier(3, timeout=10)

    class Embedder(CountingEmbedder):
        def embed(self, texts):
            together.wait()
            return super().embed(texts)

    embedder, cache = Embedder(), MemoryCache()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda batch: run(batch, ledger, blobs, cache=cache, embedder=embedder), batches))

    assert all(ledger.batch(batch).state == BatchState.EMBEDDED for batch in batches)


def test_fresh_and_cached_vectors_are_the_same_bytes(ledger, blobs):
    batch = chunked_batch(ledger, blobs, [chunked_file(texts=("one\n", "two\n", "one\n"))])
    cache = MemoryCache()
    run(batch, ledger, blobs, cache=cache)
    fresh = ledger.batch(batch).vectors
    set_back(ledger, batch, "chunked")

    run(batch, ledger, blobs, cache=cache)

    assert ledger.batch(batch).vectors == fresh
    assert ledger.batch(batch).cached == 3


def test_sparse_rows_know_the_path_and_the_definitions(ledger, blobs):
    files = [chunked_file("net/retry.py", ("one\n",)), chunked_file("b.py", ("two\n",), defines=("Backoff",))]
    batch = chunked_batch(ledger, blobs, files)

    run(batch, ledger, blobs)

    sparse = vectors(ledger, blobs, batch).sparse
    rows = [set(sparse.indices[a:b].tolist()) for a, b in zip(sparse.indptr, sparse.indptr[1:], strict=False)]
    assert set(sparse_query("retry one")[0].tolist()) & rows[0]
    assert set(symbol_query("Backoff")[0].tolist()) <= rows[1]
    assert not set(symbol_query("Backoff")[0].tolist()) & rows[0]


def test_a_batch_without_chunks_is_passed_on(ledger, blobs):
    batch = chunked_batch(ledger, blobs, [])

    assert run(batch, ledger, blobs) == [Message("index", batch)]
    assert vectors(ledger, blobs, batch).dense.shape == (0, 16)


def test_bytes_that_are_no_text_are_embedded_all_the_same(ledger, blobs):
    broken = chunked_file(texts=("abcd\n",))
    text = b"\xff\xfe\n\0\n"
    broken = type(broken)(broken.ref, broken.blob, "python", broken.kind, text, broken.chunks)
    batch = chunked_batch(ledger, blobs, [broken])
    embedder = CountingEmbedder()

    run(batch, ledger, blobs, embedder=embedder)

    assert embedder.seen == ["\ufffd\ufffd\n\0\n"]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("not finite", lambda rows: np.where(np.arange(len(rows))[:, None] == 1, np.nan, rows)),
        ("infinite", lambda rows: rows * np.inf),
        ("no length", lambda rows: rows * 0),
        ("too long", lambda rows: rows * 1.01),
        ("a row short", lambda rows: rows[1:]),
        ("a number short", lambda rows: rows[:, 1:]),
    ],
)
def test_what_is_no_unit_vector_is_not_stored(ledger, blobs, name, rows):
    batch = chunked_batch(ledger, blobs, [chunked_file(texts=("one\n", "two\n"))])
    cache, before = MemoryCache(), set(blobs.digests())

    with pytest.raises(Unavailable, match="counting@1"), np.errstate(invalid="ignore"):
        run(batch, ledger, blobs, cache=cache, embedder=BrokenEmbedder(rows))

    assert cache.rows == {}
    assert set(blobs.digests()) == before
    assert ledger.batch(batch).state == BatchState.CHUNKED


def test_a_damaged_pack_is_refused_before_anything_is_embedded(ledger, blobs):
    batch = chunked_batch(ledger, blobs, [chunked_file()])
    pack = ledger.batch(batch).pack
    data = bytearray(blobs.stored[pack])
    data[12] ^= 1
    blobs.stored[pack] = bytes(data)
    embedder = CountingEmbedder()

    with pytest.raises(CorruptData):
        run(batch, ledger, blobs, embedder=embedder)

    assert embedder.seen == []


def test_a_missing_pack_or_batch_is_said_so(ledger, blobs):
    batch = chunked_batch(ledger, blobs, [chunked_file()])
    blobs.delete(ledger.batch(batch).pack)

    with pytest.raises(NotFound):
        run(batch, ledger, blobs)
    with pytest.raises(NotFound):
        run(batch + 1, ledger, blobs)


def test_rows_stand_in_the_order_of_the_pack(ledger, blobs):
    batch = chunked_batch(ledger, blobs, [chunked_file(texts=tuple(f"text {i}\n" for i in range(50)))])
    embedder = CountingEmbedder()

    run(batch, ledger, blobs, embedder=embedder)

    from services.core.texts import Texts

    pack = Pack(blobs.get(ledger.batch(batch).pack))
    expected = embedder.embed(Texts([text.decode() for text in pack.texts()]))
    assert vectors(ledger, blobs, batch).dense == pytest.approx(expected, abs=1e-3)
