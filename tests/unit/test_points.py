import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.digest import point_id
from services.core.errors import CorruptData
from services.core.pack import Pack, write_pack
from services.core.payload import from_payload
from services.core.ports import SparseRows
from services.indexer.points import select_rows, to_points
from tests.fakes import chunked_file
from tests.indexing_world import vector_blob

FILES = [
    chunked_file("a.py", ("one\n", "two\n")),
    chunked_file("src/b.PY", ("three\n",)),
    chunked_file("c.py", ("x\n",)),
]


def points_of(**how):
    pack = Pack(write_pack(FILES), "pack")
    return pack, to_points(pack, vector_blob(4), repo="r", pack_id="pack", generation=7, **how)


def test_each_chunk_is_a_point_named_by_its_place():
    _pack, points = points_of()

    a, b, c = (file.blob for file in FILES)
    assert points.ids == [
        point_id("r", "a.py", a, 0),
        point_id("r", "a.py", a, 1),
        point_id("r", "src/b.PY", b, 0),
        point_id("r", "c.py", c, 0),
    ]


def test_payloads_say_where_the_text_is():
    pack, points = points_of()

    stored = [from_payload(payload) for payload in points.payloads]
    assert [chunk.text for chunk in stored] == [chunk.text for chunk in pack.chunks]
    assert {(chunk.repo, chunk.pack) for chunk in stored} == {("r", "pack")}
    assert [chunk.ordinal for chunk in stored] == [0, 1, 0, 0]
    assert {payload["gen"] for payload in points.payloads} == {7}
    assert points.payloads[2]["ext"] == "py"


def test_left_out_files_take_their_vectors_with_them():
    _pack, everything = points_of()
    _pack, points = points_of(leave_out={"src/b.PY"})

    assert points.ids == [everything.ids[i] for i in (0, 1, 3)]
    assert np.array_equal(points.dense, everything.dense[[0, 1, 3]])
    assert points.sparse.indices.tolist() == [0, 1, 3]
    assert len(points.payloads) == 3


def test_leaving_out_every_file_gives_no_points():
    _pack, points = points_of(leave_out={"a.py", "src/b.PY", "c.py"})

    assert (points.ids, points.payloads, len(points.sparse), points.dense.shape) == ([], [], 0, (0, 8))


@pytest.mark.parametrize("rows", [0, 3, 5])
def test_vectors_of_another_pack_are_refused(rows):
    with pytest.raises(CorruptData, match="pack p1 has 4 chunks"):
        to_points(Pack(write_pack(FILES)), vector_blob(rows), repo="r", pack_id="p1", generation=1)


@given(st.lists(st.lists(st.integers(0, 50), max_size=4), max_size=8), st.data())
def test_selected_rows_are_the_rows(rows, data):
    indptr = np.cumsum([0] + [len(row) for row in rows])
    indices = np.array([i for row in rows for i in row], np.uint32)
    sparse = SparseRows(indptr, indices, indices.astype(np.float32))
    picked = data.draw(st.lists(st.integers(0, len(rows) - 1)) if rows else st.just([]))

    got = select_rows(sparse, picked)

    spans = [got.indices[got.indptr[i] : got.indptr[i + 1]].tolist() for i in range(len(got))]
    assert spans == [rows[i] for i in picked]
    assert got.values.tolist() == got.indices.tolist()
