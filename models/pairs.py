"""A pair: what a comment says, or else a name, and the code it belongs to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from models.comments import parted, summary
from services.chunker.classify import kind_of, skip_by_name, skip_by_text
from services.chunker.decode import decode
from services.chunker.grammars import GRAMMARS, rules_for
from services.chunker.languages import language_of
from services.chunker.nesting import is_too_deep
from services.chunker.split_tree import outline
from services.core.model import FileKind
from services.core.tokens import expand

# About a chunk of Quarry; more was not tried.
MAX_CODE_CHARS = 1200
MIN_CODE_CHARS, MIN_CODE_LINES = 60, 2
# Larger files are mostly tables, and slow to parse.
MAX_FILE_BYTES = 400_000
_HEAD_BYTES = 4096
# Names that say nothing about what the code does.
_EMPTY_NAMES = frozenset(
    ("main", "init", "test", "run", "new", "get", "set", "call", "constructor", "setup", "value", "name")
)


@dataclass(frozen=True, slots=True)
class Pair:
    """`text` is the summary of a comment, or the words of the name where `is_named`; `code` is without the comment."""

    language: str
    name: str
    text: str
    code: str
    is_named: bool


def pairs_of(path: str, raw: bytes) -> Iterator[Pair]:
    """Yield the pairs of one file, in the order of the text; none of a test, an example or what is generated."""
    if skip_by_name(path) or len(raw) > MAX_FILE_BYTES:
        return
    text = decode(raw)
    if not isinstance(text, bytes) or skip_by_text(path, text) or kind_of(path, text) is not FileKind.CODE:
        return
    language = language_of(path, text[:_HEAD_BYTES])
    if language not in GRAMMARS or is_too_deep(text):
        return
    rules = rules_for(language)
    _, definitions = outline(rules.parser.parse(text).root_node, text, rules)
    for found in sorted(definitions, key=lambda found: found.start):
        if found.name:
            yield from _pair(text[found.start : found.end].decode("utf-8", "replace"), language, found.name)


def _pair(text: str, language: str, name: str) -> Iterator[Pair]:
    doc, code = parted(text[: 4 * MAX_CODE_CHARS], language)
    code = code.strip()[:MAX_CODE_CHARS]
    if len(code) < MIN_CODE_CHARS or code.count("\n") + 1 < MIN_CODE_LINES:
        return
    said = summary(doc)
    words = expand(name)[1]
    if said:
        yield Pair(language, name, said, code, False)
    elif len(words) > 1 and name.lower() not in _EMPTY_NAMES:
        yield Pair(language, name, " ".join(words), code, True)


def masked(pair: Pair) -> str:
    """Return the code without the pair's own name."""
    return re.sub(rf"\b{re.escape(pair.name)}\b", "", pair.code)
