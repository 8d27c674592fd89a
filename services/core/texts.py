"""A batch of texts, tokenised at most once for both the sparse and the static dense vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.core.tokens import Ragged, Vocabulary, vocabulary


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a batch: row i of `numbers` holds text i's words as numbers of `vocabulary`."""

    vocabulary: Vocabulary
    numbers: Ragged


class Texts:
    """Texts to embed; `texts[rows]` of a batch share its tokenisation."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)
        self._words: Words | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, rows: Sequence[int]) -> "Texts":
        """Return the texts with the given numbers, in that order."""
        chosen = Texts([self.texts[row] for row in rows])
        if self._words is not None:
            numbers = self._words.numbers.take(np.asarray(rows, dtype=np.int64))
            chosen._words = Words(self._words.vocabulary, numbers)
        return chosen

    @property
    def words(self) -> Words:
        """The words of every text, cut at the first call."""
        if self._words is None:
            known = vocabulary()
            self._words = Words(known, known.numbers(self.texts))
        return self._words
