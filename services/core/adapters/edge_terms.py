"""Document frequencies: in how many points each term occurs, for the inverse document frequency of a query.

Terms are counted in buckets of their low bits. One table spans all shards, so
that a small fresh shard weighs terms as a large old one does. Deleted points
stay counted, with the number of documents, until their shard is sealed again.
"""

import os
from pathlib import Path

import numpy as np

from services.core.digest import digest
from services.core.errors import CorruptData

# 2^21 buckets of 4 bytes are 8 MB; a corpus of a million chunks has about as many distinct terms,
# and two rare terms in one bucket cost each other a little weight, nothing else.
_BUCKETS = 1 << 21
_MAGIC = b"QRYTERM1"
_DIGEST_CHARS = 64


class TermCounts:
    """Number of documents, and of those with each term; nothing is counted at first."""

    def __init__(self) -> None:
        self.documents = 0
        # Allocated on the first count: most shards and all empty homes never need it.
        self._counts: np.ndarray | None = None

    def add(self, indices: np.ndarray, documents: int) -> None:
        """Count `documents` documents whose terms, uint32 and unique in each, are `indices` together."""
        # With a Python 1 this takes a slow path: 50 instead of 2 ns a term.
        np.add.at(self._table(), _buckets(indices), np.uint32(1))
        self.documents += documents

    def merge(self, other: "TermCounts", sign: int = 1) -> None:
        """Add the counts of `other`, or take them away with `sign` -1."""
        if other._counts is not None:
            table = self._table()
            where = np.flatnonzero(other._counts)
            summed = table[where].astype(np.int64) + sign * other._counts[where].astype(np.int64)
            table[where] = summed.clip(min=0)
        self.documents = max(0, self.documents + sign * other.documents)

    def idf(self, indices: np.ndarray) -> np.ndarray:
        """Return float32[m], BM25's ``ln(1 + (N - df + 0.5) / (df + 0.5))`` of each term."""
        counted = np.zeros(len(indices)) if self._counts is None else self._counts[_buckets(indices)].astype(float)
        df = np.minimum(counted, self.documents)
        weights: np.ndarray = np.log1p((self.documents - df + 0.5) / (df + 0.5)).astype(np.float32)
        return weights

    def save(self, path: Path) -> None:
        """Write the counts that are not zero, 8 bytes each, in place of what is at `path`.

        Not synced: a file that a power cut damages is noticed at `load` and counted afresh.
        """
        where = np.zeros(0, np.uint32) if self._counts is None else np.flatnonzero(self._counts).astype("<u4")
        counts = where if self._counts is None else self._counts[where].astype("<u4")
        body = self.documents.to_bytes(8, "little") + where.tobytes() + counts.tobytes()
        temporary = path.with_suffix(".new")
        temporary.write_bytes(_MAGIC + body + digest(body).encode())
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> "TermCounts":
        """Read what `save` wrote.

        Raises:
            CorruptData: the file is missing or damaged; count the shard's points afresh.
        """
        data = path.read_bytes() if path.is_file() else b""
        body = data[len(_MAGIC) : -_DIGEST_CHARS]
        if not data.startswith(_MAGIC) or digest(body).encode() != data[-_DIGEST_CHARS:]:
            raise CorruptData(f"term counts {str(path)!r} can't be read")
        terms = cls()
        terms.documents = int.from_bytes(body[:8], "little")
        where, counts = np.frombuffer(body, "<u4", offset=8).reshape(2, -1)
        if len(where):
            terms._table()[where] = counts
        return terms

    def _table(self) -> np.ndarray:
        if self._counts is None:
            self._counts = np.zeros(_BUCKETS, np.uint32)
        return self._counts


def _buckets(indices: np.ndarray) -> np.ndarray:
    return indices.astype(np.int64) & (_BUCKETS - 1)
