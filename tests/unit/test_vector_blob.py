import numpy as np
import pytest

from services.core.errors import CorruptData
from services.core.ports import SparseRows
from services.core.vector_blob import VectorBlob


def blob(n=3, dim=4):
    rng = np.random.default_rng(1)
    dense = rng.standard_normal((n, dim)).astype(np.float32)
    lengths = np.arange(n)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    indices = np.concatenate([np.arange(k, dtype=np.uint32) for k in lengths]) if n else np.zeros(0, np.uint32)
    return VectorBlob("m", dense, SparseRows(indptr, indices, np.ones(len(indices), np.float32)))


@pytest.mark.parametrize("n", [0, 1, 5])
def test_vectors_come_back_within_half_precision(n):
    written = blob(n)

    read = VectorBlob.unpack(written.pack())

    assert read.model == "m"
    np.testing.assert_allclose(read.dense, written.dense, atol=2e-3)
    np.testing.assert_array_equal(read.sparse.indptr, written.sparse.indptr)
    np.testing.assert_array_equal(read.sparse.indices, written.sparse.indices)


def test_packing_what_was_read_gives_the_same_bytes():
    data = blob().pack()

    assert VectorBlob.unpack(data).pack() == data


@pytest.mark.parametrize("data", [b"", b"QRYVECS1", blob().pack()[:-1], blob().pack() + b"x", b"X" + blob().pack()[1:]])
def test_damaged_vectors_are_refused(data):
    with pytest.raises(CorruptData):
        VectorBlob.unpack(data)
