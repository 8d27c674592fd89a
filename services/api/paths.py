"""What a path says about its file: the words of its name and folders, and whether it only passes names on."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from services.api.words import split_words, stem

# Files named for their role in a folder: the folder's name says what they are about.
_FOLDER_NAMED = frozenset({"__init__", "index", "mod", "main", "lib", "init", "package", "__main__", "default"})
_REEXPORTS = frozenset(
    {"__init__.py", "__init__.pyi", "index.ts", "index.js", "index.mjs", "index.tsx", "index.jsx", "index.d.ts"}
    | {"mod.rs", "package-info.java", "doc.go", "module-info.java", "lib.rs"}
)
# The nearer to the file's own name, the more a word says about the file.
_FOLDER_WEIGHTS = (0.6, 0.4)
_FAR_FOLDER_WEIGHT = 0.25
# Shorter words begin too many others.
LEAST_ALIKE = 4


@dataclass(frozen=True, slots=True)
class PathWords:
    """What a path's words are.

    weights: stem of every word → weight in (0, 1], the nearer to the file's name the higher. words: all of them.
    subject: those that name the file, or its folder where the file is named for its role. stem: the file's name
    without extension, lower case. alike: the words of at least `LEAST_ALIKE` letters, by the first of these.
    """

    weights: dict[str, float]
    words: frozenset[str]
    subject: frozenset[str]
    stem: str
    reexport: bool
    alike: dict[str, tuple[str, ...]]


@lru_cache(maxsize=10_000)
def path_words(path: str) -> PathWords:
    """Return the words of a path."""
    *folders, name = path.split("/")
    bare = name.lstrip(".").rpartition(".")[0] or name
    weights: dict[str, float] = {}
    subject = [*folders[-1:], bare] if bare.lower() in _FOLDER_NAMED else [bare]
    for text in subject:
        _add(weights, text, 1.0)
    for distance, folder in enumerate(reversed(folders)):
        _add(weights, folder, _FOLDER_WEIGHTS[distance] if distance < len(_FOLDER_WEIGHTS) else _FAR_FOLDER_WEIGHT)
    named = frozenset(stem(word) for word in split_words(subject[0]))
    return PathWords(weights, frozenset(weights), named, bare.lower(), name in _REEXPORTS, _by_start(weights))


def _by_start(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        if len(word) >= LEAST_ALIKE:
            found[word[:LEAST_ALIKE]] = (*found.get(word[:LEAST_ALIKE], ()), word)
    return found


def _add(weights: dict[str, float], text: str, weight: float) -> None:
    words = split_words(text)
    joined = ["".join(words)] + [a + b for a, b in pairwise(words)]
    for word in (*words, *joined):
        key = stem(word)
        weights[key] = max(weight, weights.get(key, 0.0))
