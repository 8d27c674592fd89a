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
from services.api.weights import BOOSTS, DEFAULT, Weights
from services.core.payload import StoredChunk

_Scored = tuple[StoredChunk, float, dict[str, float]]


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
    worth = {rule: float(getattr(weights, rule)) for rule in BOOSTS}
    scored = []
    for candidate, values, by in zip(candidates, boosts, factors, strict=True):
        rules = {"fused": candidate.fused}
        for rule, value in values.items():
            rules[rule] = worth[rule] * value
        score = sum(rules.values()) * math.prod(by.values())
        rules.update(by)
        scored.append((candidate.chunk, score, rules))
    return _spread(sorted(scored, key=_order), weights.same_file)


def kind_weight(query: Query, kind: str, weights: Weights = DEFAULT) -> float:
    """Return the factor for a kind of file, 1.0 for one that the query asks for."""
    return 1.0 if kind in query.asks_for else weights.of_kind(kind)


def only_passes_on(chunk: StoredChunk, path: PathWords) -> bool:
    """Tell whether this is a part of a file such as `__init__.py` that defines nothing itself."""
    return path.reexport and not chunk.defines


def _spread(scored: Sequence[_Scored], same_file: float) -> list[Ranked]:
    """Lower each further chunk of a file, so that one file doesn't fill the page: by `same_file` each."""
    seen: dict[tuple[str, str], int] = {}
    spread_out = []
    for chunk, score, rules in scored:
        file = (chunk.repo, chunk.path)
        rules["same_file"] = same_file ** seen.get(file, 0)
        seen[file] = seen.get(file, 0) + 1
        spread_out.append((chunk, score * rules["same_file"], rules))
    return [Ranked(*each) for each in sorted(spread_out, key=_order)]


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
    repos = {repo for repo, _ in files}
    named = {repo: places.repo_boost(query, repo) if repos_in_scope > 1 else 0.0 for repo in repos}
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
            "repo": named[file[0]],
            "asked": float(candidate.chunk.kind in query.asks_for),
        }
        for i, (candidate, file) in enumerate(zip(candidates, files, strict=True))
    ]


def _factors(query: Query, candidates: Sequence[Candidate], weights: Weights) -> list[dict[str, float]]:
    """Return the factor of each multiplying rule for each candidate."""
    said = aside.tokens(query.text)
    files = {(c.chunk.repo, c.chunk.path) for c in candidates}
    beside = aside.siblings(files)
    by_file = {file: _file_factors(file, said, beside, weights) for file in files}
    found = []
    for chunk in (c.chunk for c in candidates):
        reexport = weights.reexport if only_passes_on(chunk, path_words(chunk.path)) else 1.0
        own = {"kind": kind_weight(query, chunk.kind, weights), "reexport": reexport}
        found.append(own | by_file[chunk.repo, chunk.path])
    return found


def _file_factors(
    file: tuple[str, str], said: frozenset[str], beside: aside.Siblings, weights: Weights
) -> dict[str, float]:
    return {
        "aside": weights.aside if aside.is_aside(file[1], said) else 1.0,
        "platform": weights.platform if aside.is_platform(file[1], said) else 1.0,
        "older": weights.older if aside.is_older(file, beside, said) else 1.0,
        "declaration": weights.declaration if aside.is_declaration(file, beside) else 1.0,
    }


def _order(scored: _Scored) -> tuple[float, str, str, int]:
    chunk, score, _ = scored
    return (-score, chunk.repo, chunk.path, chunk.ordinal)
