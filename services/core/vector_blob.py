"""The vectors of one pack as one blob: what the embedder writes and the indexer reads.

Layout: magic, length of the header (4 bytes, little-endian), header (JSON),
then the arrays one after the other: dense float16[n, dim], sparse row lengths
uint32[n], indices uint32[nnz], values float16[nnz]. Row i belongs to chunk i
of the pack. float16 keeps cosine to about 1e-3, under the noise of any model here.
"""

import json
from dataclasses import dataclass

import numpy as np

from services.core.errors import CorruptData
from services.core.ports import SparseRows

_MAGIC = b"QRYVECS1"


@dataclass(frozen=True, slots=True)
class VectorBlob:
    """Dense float32[n, dim] with unit rows and sparse n rows, by the model `model`."""

    model: str
    dense: np.ndarray
    sparse: SparseRows

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
        return b"".join((_MAGIC, len(header).to_bytes(4, "little"), header, *(a.tobytes() for a in arrays)))

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
        if not data.startswith(_MAGIC):
            raise ValueError("wrong magic")
        at = len(_MAGIC) + 4
        length = int.from_bytes(data[len(_MAGIC) : at], "little")
        header = json.loads(data[at : at + length])
        at += length
        n, dim, nnz = header["n"], header["dim"], header["nnz"]
        arrays = []
        for kind, count in (("<f2", n * dim), ("<u4", n), ("<u4", nnz), ("<f2", nnz)):
            arrays.append(np.frombuffer(data, dtype=kind, count=count, offset=at))
            at += arrays[-1].nbytes
        if at != len(data):
            raise ValueError(f"{len(data)} bytes, {at} expected")
        dense, lengths, indices, values = arrays
        indptr = np.zeros(n + 1, dtype=np.int64)
        np.cumsum(lengths, out=indptr[1:])
        sparse = SparseRows(indptr, indices, values.astype(np.float32))
        return cls(header["model"], dense.reshape(n, dim).astype(np.float32), sparse)
