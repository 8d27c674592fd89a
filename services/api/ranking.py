"""Ranking rules: what is known of a chunk beside its text, weighed against the fused rank.

Each rule is a small pure function. Boosts are added in units of the best fused score (1.0),
penalties multiply, and chunks of a file that already has a better hit count less. A peer measured
such rules to be worth more than the embedding model (0.67 to 0.83 NDCG@10, over 63 repositories).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from services.api.paths import PathWords, path_words
from services.api.query import Query
from services.api.weights import DEFAULT, Weights
from services.api.words import split_words, stem
from services.core.payload import StoredChunk

# The same letters in other case: usually the same thing in another language's convention.
_DEFINES_OTHER_CASE = 0.8
# `parser.py` that defines Parser is its home, other definitions are overloads or stand-ins.
_DEFINES_IN_ITS_FILE = 1.5
# A name within a longer query may be incidental.
_DEFINES_WITHIN_WORDS = 0.3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk with its fused score, the best of all being 1.0."""

    chunk: StoredChunk
    fused: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """A chunk with its final score and what each rule did to it."""

    chunk: StoredChunk
    score: float
    rules: Mapping[str, float] = field(default_factory=dict)


def rank(
    query: Query, candidates: Sequence[Candidate], *, repos_in_scope: int = 1, weights: Weights = DEFAULT
) -> list[Ranked]:
    """Order `candidates`, best first; equal scores by repository, path and place in the file."""
    rarity = word_rarity(query.words, (c.chunk.path for c in candidates))
    coherent = coherence(candidates)
    # Many chunks share a file, and a repository: what only depends on those is found once.
    by_path = {path: _path_boosts(query, path_words(path), rarity) for path in {c.chunk.path for c in candidates}}
    named = {c.chunk.repo: repo_boost(query, c.chunk.repo) if repos_in_scope > 1 else 0.0 for c in candidates}
    scored = []
    for candidate in candidates:
        chunk, path = candidate.chunk, path_words(candidate.chunk.path)
        found, subject = by_path[chunk.path]
        boosts = {
            "fused": candidate.fused,
            "defines": weights.defines * definition_boost(query, chunk, path),
            "path": weights.path * found,
            "subject": weights.subject * subject,
            "name": weights.name * name_boost(query, chunk),
            "coherence": weights.coherence * coherent.get((chunk.repo, chunk.path, chunk.ordinal), 0.0),
            "repo": weights.repo * named[chunk.repo],
        }
        factors = {
            "kind": kind_weight(query, chunk.kind, weights),
            "reexport": weights.reexport if only_passes_on(chunk, path) else 1.0,
        }
        score = sum(boosts.values()) * math.prod(factors.values())
        scored.append(Ranked(chunk, score, boosts | factors))
    return spread(sorted(scored, key=_order), weights.same_file)


def definition_boost(query: Query, chunk: StoredChunk, path: PathWords) -> float:
    """Return how well a chunk defines a name of the query: 1 for the very name, more in the file of that name."""
    best = 0.0
    for name in query.names:
        lowered = name.lower()
        if name in chunk.defines:
            boost = 1.0
        elif any(lowered == defined.lower() for defined in chunk.defines):
            boost = _DEFINES_OTHER_CASE
        else:
            continue
        if _same_name(path.stem, lowered):
            boost *= _DEFINES_IN_ITS_FILE
        best = max(best, boost)
    return best if query.symbol else best * _DEFINES_WITHIN_WORDS


def path_boost(query: Query, path: PathWords, rarity: Mapping[str, float]) -> float:
    """Return the boost for query words in the path: the weighted share of them, rare ones counting more."""
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
    if len(word) < 4:
        return 0.0
    near = (w for key, w in path.weights.items() if len(key) > 3 and (key.startswith(word) or word.startswith(key)))
    return 0.5 * max(near, default=0.0)


def subject_boost(query: Query, path: PathWords, rarity: Mapping[str, float]) -> float:
    """Return the boost for a file whose own name the query says whole: `response.py` for "response headers"."""
    if query.symbol or not path.subject:
        return 0.0
    return len(path.subject & rarity.keys()) / len(path.subject)


def name_boost(query: Query, chunk: StoredChunk) -> float:
    """Return the boost for query words in the names the chunk defines or lies in."""
    if query.symbol or not query.words:
        return 0.0
    names = name_words((*chunk.defines, chunk.symbol))
    return sum(word in names for word in query.words) / len(query.words)


@lru_cache(maxsize=10_000)
def name_words(names: tuple[str, ...]) -> frozenset[str]:
    """Return the stems of all words of `names`."""
    return frozenset(stem(word) for name in names for word in split_words(name))


def repo_boost(query: Query, repo: str) -> float:
    """Return the boost for a repository whose name the query says."""
    # As written, not by stem: "request" does not name the repository `requests`.
    name = "".join(split_words(repo.rpartition("/")[2]))
    words = split_words(query.text)
    return 1.0 if name in words or name in map("".join, pairwise(words)) else 0.0


def kind_weight(query: Query, kind: str, weights: Weights = DEFAULT) -> float:
    """Return the factor for a kind of file, 1.0 for one that the query asks for."""
    return 1.0 if kind in query.asks_for else weights.of_kind(kind)


def only_passes_on(chunk: StoredChunk, path: PathWords) -> bool:
    """Tell whether this is a part of a file such as `__init__.py` that defines nothing itself."""
    return path.reexport and not chunk.defines


def coherence(candidates: Sequence[Candidate]) -> dict[tuple[str, str, int], float]:
    """Return the boost for the best chunk of each file by the fused score of all its candidates."""
    sums: dict[tuple[str, str], float] = {}
    best: dict[tuple[str, str], Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: (-c.fused, c.chunk.ordinal)):
        file = (candidate.chunk.repo, candidate.chunk.path)
        sums[file] = sums.get(file, 0.0) + candidate.fused
        best.setdefault(file, candidate)
    most = max(sums.values(), default=0.0)
    if not most:
        return {}
    return {(*file, best[file].chunk.ordinal): total / most for file, total in sums.items()}


def word_rarity(words: Iterable[str], paths: Iterable[str]) -> dict[str, float]:
    """Return a weight for each word, lower the more of the candidates' files have it in their path.

    A folder that all candidates share tells them apart no more than no folder at all.
    """
    distinct = set(paths)
    weights = [path_words(path).weights for path in distinct]
    return {word: math.log(1 + len(distinct) / (0.5 + sum(word in w for w in weights))) for word in words}


def spread(ranked: Sequence[Ranked], same_file: float) -> list[Ranked]:
    """Lower each further chunk of a file, so that one file doesn't fill the page: by `same_file` each."""
    seen: dict[tuple[str, str], int] = {}
    spread_out = []
    for hit in ranked:
        file = (hit.chunk.repo, hit.chunk.path)
        factor = same_file ** seen.get(file, 0)
        seen[file] = seen.get(file, 0) + 1
        spread_out.append(Ranked(hit.chunk, hit.score * factor, {**hit.rules, "same_file": factor}))
    return sorted(spread_out, key=_order)


def _path_boosts(query: Query, path: PathWords, rarity: Mapping[str, float]) -> tuple[float, float]:
    return path_boost(query, path, rarity), subject_boost(query, path, rarity)


def _joined_boost(words: Sequence[str], path: PathWords, rarity: Mapping[str, float]) -> float:
    """Count two neighbouring words that the path writes as one (rate limiter, ratelimiter)."""
    found = 0.0
    for left, right in pairwise(words):
        if left not in path.weights and right not in path.weights:
            weight = path.weights.get(stem(left + right), 0.0)
            found += weight * (rarity[left] + rarity[right])
    return found


def _same_name(file_stem: str, lowered: str) -> bool:
    bare, name = file_stem.replace("_", "").replace("-", ""), lowered.replace("_", "")
    return bare == name or bare.removesuffix("s") == name.removesuffix("s")


def _order(hit: Ranked) -> tuple[float, str, str, int]:
    return (-hit.score, hit.chunk.repo, hit.chunk.path, hit.chunk.ordinal)
