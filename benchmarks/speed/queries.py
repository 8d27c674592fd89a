"""Queries for a corpus, drawn from the corpus: names it defines, words of its comments, and phrases made of them."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_SAMPLE_FILES = 600
_MAX_BYTES = 200_000
_SYMBOL = re.compile(r"\b(?:def|class|func|fn|function|struct|interface|enum|trait|type)\s+\*?([A-Za-z_]\w{4,40})")
_COMMENT = re.compile(r"(?:#|//|\*|\"\"\")[ \t!]*([A-Za-z][A-Za-z ,'-]{20,90})")
_WORD = re.compile(r"[A-Za-z]{3,}")
_OPENINGS = ("where do we", "how to", "code that will", "function to", "")
_LANGUAGES = {".py": "python", ".go": "go", ".ts": "typescript", ".java": "java", ".rs": "rust", ".c": "c", ".h": "c"}


@dataclass(frozen=True, slots=True)
class Query:
    """A query, what it was drawn from, and the filters it goes with."""

    text: str
    kind: str
    filters: dict[str, str] = field(default_factory=dict)


def draw(corpus: Path, repo: str, count: int, seed: int) -> list[Query]:
    """Return `count` queries: symbols, comment words and phrases in turn; every other one with a filter."""
    rng = random.Random(seed)
    files = sorted(path for path in corpus.rglob("*") if path.suffix in _LANGUAGES and path.is_file())
    sample = rng.sample(files, min(_SAMPLE_FILES, len(files)))
    symbols, comments = _material(sample)
    queries = []
    for number in range(count):
        kind = ("symbol", "comment", "phrase")[number % 3]
        text = _text(rng, kind, symbols, comments)
        queries.append(Query(text, kind, _filters(rng, number, repo, rng.choice(sample).relative_to(corpus))))
    return queries


def _material(sample: list[Path]) -> tuple[list[str], list[str]]:
    symbols: set[str] = set()
    comments: set[str] = set()
    for path in sample:
        text = path.read_bytes()[:_MAX_BYTES].decode(errors="replace")
        symbols.update(_SYMBOL.findall(text))
        comments.update(" ".join(words) for words in _phrases(text))
    return sorted(symbols) or ["main"], sorted(comments) or ["read the configuration file"]


def _phrases(text: str) -> Iterator[list[str]]:
    for match in _COMMENT.findall(text):
        words = _WORD.findall(match)
        if len(words) >= 4:
            yield words[:12]


def _text(rng: random.Random, kind: str, symbols: list[str], comments: list[str]) -> str:
    if kind == "symbol":
        return rng.choice(symbols)
    words = rng.choice(comments).split()
    length = rng.randint(3, 7)
    start = rng.randrange(max(len(words) - length, 0) + 1)
    picked = " ".join(words[start : start + length]).lower()
    return picked if kind == "comment" else f"{rng.choice(_OPENINGS)} {picked}".strip()


def _filters(rng: random.Random, number: int, repo: str, path: Path) -> dict[str, str]:
    if number % 2 == 0:
        return {}
    top = path.parts[0] if len(path.parts) > 1 else ""
    choices = [{"repo": repo}, {"lang": _LANGUAGES[path.suffix]}, {"path": f"**/*{path.suffix}"}]
    if top:
        choices.append({"path": f"{top}/**"})
    return rng.choice(choices)
