"""Two baselines of words alone over the same chunks: matching terms as a grep does, and BM25 by the book."""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from benchmarks.retrieval.pools import Chunk, Hit, Question
from benchmarks.retrieval.scoring import DEPTH

TERMS = "term match"
BM25 = "BM25"

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+")
# The values of the textbooks (Manning, Raghavan, Schütze, "Introduction to Information Retrieval", 11.4.3).
_K1 = 1.2
_B = 0.75
# What nobody would give a grep to find.
_STOP_WORDS = """
a an and are as at be by do does for from how if in into is it its of on or that the this to what when where
which who why will with
"""


class Postings:
    """The words of all chunks, split at camelCase and underscores: which chunks have each, and how often."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.places = [chunk.place for chunk in chunks]
        rows: dict[str, list[int]] = {}
        counts: dict[str, list[int]] = {}
        lengths = []
        for row, chunk in enumerate(chunks):
            words = split(chunk.text)
            lengths.append(len(words))
            for word, count in Counter(words).items():
                rows.setdefault(word, []).append(row)
                counts.setdefault(word, []).append(count)
        self.lengths = np.array(lengths, dtype=np.float64)
        self.rows = {word: np.array(found) for word, found in rows.items()}
        self.counts = {word: np.array(found, dtype=np.float64) for word, found in counts.items()}

    def terms(self, question: Question) -> list[Hit]:
        """Rank chunks by how many of the query's words occur in them, then by how often."""
        found = np.zeros(len(self.places))
        for word in terms_of(question.text):
            times = np.zeros(len(self.places))
            # As a grep finds it: anywhere in a word.
            for known in self.rows:
                if word in known:
                    times[self.rows[known]] += self.counts[known]
            # Less than another word is worth, however often.
            found += (times > 0) + 1e-3 * times / (1.0 + times)
        return self._best(found)

    def bm25(self, question: Question) -> list[Hit]:
        """Rank chunks by BM25."""
        found = np.zeros(len(self.places))
        norms = _K1 * (1.0 - _B + _B * self.lengths / max(self.lengths.mean(), 1.0)) if len(self.lengths) else found
        for word in terms_of(question.text):
            if word in self.rows:
                rows, counts = self.rows[word], self.counts[word]
                rarity = math.log(1.0 + (len(self.places) - len(rows) + 0.5) / (len(rows) + 0.5))
                found[rows] += rarity * counts * (_K1 + 1.0) / (counts + norms[rows])
        return self._best(found)

    def _best(self, scores: np.ndarray) -> list[Hit]:
        order = np.argsort(-scores, kind="stable")[:DEPTH]
        return [self.places[row] for row in order if scores[row] > 0]


def split(text: str) -> list[str]:
    """Return the lower-case words of a text, identifiers split into theirs."""
    return [word.lower() for word in _WORD.findall(text)]


def terms_of(text: str) -> list[str]:
    """Return the distinct words of a query, without those that say nothing where others are left."""
    words = list(dict.fromkeys(split(text)))
    return [word for word in words if word not in _STOP_WORDS.split()] or words
