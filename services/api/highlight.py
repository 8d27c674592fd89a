"""Source text as coloured lines: Pygments tokens, the words of the query marked, hidden characters made visible."""

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from html import escape
from typing import Any

from markupsafe import Markup
from pygments.lexers import get_lexer_by_name
from pygments.lexers.special import TextLexer
from pygments.token import STANDARD_TYPES, _TokenType
from pygments.util import ClassNotFound

from services.api.languages import LEXERS
from services.api.words import stem

# Pygments runs at about 0.5 MB/s; what is longer is shown without colours.
_MAX_COLOURED_CHARS = 200_000
_MAX_LINE_CHARS = 4_000

# Characters that hide or reorder text (Trojan Source, CVE-2021-42574), and controls except tab.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_SUB_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+")

Span = tuple[int, int]
Token = tuple[str, str]


def visible(text: str) -> Markup:
    """Return escaped text in which hidden characters are written out."""
    parts, at = [], 0
    for found in _HIDDEN.finditer(text):
        parts.append(escape(text[at : found.start()]))
        code = f"U+{ord(found[0]):04X}"
        parts.append(f'<span class="hidden-char" title="invisible character {code}">{code}</span>')
        at = found.end()
    parts.append(escape(text[at:]))
    return Markup("".join(parts))


def highlight(text: str, language: str, spans_of: Callable[[int, str], Sequence[Span]]) -> list[Markup]:
    """Return the lines of `text` as HTML; `spans_of(i, line)` says which characters of line i to mark."""
    return [_line(tokens, spans_of(i, line)) for i, (line, tokens) in enumerate(_lines(text, language))]


def mark_words(words: Collection[str]) -> Callable[[int, str], list[Span]]:
    """Return a marker of every word whose stem is in `words`, also within identifiers."""
    wanted = frozenset(words)

    def spans(_: int, line: str) -> list[Span]:
        return [found.span() for found in _SUB_WORD.finditer(line) if stem(found[0].lower()) in wanted]

    return spans


def mark_matches(matches: Iterable[tuple[int, int, int]], first_line: int) -> Callable[[int, str], list[Span]]:
    """Return a marker of matches as a hit has them, in a text that begins at `first_line`."""
    by_line: dict[int, list[Span]] = {}
    for line, start, end in matches:
        by_line.setdefault(line - first_line, []).append((start - 1, end - 1))

    def spans(i: int, _: str) -> list[Span]:
        return by_line.get(i, [])

    return spans


def mark_nothing(_: int, __: str) -> list[Span]:
    """Mark nothing."""
    return []


@lru_cache(maxsize=512)
def _lines(text: str, language: str) -> tuple[tuple[str, tuple[Token, ...]], ...]:
    """Return each line with its tokens as (CSS class, text)."""
    lines: list[tuple[str, tuple[Token, ...]]] = []
    current: list[Token] = []
    for css, value in _tokens(text, language):
        first, *rest = value.split("\n")
        if first:
            current.append((css, first))
        for part in rest:
            lines.append(("".join(t for _, t in current), tuple(current)))
            current = [(css, part)] if part else []
    if current:
        lines.append(("".join(t for _, t in current), tuple(current)))
    return tuple(lines)


def _tokens(text: str, language: str) -> Iterable[Token]:
    text = text.replace("\r\n", "\n")
    if len(text) > _MAX_COLOURED_CHARS:
        return [("", text)]
    lexer = _lexer(language, inline=language == "php" and "<?" not in text)
    return ((_css(kind), value) for _, kind, value in lexer.get_tokens_unprocessed(text))


@lru_cache(maxsize=128)
def _lexer(language: str, *, inline: bool) -> Any:
    try:
        # A chunk from the middle of a PHP file has no opening tag.
        return get_lexer_by_name("php", startinline=True) if inline else get_lexer_by_name(LEXERS.get(language, "text"))
    except ClassNotFound:
        return TextLexer()


@lru_cache(maxsize=512)
def _css(kind: _TokenType) -> str:
    while kind not in STANDARD_TYPES:
        kind = kind.parent
    css: str = STANDARD_TYPES[kind]
    return css


def _line(tokens: Sequence[Token], spans: Sequence[Span]) -> Markup:
    parts, at = [], 0
    for css, value in tokens:
        shown = value[: _MAX_LINE_CHARS - at]
        html = _marked(shown, at, spans)
        parts.append(f'<span class="{css}">{html}</span>' if css not in ("", "w") else html)
        at += len(value)
        if at > _MAX_LINE_CHARS:
            parts.append('<span class="cut">… line cut</span>')
            break
    return Markup("".join(parts))


def _marked(value: str, at: int, spans: Sequence[Span]) -> str:
    """Return `value`, which begins at character `at` of its line, with the parts inside `spans` marked."""
    first = max(0, bisect_right(spans, (at, 0)) - 1)
    parts, done = [], 0
    for start, end in spans[first:]:
        low, high = max(start - at, done), min(end - at, len(value))
        if start - at >= len(value):
            break
        if low < high:
            parts += [visible(value[done:low]), "<mark>", visible(value[low:high]), "</mark>"]
            done = high
    parts.append(visible(value[done:]))
    return "".join(parts)
