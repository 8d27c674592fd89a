"""Points from a pack and its vectors: what the indexer writes, computed without asking anyone."""

from collections.abc import Container

import numpy as np

from services.core.digest import point_id
from services.core.errors import CorruptData
from services.core.pack import Pack
from services.core.payload import to_payload
from services.core.ports import Points, SparseRows
from services.core.vector_blob import VectorBlob


def to_points(
    pack: Pack, vectors: VectorBlob, *, repo: str, pack_id: str, generation: int, leave_out: Container[str] = ()
) -> Points:
    """Return the points of every chunk of `pack`, except those of the paths to leave out.

    Raises:
        CorruptData: the vectors are not those of the pack.
    """
    check_rows(pack, vectors, pack_id)
    ids, payloads, rows = [], [], []
    for file in pack.files:
        if file.path in leave_out:
            continue
        for ordinal in range(file.count):
            row = file.first + ordinal
            rows.append(row)
            ids.append(point_id(repo, file.path, file.blob, ordinal))
            chunk = pack.chunks[row]
            payloads.append(to_payload(repo, file, chunk, ordinal=ordinal, pack=pack_id, generation=generation))
    if len(rows) == len(vectors.dense) and rows == list(range(len(rows))):
        return Points(ids, vectors.dense, vectors.sparse, payloads)
    return Points(ids, vectors.dense[rows], select_rows(vectors.sparse, rows), payloads)


def check_rows(pack: Pack, vectors: VectorBlob, pack_id: str) -> None:
    """Refuse vectors that can't be those of the pack.

    Raises:
        CorruptData: there are not as many dense and sparse rows as chunks.
    """
    counts = (len(pack.chunks), len(vectors.dense), len(vectors.sparse))
    if len(set(counts)) != 1:
        raise CorruptData(
            f"pack {pack_id} has {counts[0]} chunks but {counts[1]} dense and {counts[2]} sparse vectors; "
            "run 'quarry doctor'"
        )


def select_rows(sparse: SparseRows, rows: list[int]) -> SparseRows:
    """Return the given rows of `sparse`, in their order."""
    starts, stops = sparse.indptr[rows], sparse.indptr[np.asarray(rows, dtype=np.int64) + 1]
    indptr = np.concatenate([[0], np.cumsum(stops - starts)]).astype(np.int64)
    spans = [np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
    taken = np.concatenate([*spans, np.zeros(0, np.int64)]).astype(np.int64)
    return SparseRows(indptr, sparse.indices[taken], sparse.values[taken])
