"""The words that every match of a pattern needs: what can be looked up before any text is read.

A requirement is a conjunction of choices: of each choice one run must lie in some word of the file. Whatever is not
understood adds no requirement, so that this never rules out a file that has a match.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

_WORD = re.compile(rb"[A-Za-z0-9_\x80-\xff]+")
# `{,n}` is a repeat to some versions of RE2 and text to others; taken for a repeat it requires nothing.
_REPEAT = re.compile(r"[*+?]|\{(\d*)(,\d*)?\}")
_NAMED_GROUP = re.compile(r"\?P?<\w+>|\?:")
_ESCAPE = re.compile(r"\\(?:[pP](?:\{[^}]*\}|.)|x(?:\{[^}]*\}|..)|[0-7]{1,3}|.)", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*+\]", re.DOTALL)
# Shorter parts of words are in nearly every file.
_SHORTEST_PART = 3
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Run:
    """Characters of one word; `begins` and `ends` say that the word has none before, or after, them."""

    text: bytes
    begins: bool
    ends: bool


Choice = tuple[Run, ...]
Required = tuple[Choice, ...]


def of_literal(needle: bytes) -> Required:
    """Return what text must have that contains `needle`."""
    runs = [
        Run(found.group(), begins=found.start() > 0, ends=found.end() < len(needle)) for found in _WORD.finditer(needle)
    ]
    return tuple((run,) for run in runs if (run.begins and run.ends) or len(run.text) >= _SHORTEST_PART)


def of_expression(expression: str, *, any_case: bool) -> Required:
    """Return what text must have that an RE2 expression fits; with `any_case` all runs are in lower case."""
    try:
        required, end = _alternation(expression, 0, 0)
    except _NotUnderstood:
        return ()
    if end != len(expression):
        return ()
    return _lower(required) if any_case else required


class _NotUnderstood(Exception):
    """An expression says something that changes what its other parts mean."""


def _alternation(text: str, at: int, depth: int) -> tuple[Required, int]:
    branches = []
    while True:
        required, at = _sequence(text, at, depth)
        branches.append(required)
        if at == len(text) or text[at] != "|":
            return _either(branches), at
        at += 1


def _sequence(text: str, at: int, depth: int) -> tuple[Required, int]:
    required: list[Choice] = []
    literals = [""]
    while at < len(text) and text[at] not in "|)":
        char, inner, at = _atom(text, at, depth)
        least, repeated, at = _repeats(text, at)
        if least:
            literals[-1] += char
            required.extend(inner)
        if repeated or not char:
            literals.append("")
    required.extend(choice for literal in literals for choice in of_literal(literal.encode()))
    return tuple(required), at


def _atom(text: str, at: int, depth: int) -> tuple[str, Required, int]:
    """Return the character that an atom stands for ("" if any of several), what a group requires, and its end."""
    char = text[at]
    if char == "(":
        return ("", *_group(text, at, depth))
    if char in "[\\":
        found = (_CLASS if char == "[" else _ESCAPE).match(text, at)
        if found is None or found.group() in ("\\Q", "\\C"):
            raise _NotUnderstood
        meant = found.group()[1:]
        return (meant if char == "\\" and len(meant) == 1 and not meant.isalnum() else ""), (), found.end()
    return ("" if char in ".^$" else char), (), at + 1


def _group(text: str, at: int, depth: int) -> tuple[Required, int]:
    at += 1
    if text.startswith("?", at):
        named = _NAMED_GROUP.match(text, at)
        if named is None:
            raise _NotUnderstood
        at = named.end()
    if depth == _DEEPEST:
        raise _NotUnderstood
    required, at = _alternation(text, at, depth + 1)
    if at == len(text):
        raise _NotUnderstood
    return required, at + 1


def _repeats(text: str, at: int) -> tuple[int, bool, int]:
    """Return how often at least what stands before must occur, whether that is said, and where it ends."""
    least, repeated = 1, False
    while (found := _REPEAT.match(text, at)) is not None:
        least = min(least, int(found.group(1)) if found.group(1) else int(found.group() == "+"))
        repeated, at = True, found.end()
        if text.startswith("?", at):
            at += 1
    return least, repeated, at


def _either(branches: list[Required]) -> Required:
    if len(branches) == 1:
        return branches[0]
    if not all(branches):
        return ()
    return (tuple(run for required in branches for run in max(required, key=_rarity)),)


def _rarity(choice: Choice) -> int:
    return min(len(run.text) for run in choice)


def _lower(required: Required) -> Required:
    """Keep of each run what has one lower case: its ASCII."""
    choices = [[piece for run in choice for piece in _ascii(run)] for choice in required]
    return tuple(tuple(kept) for kept, choice in zip(choices, required, strict=True) if len(kept) == len(choice))


def _ascii(run: Run) -> Iterable[Run]:
    if run.text.isascii():
        return (replace(run, text=run.text.lower()),)
    longest = max(re.findall(rb"[\x00-\x7f]*", run.text), key=len)
    return (Run(longest.lower(), begins=False, ends=False),) if len(longest) >= _SHORTEST_PART else ()
