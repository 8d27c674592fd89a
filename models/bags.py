"""Bags: how often each piece of the static model's vocabulary is in each text, as training wants them."""

from collections.abc import Sequence

import numpy as np

from services.core.adapters.static import cut
from services.core.tokens import Ragged, Vocabulary


class Bagger:
    """Cuts texts into pieces exactly as the embedder does, remembering the parts it has seen."""

    def __init__(self, pieces: dict[str, int]) -> None:
        self._pieces = pieces
        self._vocabulary = Vocabulary()

    def bags(self, texts: Sequence[str]) -> Ragged:
        """Return the pieces of each text, int32, repeated as often as they are in it."""
        words = self._vocabulary.numbers(texts)
        return words.through(self._vocabulary.word_parts()).through(self._cuts())

    def _cuts(self) -> Ragged:
        found = [cut(part, self._pieces) for part in self._vocabulary.parts]
        ends = np.zeros(len(found) + 1, dtype=np.int64)
        np.cumsum([len(pieces) for pieces in found], out=ends[1:])
        return Ragged(ends, np.array([piece for pieces in found for piece in pieces], dtype=np.int32))


def counted(bags: Ragged) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, pieces and counts, sorted by row and piece, each pair of row and piece once."""
    rows = np.repeat(np.arange(len(bags), dtype=np.int64), bags.lengths)
    keys, counts = np.unique(rows << 32 | bags.values.astype(np.int64), return_counts=True)
    return keys >> 32, keys & 0xFFFFFFFF, counts.astype(np.float32)
