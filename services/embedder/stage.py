"""The embed stage: the chunks of a batch become dense and sparse vectors, stored as one blob."""

from collections.abc import Sequence

import numpy as np

from services.core.errors import Unavailable
from services.core.ledger import Ledger
from services.core.model import Message
from services.core.pack import Pack
from services.core.ports import BlobStore, Embedder, EmbeddingCache, Emit
from services.core.sparse import sparse_documents
from services.core.texts import Texts
from services.core.vector_blob import VectorBlob
from services.core.word_index import index_words

# float32 embedders are within 1e-6; what float16 adds comes after the check.
_MAX_LENGTH_ERROR = 1e-3


def embed(
    batch_id: int, *, ledger: Ledger, blobs: BlobStore, cache: EmbeddingCache, embedder: Embedder, emit: Emit
) -> None:
    """Embed the chunks of a chunked batch and send it on to the indexer.

    Equal texts are embedded once, known ones not at all; the same batch gives the same blob however
    often and in whatever state of the cache it comes.

    Raises:
        NotFound: the batch or its pack is not there.
        CorruptData: the pack is damaged.
        Unavailable: the embedder fails, or returns what can't be a vector.
    """
    batch = ledger.batch(batch_id)
    pack = Pack(blobs.get(batch.pack), batch.pack)
    texts = Texts([text.decode("utf-8", "replace") for text in pack.texts()])
    dense, embedded = _dense(texts, [chunk.text.digest for chunk in pack.chunks], cache, embedder)
    sparse = sparse_documents(texts, _paths(pack), [chunk.defines for chunk in pack.chunks])
    words, places = index_words(texts, [file.first for file in pack.files])
    vectors = blobs.put(VectorBlob(embedder.model_id, dense, sparse, words.pack(), places.pack()).pack())
    ledger.embedded(batch_id, vectors=vectors, embedded=embedded, cached=len(texts) - embedded)
    emit(Message("index", batch_id))


def _dense(texts: Texts, digests: Sequence[str], cache: EmbeddingCache, embedder: Embedder) -> tuple[np.ndarray, int]:
    """Return float32[len(texts), dim], rounded to float16, and how many texts had to be embedded."""
    # The sparse vectors need the words anyway; cut before the texts are split up, they are cut once.
    _ = texts.words
    first = {key: row for row, key in reversed(list(enumerate(digests)))}
    known = cache.get(embedder.model_id, list(first))
    missing = [key for key in first if key not in known]
    if missing:
        rows = embedder.embed(texts[[first[key] for key in missing]])
        # As the cache and the blob will hold them, so that a fresh vector and a cached one are the same.
        fresh = dict(zip(missing, _checked(rows, len(missing), embedder).astype("<f2").astype(np.float32), strict=True))
        cache.put(embedder.model_id, fresh)
        known |= fresh
    dense = np.empty((len(texts), embedder.dim), dtype=np.float32)
    for row, key in enumerate(digests):
        dense[row] = known[key]
    return dense, len(missing)


def _checked(rows: np.ndarray, count: int, embedder: Embedder) -> np.ndarray:
    """Nothing that is no unit vector may be stored: it would rank first, and be remembered."""
    if rows.shape != (count, embedder.dim):
        raise Unavailable(f"embedder {embedder.model_id!r} returned {rows.shape} for {count} texts of {embedder.dim}")
    lengths = np.linalg.norm(rows, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= _MAX_LENGTH_ERROR))
    if len(wrong):
        raise Unavailable(
            f"embedder {embedder.model_id!r} returned {len(wrong)} of {count} vectors that are not finite "
            f"or not of length 1, the first of length {lengths[wrong[0]]}; nothing was stored"
        )
    return rows


def _paths(pack: Pack) -> list[str]:
    paths = [""] * len(pack.chunks)
    for file in pack.files:
        paths[file.first : file.first + file.count] = [file.path] * file.count
    return paths
