"""What the names in a chunk say about it: rules on the definitions it holds and the symbol it lies in.

Each rule is a pure function; its value is between 0 and 1, more only where it says so.
"""

from collections.abc import Sequence
from functools import lru_cache

from services.api.paths import PathWords
from services.api.query import Query
from services.api.words import split_words, stem
from services.core.payload import StoredChunk

# The same letters in other case: usually the same thing in another language's convention.
_DEFINES_OTHER_CASE = 0.8
# `parser.py` that defines Parser is its home, other definitions are overloads or stand-ins.
_DEFINES_IN_ITS_FILE = 1.5
# A name within a longer query may be incidental.
_DEFINES_WITHIN_WORDS = 0.15
# A name of one word is said by accident more often than one of two.
_SURE_WORDS = 2


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


def name_boost(query: Query, names: frozenset[str]) -> float:
    """Return the share of the query's words that are in `names`, those of a chunk."""
    if query.symbol or not query.words:
        return 0.0
    return len(names.intersection(query.words)) / len(query.words)


def title_boost(query: Query, defines: Sequence[str]) -> float:
    """Return how much of one defined name the query says: all of `parse_header` for "parse the header"."""
    if query.symbol:
        return 0.0
    best = 0.0
    for words in map(one_name, defines):
        said = len(words.intersection(query.words))
        if said:
            best = max(best, said / len(words) * min(1.0, said / _SURE_WORDS))
    return best


def symbol_boost(query: Query, symbol: str) -> float:
    """Return how much of the innermost name that a chunk lies in the query says."""
    words = one_name(symbol.rpartition(".")[2])
    if query.symbol or not words:
        return 0.0
    return len(words.intersection(query.words)) / len(words)


def chunk_names(chunk: StoredChunk) -> frozenset[str]:
    """Return the stems of all words in the names that a chunk defines or lies in."""
    return _all_words((*chunk.defines, chunk.symbol))


@lru_cache(maxsize=20_000)
def one_name(name: str) -> frozenset[str]:
    """Return the stems of a name's words."""
    return frozenset(stem(word) for word in split_words(name))


@lru_cache(maxsize=10_000)
def _all_words(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset().union(*map(one_name, names))


def _same_name(file_stem: str, lowered: str) -> bool:
    bare, name = file_stem.replace("_", "").replace("-", ""), lowered.replace("_", "")
    return bare == name or bare.removesuffix("s") == name.removesuffix("s")
