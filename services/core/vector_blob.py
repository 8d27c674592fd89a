"""The vectors of one pack as one blob, and its words: what the embedder writes, the indexer and exact searches read.

Layout: magic, lengths of the three parts that follow (4 bytes each, little-endian): the list of words, their places
(see `core.word_index`; empty where there are none), header (JSON). Then the arrays one after the other: dense
float16[n, dim], sparse row lengths uint32[n], indices uint32[nnz], values float16[nnz]. Row i belongs to chunk i
of the pack. float16 keeps cosine to about 1e-3, under the noise of any model here.
"""

import json
from dataclasses import dataclass

import numpy as np

from services.core.errors import CorruptData
from services.core.ports import BlobStore, SparseRows
from services.core.word_index import WordList, WordPlaces

_MAGIC = b"QRYVECS2"
# The first form, which had no words: magic, length of the header, header, arrays.
_WORDLESS_MAGIC = b"QRYVECS1"
_LENGTHS = 3
_HEAD_BYTES = len(_MAGIC) + 4 * _LENGTHS


@dataclass(frozen=True, slots=True)
class VectorBlob:
    """Dense float32[n, dim] with unit rows and sparse n rows, by the model `model`; words and places as stored."""

    model: str
    dense: np.ndarray
    sparse: SparseRows
    words: bytes = b""
    places: bytes = b""

    def pack(self) -> bytes:
        """Return the stored form."""
        n, dim = self.dense.shape
        header = json.dumps({"model": self.model, "n": n, "dim": dim, "nnz": len(self.sparse.indices)}).encode()
        arrays = (
            self.dense.astype("<f2"),
            np.diff(self.sparse.indptr).astype("<u4"),
            self.sparse.indices.astype("<u4"),
            self.sparse.values.astype("<f2"),
        )
        parts = (self.words, self.places, header)
        lengths = b"".join(len(part).to_bytes(4, "little") for part in parts)
        return b"".join((_MAGIC, lengths, *parts, *(a.tobytes() for a in arrays)))

    @classmethod
    def unpack(cls, data: bytes, name: str = "") -> "VectorBlob":
        """Read the stored form.

        Raises:
            CorruptData: the bytes are not a whole blob of vectors.
        """
        try:
            return cls._unpack(data)
        except (ValueError, KeyError) as error:
            raise CorruptData(f"vectors {name!r} can't be read: {error}") from error

    @classmethod
    def _unpack(cls, data: bytes) -> "VectorBlob":
        lengths, at = _lengths(data)
        words, places, raw = (data[sum(lengths[:i], at) : sum(lengths[: i + 1], at)] for i in range(_LENGTHS))
        header = json.loads(raw)
        at += sum(lengths)
        n, dim, nnz = header["n"], header["dim"], header["nnz"]
        arrays = []
        for kind, count in (("<f2", n * dim), ("<u4", n), ("<u4", nnz), ("<f2", nnz)):
            arrays.append(np.frombuffer(data, dtype=kind, count=count, offset=at))
            at += arrays[-1].nbytes
        if at != len(data):
            raise ValueError(f"{len(data)} bytes, {at} expected")
        dense, row_lengths, indices, values = arrays
        indptr = np.zeros(n + 1, dtype=np.int64)
        np.cumsum(row_lengths, out=indptr[1:])
        sparse = SparseRows(indptr, indices, values.astype(np.float32))
        return cls(header["model"], dense.reshape(n, dim).astype(np.float32), sparse, words, places)


@dataclass(frozen=True, slots=True)
class StoredWords:
    """The words of a stored blob's pack, and the first byte and length of their places in the blob."""

    words: WordList
    places: tuple[int, int]


def read_words(blobs: BlobStore, digest: str) -> StoredWords | None:
    """Return the words of a stored blob's pack, None if it was stored without; the vectors are not read.

    Raises:
        NotFound: the blob is not there.
        CorruptData: it is damaged.
    """
    try:
        (words, places, _), at = _lengths(blobs.get(digest, 0, _HEAD_BYTES))
    except ValueError as error:
        raise CorruptData(f"vectors {digest!r} can't be read: {error}") from error
    return StoredWords(WordList.unpack(blobs.get(digest, at, words)), (at + words, places)) if words else None


def read_places(blobs: BlobStore, digest: str, stored: StoredWords) -> WordPlaces:
    """Return the places of the words that `read_words` found.

    Raises:
        NotFound: the blob is not there.
        CorruptData: it is damaged.
    """
    return WordPlaces.unpack(blobs.get(digest, *stored.places))


def _lengths(data: bytes) -> tuple[list[int], int]:
    """Return the lengths of the three parts, and where the first of them begins."""
    count = {_MAGIC: _LENGTHS, _WORDLESS_MAGIC: 1}.get(data[: len(_MAGIC)])
    if count is None:
        raise ValueError("wrong magic")
    at = len(_MAGIC) + 4 * count
    lengths = np.frombuffer(data, "<u4", count, offset=len(_MAGIC)).tolist()
    return [0] * (_LENGTHS - count) + lengths, at
