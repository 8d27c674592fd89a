"""What the candidates of a query say of each other: how much of the query a chunk or its file accounts for.

A word that every candidate has tells them apart no more than one that none has.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

File = tuple[str, str]


def cover(words: Sequence[str], said: Sequence[frozenset[str]]) -> list[float]:
    """Return the weighted share of `words` in each of `said`, words that fewer of them have counting more."""
    if not words or not said:
        return [0.0] * len(said)
    wanted = frozenset(words)
    has = [wanted & each for each in said]
    found = Counter(word for each in has for word in each)
    weights = {word: math.log(1 + len(said) / (0.5 + found[word])) for word in words}
    total = sum(weights.values())
    # In the order of the query, so that a sum doesn't depend on how a set is ordered.
    return [sum(weights[word] for word in words if word in each) / total if each else 0.0 for each in has]


def of_files(files: Sequence[File], said: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    """Return for each candidate what all candidates of its file say together."""
    together: dict[File, set[str]] = {}
    for file, words in zip(files, said, strict=True):
        together.setdefault(file, set()).update(words)
    frozen = {file: frozenset(words) for file, words in together.items()}
    return [frozen[file] for file in files]


def coherence(fused: Iterable[tuple[File, float]]) -> dict[File, float]:
    """Return the share of each file in the score of the file that has most, over all candidates of a file."""
    sums: dict[File, float] = {}
    for file, score in fused:
        sums[file] = sums.get(file, 0.0) + score
    most = max(sums.values(), default=0.0)
    return {file: total / most for file, total in sums.items()} if most else {}
