"""What `exact` and `regex` look for: literal bytes, or an RE2 expression; both in linear time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import re2

from services.api.required import Required, of_expression, of_literal
from services.api.words import identifiers
from services.core.errors import InvalidRequest

# RE2 falls back to a slower automaton when this is used up, it never fails for it while matching.
_MAX_MEMORY_BYTES = 4 << 20
# A match that spans a file names nothing in particular.
_MAX_NAMED_BYTES = 1_000
_MULTI_LINE = "(?m)"
# What in an expression is not a letter to be matched: escapes, classes by name, group names and flags.
_NOT_LETTERS = re.compile(
    r"\\[pP](?:\{[^}]*\}|.)|\\x(?:\{[^}]*\}|..)|\\.|\(\?P?<[^>]*>|\(\?[a-zA-Z-]+[:)]|\[:\^?\w+:\]"
)


class Pattern(Protocol):
    """Something to look for in the text of a file."""

    @property
    def required(self) -> Required:
        """What words a file must have to hold a match."""

    @property
    def any_case(self) -> bool:
        """Whether case does not count; then what is required is in lower case."""

    def spans(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield start and end in bytes of each match, in order, without overlap, never empty."""

    def names(self, match: bytes) -> list[str]:
        """Return the identifiers in a match: a chunk that defines one of them is a better hit."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes as they are; case counts."""

    needle: bytes
    any_case: bool = False

    @property
    def required(self) -> Required:
        """The words in the needle, which may go on beyond its ends."""
        return of_literal(self.needle)

    def spans(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield the matches."""
        at = text.find(self.needle)
        while at >= 0:
            end = at + len(self.needle)
            yield at, end
            at = text.find(self.needle, end)

    def names(self, match: bytes) -> list[str]:
        """Return the identifiers in the needle."""
        return _names(match)


@dataclass(frozen=True, slots=True)
class Regex:
    """An RE2 expression; `^` and `$` are ends of lines, `.` stops at them."""

    regexp: Any
    required: Required = ()
    any_case: bool = False

    def spans(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield the matches."""
        return (match.span() for match in self.regexp.finditer(text) if match.end() > match.start())

    def names(self, match: bytes) -> list[str]:
        """Return the identifiers in a match."""
        return _names(match)


@lru_cache(maxsize=1_000)
def _names(match: bytes) -> list[str]:
    return identifiers(match[:_MAX_NAMED_BYTES].decode(errors="replace"))


def literal(text: str) -> Literal:
    """Return the pattern for exactly `text`."""
    return Literal(text.encode())


def regex(expression: str) -> Regex:
    """Return the pattern for an expression; without a capital letter in it, case does not count.

    Raises:
        InvalidRequest: RE2 refuses it, with its reason.
    """
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MAX_MEMORY_BYTES
    any_case = not any(char.isupper() for char in _NOT_LETTERS.sub("", expression))
    options.case_sensitive = not any_case
    try:
        compiled = re2.compile(f"{_MULTI_LINE}{expression}", options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        reason = reason.replace(_MULTI_LINE, "", 1)
        raise InvalidRequest(f"{expression[:100]!r} is not a valid regular expression: {reason}") from error
    # The module keeps the last 128 expressions with their automata; a stranger's need not stay.
    re2.purge()
    return Regex(compiled, of_expression(expression, any_case=any_case), any_case)
