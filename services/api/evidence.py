"""What the candidates of a query say of each other: how much of the query a chunk or its file accounts for.

A word that every candidate has tells them apart no more than one that none has.
"""

import math
from collections.abc import Iterable, Sequence

File = tuple[str, str]


def cover(words: Sequence[str], said: Sequence[frozenset[str]]) -> list[float]:
    """Return the weighted share of `words` in each of `said`, words that fewer of them have counting more."""
    has = [[word in each for word in words] for each in said]
    found = [sum(column) for column in zip(*has, strict=True)]
    weights = [math.log(1 + len(said) / (0.5 + n)) for n in found]
    total = sum(weights) or 1.0
    return [sum(w for w, there in zip(weights, row, strict=True) if there) / total for row in has]


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
