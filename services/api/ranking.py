"""Ranking: what is known of a chunk beside its text, weighed against the fused rank.

Each rule is a small pure function in `names`, `places`, `evidence` or `aside`; `weights` says what it weighs.
Boosts are added in units of the best fused score (1.0), factors multiply, and chunks of a file that
already has a better hit count less.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.api import aside, evidence, names, places
from services.api.paths import PathWords, path_words
from services.api.query import Query
from services.api.weights import DEFAULT, Weights
from services.core.payload import StoredChunk


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
    boosts, factors = _boosts(query, candidates, repos_in_scope), _factors(query, candidates, weights)
    scored = []
    for candidate, values, by in zip(candidates, boosts, factors, strict=True):
        added = {"fused": candidate.fused} | {rule: getattr(weights, rule) * value for rule, value in values.items()}
        score = sum(added.values()) * math.prod(by.values())
        scored.append(Ranked(candidate.chunk, score, added | by))
    return spread(sorted(scored, key=_order), weights.same_file)


def kind_weight(query: Query, kind: str, weights: Weights = DEFAULT) -> float:
    """Return the factor for a kind of file, 1.0 for one that the query asks for."""
    return 1.0 if kind in query.asks_for else weights.of_kind(kind)


def only_passes_on(chunk: StoredChunk, path: PathWords) -> bool:
    """Tell whether this is a part of a file such as `__init__.py` that defines nothing itself."""
    return path.reexport and not chunk.defines


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


def _boosts(query: Query, candidates: Sequence[Candidate], repos_in_scope: int) -> list[dict[str, float]]:
    """Return the value of each additive rule for each candidate, unweighted."""
    files = [(c.chunk.repo, c.chunk.path) for c in candidates]
    of_path = {path: path_words(path) for _, path in files}
    rarity = places.word_rarity(query.words, of_path)
    # Many chunks share a file, and a repository: what only depends on those is found once.
    by_path = {
        path: (places.path_boost(query, words, rarity), places.subject_boost(query, words))
        for path, words in of_path.items()
    }
    named = {repo: repos_in_scope > 1 and places.repo_boost(query, repo) for repo, _ in files}
    in_names = [names.chunk_names(c.chunk) for c in candidates]
    said = [here | of_path[path].words for here, (_, path) in zip(in_names, files, strict=True)]
    words = () if query.symbol else query.words
    covers = evidence.cover(words, said)
    file_covers = evidence.cover(words, evidence.of_files(files, said))
    coherent = evidence.coherence(zip(files, (c.fused for c in candidates), strict=True))
    return [
        {
            "defines": names.definition_boost(query, candidate.chunk, of_path[file[1]]),
            "path": by_path[file[1]][0],
            "subject": by_path[file[1]][1],
            "name": names.name_boost(query, in_names[i]),
            "title": names.title_boost(query, candidate.chunk.defines),
            "symbol": names.symbol_boost(query, candidate.chunk.symbol),
            "cover": covers[i],
            "file_cover": file_covers[i],
            "coherence": coherent.get(file, 0.0),
            "repo": float(named[file[0]]),
            "asked": float(candidate.chunk.kind in query.asks_for),
        }
        for i, (candidate, file) in enumerate(zip(candidates, files, strict=True))
    ]


def _factors(query: Query, candidates: Sequence[Candidate], weights: Weights) -> list[dict[str, float]]:
    """Return the factor of each multiplying rule for each candidate."""
    said = aside.tokens(query.text)
    beside = aside.siblings({(c.chunk.repo, c.chunk.path) for c in candidates})
    found = []
    for chunk in (c.chunk for c in candidates):
        applies = {
            "reexport": only_passes_on(chunk, path_words(chunk.path)),
            "aside": aside.is_aside(chunk.path, said),
            "platform": aside.is_platform(chunk.path, said),
            "older": aside.is_older(chunk, beside, said),
            "declaration": aside.is_declaration(chunk, beside),
        }
        factors = {rule: getattr(weights, rule) if does else 1.0 for rule, does in applies.items()}
        found.append({"kind": kind_weight(query, chunk.kind, weights)} | factors)
    return found


def _order(hit: Ranked) -> tuple[float, str, str, int]:
    return (-hit.score, hit.chunk.repo, hit.chunk.path, hit.chunk.ordinal)
