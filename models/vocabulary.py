"""Words of code that the distilled vocabulary cuts into pieces get a piece of their own: const, mutex, stdin."""

from collections.abc import Iterable

import numpy as np

from services.core.adapters.static import cut
from services.core.tokens import Vocabulary

# With 256 dimensions of float32 in memory this is 32 MiB, as much as the caches of a small machine bear.
MAX_PIECES = 32_768
# A vector needs to be seen this often to be better than the sum of its pieces.
MIN_COUNT = 50


def extended(pieces: list[str], table: np.ndarray, texts: Iterable[str]) -> tuple[list[str], np.ndarray]:
    """Return the pieces and the table with the most frequent parts of the texts that have no piece of their own.

    Each begins as the sum of the pieces that it was cut into, so that nothing changes before training.
    """
    known = {piece: number for number, piece in enumerate(pieces)}
    vocabulary = Vocabulary()
    words = vocabulary.numbers(texts).through(vocabulary.word_parts())
    counts = np.bincount(words.values, minlength=len(vocabulary.parts))
    added: list[str] = []
    rows = [table]
    for number in np.argsort(-counts, kind="stable").tolist():
        if counts[number] < MIN_COUNT or len(known) + len(added) >= MAX_PIECES:
            break
        part = vocabulary.parts[number]
        cuts = cut(part, known)
        if len(cuts) > 1:
            added.append(part)
            rows.append(table[cuts].sum(axis=0, keepdims=True))
    return pieces + added, np.concatenate(rows)
