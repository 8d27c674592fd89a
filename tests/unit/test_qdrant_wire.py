"""Upserts in Qdrant's wire format: what the generated classes read is what was written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import grpc as messages

from services.core.adapters.qdrant_wire import upsert_message
from services.core.adapters.stored_points import fold
from services.core.digest import point_id
from services.core.errors import InvalidRequest
from services.core.ports import Points, SparseRows

_WEIGHTS = st.floats(-1e6, 1e6, width=32)
_ROWS = st.lists(st.dictionaries(st.integers(0, 2**32 - 1), _WEIGHTS, max_size=20), min_size=1, max_size=8)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def _points(rows, *, path="src/é.py", generation=7, dim=3):
    ids = [point_id("r", "path", "b", number) for number in range(len(rows))]
    payload = {
        "repo": "r",
        "path": path,
        "lang": "python",
        "ext": "py",
        "gen": generation,
        "symbol": "\ud800",
        "at": [1],
    }
    bounds = np.cumsum([0, *(len(row) for row in rows)])
    indices = np.array([term for row in rows for term in row], np.uint32)
    values = np.array([weight for row in rows for weight in row.values()], np.float32)
    dense = np.arange(len(rows) * dim, dtype=np.float32).reshape(-1, dim) / 7
    return Points(ids, dense, SparseRows(bounds, indices, values), [payload] * len(rows))


def _read(message):
    """The request as plain values: what is asked, and of each point id, dense vector, terms, weights and payload."""
    read = messages.UpsertPoints.FromString(message)
    points = []
    for point in read.points:
        vectors = point.vectors.vectors.vectors
        terms = vectors["terms"].sparse
        payload = {key: getattr(value, value.WhichOneof("kind")) for key, value in point.payload.items()}
        dense = list(vectors["dense"].dense.data)
        points.append((point.id.uuid, dense, list(terms.indices), list(terms.values), payload))
    return read.collection_name, read.wait, points


@given(_ROWS, _TEXT, st.integers(0, 2**63 - 1))
def test_what_is_written_is_read_back_whole(rows, path, generation):
    points = _points(rows, path=path, generation=generation)

    collection, wait, read = _read(upsert_message("some-collection", points, points.dense, slice(0, len(rows))))

    assert (collection, wait) == ("some-collection", True)
    assert [point[0] for point in read] == [str(point) for point in points.ids]
    assert [point[1] for point in read] == points.dense.tolist()
    assert [point[2] for point in read] == [list(row) for row in rows]
    assert [point[3] for point in read] == [list(row.values()) for row in rows]
    assert [point[4] for point in read] == [fold(payload) for payload in points.payloads]


@given(_ROWS, st.data())
def test_a_part_is_what_the_whole_has_there(rows, data):
    points = _points(rows)
    start = data.draw(st.integers(0, len(rows) - 1))
    # A part may end behind the last point.
    stop = data.draw(st.integers(start + 1, len(rows) + 3))

    whole = _read(upsert_message("c", points, points.dense, slice(0, len(rows))))[2]
    part = _read(upsert_message("c", points, points.dense, slice(start, stop)))[2]

    assert part == whole[start:stop]


def test_no_field_is_unknown_to_the_generated_classes():
    points = _points([{1: 0.5, 2**32 - 1: 1.5}, {}])
    message = upsert_message("c", points, points.dense, slice(0, 2))

    read = messages.UpsertPoints.FromString(message)
    before = read.ByteSize()
    read.DiscardUnknownFields()

    assert read.ByteSize() == before


def test_text_that_is_not_unicode_is_refused():
    points = _points([{}], path="a\ud800.py")

    with pytest.raises(InvalidRequest, match="not valid Unicode"):
        upsert_message("c", points, points.dense, slice(0, 1))
