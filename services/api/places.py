"""What the path of a chunk says about it: rules on the words of its folders and its file, and on its repository.

Each rule is a pure function with a value between 0 and 1.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from services.api.paths import LEAST_ALIKE, PathWords, path_words
from services.api.query import Query
from services.api.words import split_words, stem


def path_boost(query: Query, path: PathWords, rarity: Mapping[str, float]) -> float:
    """Return the weighted share of the query's words that are in the path, rare ones counting more."""
    total = sum(rarity.values())
    if not total:
        return 0.0
    found = sum(weight * coverage(word, path) for word, weight in rarity.items())
    found += _joined_boost(query.words, path, rarity)
    return min(1.0, found / total)


def coverage(word: str, path: PathWords) -> float:
    """Return how well a path covers a stem: its weight there, or half of it for a longer or shorter form."""
    weight = path.weights.get(word)
    if weight is not None:
        return weight
    alike = path.alike.get(word[:LEAST_ALIKE])
    if not alike:
        return 0.0
    return 0.5 * max((path.weights[key] for key in alike if key.startswith(word) or word.startswith(key)), default=0.0)


def subject_boost(query: Query, path: PathWords) -> float:
    """Return how much of the file's own name the query says: all of `response.py` for "response headers"."""
    if query.symbol or not path.subject:
        return 0.0
    return len(path.subject.intersection(query.words)) / len(path.subject)


def repo_boost(query: Query, repo: str) -> float:
    """Return 1 for a repository whose name the query says."""
    # As written, not by stem: "request" does not name the repository `requests`.
    name = "".join(split_words(repo.rpartition("/")[2]))
    words = split_words(query.text)
    return 1.0 if name in words or name in map("".join, pairwise(words)) else 0.0


def word_rarity(words: Iterable[str], paths: Iterable[str]) -> dict[str, float]:
    """Return a weight for each word, lower the more of the candidates' files have it in their path.

    A folder that all candidates share tells them apart no more than no folder at all.
    """
    distinct = set(paths)
    weights = [path_words(path).weights for path in distinct]
    return {word: math.log(1 + len(distinct) / (0.5 + sum(word in w for w in weights))) for word in words}


def _joined_boost(words: Sequence[str], path: PathWords, rarity: Mapping[str, float]) -> float:
    """Count two neighbouring words that the path writes as one (rate limiter, ratelimiter)."""
    found = 0.0
    for left, right in pairwise(words):
        if left not in path.weights and right not in path.weights:
            weight = path.weights.get(stem(left + right), 0.0)
            found += weight * (rarity[left] + rarity[right])
    return found
