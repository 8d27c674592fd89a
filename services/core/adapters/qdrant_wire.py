"""Points as Qdrant's gRPC takes them: the bytes of an `UpsertPoints` message, written without building one.

A point of 256 dimensions and 50 terms takes 20 µs so, payload included; as JSON it takes twice as much, and by the
generated classes more. The numbers of the fields are those of
https://github.com/qdrant/qdrant/blob/master/lib/api/src/grpc/proto/points.proto; the encoding is
https://protobuf.dev/programming-guides/encoding/.
"""

from typing import Any

import numpy as np

from services.core.adapters.stored_points import DENSE, INDEXED, TERMS, fold
from services.core.errors import InvalidRequest
from services.core.ports import Points, SparseRows

_BYTES = 2  # the wire type of what has a length
_FLOAT_BYTES = 4
_MAX_VARINT_BYTES = 5
_Pair = tuple[str, str | int]


def upsert_message(collection: str, points: Points, dense: np.ndarray, rows: slice) -> bytes:
    """Return the request to upsert `rows` of `points`, with those rows of `dense`, and to wait until it is done.

    Raises:
        InvalidRequest: a payload holds text that is not valid Unicode.
    """
    numbers = range(len(points.ids))[rows]
    vectors = zip(_dense_entries(dense[rows]), _sparse_entries(points.sparse, rows), strict=True)
    known: dict[_Pair, bytes] = {}
    parts = [_field(1, collection.encode()), _number(2, 1)]
    for number, (dense_entry, sparse_entry) in zip(numbers, vectors, strict=True):
        identity = _field(1, _field(2, str(points.ids[number]).encode()))
        named = _field(4, _field(2, dense_entry + sparse_entry))
        parts.append(_field(3, identity + _payload(points.payloads[number], known) + named))
    return b"".join(parts)


def _dense_entries(dense: np.ndarray) -> list[bytes]:
    """Return each row as an entry of the map of named vectors."""
    size = dense.shape[1] * _FLOAT_BYTES
    data = dense.astype("<f4").tobytes()
    # The rows are of one length, so all but the numbers is the same in each.
    empty = _entry(DENSE, _field(101, _field(1, bytes(size))))
    head = empty[: len(empty) - size]
    return [head + data[start : start + size] for start in range(0, len(data), size)]


def _sparse_entries(sparse: SparseRows, rows: slice) -> list[bytes]:
    """Return each row as an entry of the map of named vectors."""
    bounds = sparse.indptr[rows.start : rows.stop + 1]
    first, last = int(bounds[0]), int(bounds[-1])
    values = sparse.values[first:last].astype("<f4").tobytes()
    indices, ends = _varints(sparse.indices[first:last])
    entries = []
    for start, stop in zip((bounds[:-1] - first).tolist(), (bounds[1:] - first).tolist(), strict=True):
        weights = _field(1, values[start * _FLOAT_BYTES : stop * _FLOAT_BYTES])
        entries.append(_entry(TERMS, _field(102, weights + _field(2, indices[ends[start] : ends[stop]]))))
    return entries


def _varints(numbers: np.ndarray) -> tuple[bytes, list[int]]:
    """Return the numbers, each below 2**32, as varints, and where each begins; the last place is the end."""
    groups = numbers.astype(np.uint64)[:, None] >> np.arange(0, 7 * _MAX_VARINT_BYTES, 7, dtype=np.uint64)
    # A byte is written as long as it or one after it has a bit; the last one written lacks the mark of more to come.
    written = groups > 0
    written[:, 0] = True
    digits = (groups & np.uint64(127)).astype(np.uint8)
    digits[:, :-1] |= written[:, 1:].astype(np.uint8) << 7
    return digits[written].tobytes(), [0, *np.cumsum(written.sum(axis=1)).tolist()]


def _payload(payload: dict[str, Any], known: dict[_Pair, bytes]) -> bytes:
    """Return the fields of a payload; `known` remembers those that many points have in common."""
    fields = b""
    for pair in fold(payload).items():
        if pair[0] not in INDEXED:
            fields += _payload_field(*pair)
            continue
        if pair not in known:
            known[pair] = _payload_field(*pair)
        fields += known[pair]
    return fields


def _payload_field(key: str, value: str | int) -> bytes:
    return _field(3, _field(1, key.encode()) + _field(2, _value(value)))


def _value(value: str | int) -> bytes:
    if isinstance(value, int):
        return _number(3, value)
    try:
        return _field(4, value.encode())
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"text that is not valid Unicode can't be stored or searched for ({error})") from error


def _entry(name: str, vector: bytes) -> bytes:
    return _field(1, _field(1, name.encode()) + _field(2, vector))


def _field(number: int, data: bytes) -> bytes:
    return _KEYS[number] + _LENGTHS[len(data)] + data


def _number(number: int, value: int) -> bytes:
    return bytes((number << 3,)) + _varint(value)


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes((*digits, value))


class _Lengths(dict[int, bytes]):
    """Lengths as varints, remembered: a request has thousands of them, most of a few values."""

    def __missing__(self, length: int) -> bytes:
        written = _varint(length)
        if length < 1 << 14:
            self[length] = written
        return written


_LENGTHS = _Lengths()
_KEYS = {number: _varint(number << 3 | _BYTES) for number in (1, 2, 3, 4, 101, 102)}
