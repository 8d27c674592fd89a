"""`symbol`: chunks that define a name, then names that begin with it, then names that contain it."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.api.paths import path_words
from services.api.query import last_name, qualified, understand
from services.api.ranking import kind_weight
from services.core.payload import StoredChunk

_EXACT = 8.0
_OTHER_CASE = 6.0
_PREFIX = 3.0
_PART = 1.0
# Enclosing names agree with a qualified query: `Flask.run` over any other `run`.
_QUALIFIED = 4.0
_FILE_NAMED = 0.5


@dataclass(frozen=True, slots=True)
class SymbolHit:
    """A chunk that defines what was asked for, and by which name."""

    chunk: StoredChunk
    score: float
    name: str


def rank_symbols(query: str, chunks: Iterable[StoredChunk]) -> list[SymbolHit]:
    """Return the chunks that define `query`, best first; those that don't are left out."""
    understood = understand(query)
    name, whole = last_name(query), qualified(query)
    hits = []
    for chunk in chunks:
        score, defined = max(((_fit(name, each), each) for each in chunk.defines), default=(0.0, ""))
        if score:
            score += _QUALIFIED * ("." in whole and _ends_with(chunk.symbol, defined, whole))
            score += _FILE_NAMED * (path_words(chunk.path).stem == defined.lower())
            hits.append(SymbolHit(chunk, score * kind_weight(understood, chunk.kind), defined))
    return sorted(hits, key=lambda hit: (-hit.score, hit.chunk.repo, hit.chunk.path, hit.chunk.ordinal))


def _fit(name: str, defined: str) -> float:
    if name == defined:
        return _EXACT
    lowered, other = name.lower(), defined.lower()
    if lowered == other:
        return _OTHER_CASE
    # The shorter what is left over, the likelier it was meant.
    closeness = len(lowered) / max(len(other), 1)
    if other.startswith(lowered):
        return _PREFIX + closeness
    return _PART + closeness if lowered in other else 0.0


def _ends_with(symbol: str, defined: str, whole: str) -> bool:
    """Tell whether the dotted name of the chunk, or of what it defines, ends in the whole query."""
    names = (symbol, f"{symbol}.{defined}")
    return any(f".{name}".lower().endswith(f".{whole}".lower()) for name in names)
