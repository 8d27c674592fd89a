"""The definitions of a file, and which of them each chunk lies in and makes."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from tree_sitter import Node

from services.chunker.grammars import CALL, CHECKED, DEFINES, OUTSIDE, Rules

# A name is an identifier; longer ones come from broken code.
MAX_NAME_BYTES = 120
# Steps from a definition to its name; C++ needs six.
_MAX_STEPS = 8
# Children searched for a name when no field leads there: modifiers and keywords come first.
_MAX_CHILDREN = 12

_SEPARATORS = re.compile(r"::|[.:\\]")
_TYPE_ARGUMENTS = re.compile(r"(?<=\w)<[\w\s,:*&.?]*>")
_RECEIVER_TYPE = re.compile(rb"(\w+)\s*(?:\[[^\]]*\])?\s*,?\s*\)\Z")
_CLOSING = b" \t\r\n\f)}];,"


class Definition(NamedTuple):
    """A named part of a file: bytes ``[start, end)`` with its comments, and where its name stands.

    `qualified` is the dotted name; `name` its last part, or "" for what only qualifies (a namespace).
    """

    start: int
    end: int
    name_at: int
    name: str
    qualified: str


def find_definition(
    node: Node, role: int, *, start: int, scope: str, at_top: bool, text: bytes, rules: Rules
) -> Definition | None:
    """Return what `node` defines, or None if it does not define anything after all."""
    if role & (OUTSIDE | CHECKED) and not _counts(node, role, at_top=at_top, text=text, rules=rules):
        return None
    found = _called_name(node, text, rules) if role & CALL else _name_node(node, rules, variable=bool(role & OUTSIDE))
    if found is None:
        return None
    name_at = found.start_byte
    raw = text[name_at : min(found.end_byte, name_at + MAX_NAME_BYTES)].decode("utf-8", "ignore")
    dotted, name = dotted_name(raw)
    if not dotted:
        return None
    if rules.owner_field:
        dotted = _owner(node, text, rules) + dotted
    qualified = f"{scope}.{dotted}" if scope else dotted
    return Definition(start, node.end_byte, name_at, name if role & DEFINES else "", qualified)


def dotted_name(raw: str) -> tuple[str, str]:
    """Return a name of any language, its parts joined by dots and without type arguments, and its last part."""
    if raw.isidentifier():
        return raw, raw
    plain = _TYPE_ARGUMENTS.sub("", raw.strip("\"'`"))
    parts = [part.strip() for part in _SEPARATORS.split(plain) if part.strip()]
    # Operators, file names and the like are not taken apart.
    if all(part.rstrip("!?=").replace("-", "_").lstrip("~$@#").isidentifier() for part in parts):
        return ".".join(parts), parts[-1] if parts else ""
    plain = " ".join(plain.split())
    return plain, plain


def _counts(node: Node, role: int, *, at_top: bool, text: bytes, rules: Rules) -> bool:
    if role & OUTSIDE and at_top:
        return not text.startswith(b"extern", node.start_byte)
    if not role & CHECKED:
        return False
    wanted, kinds = rules.checks[node.kind_id]
    value = node.child_by_field_id(wanted)
    return value is not None and (not kinds or value.kind_id in kinds)


def _name_node(node: Node, rules: Rules, *, variable: bool = False) -> Node | None:
    for _ in range(_MAX_STEPS):
        step = _step(node, rules)
        if step is None or (variable and step.kind_id == rules.prototype):
            return None
        if step.kind_id in rules.names:
            return step
        node = step
    return None


def _step(node: Node, rules: Rules) -> Node | None:
    for name_field in rules.name_fields:
        child = node.child_by_field_id(name_field)
        if child is not None:
            return child
    for child in node.named_children[:_MAX_CHILDREN]:
        if child.kind_id in rules.names or child.kind_id in rules.through:
            return child
    return None


def _called_name(node: Node, text: bytes, rules: Rules) -> Node | None:
    target = node.child_by_field_id(rules.target_field)
    if target is None or text[target.start_byte : target.end_byte] not in rules.words:
        return None
    arguments = target.next_named_sibling
    first = arguments.named_child(0) if arguments is not None else None
    return first if first is None or first.kind_id in rules.names else _name_node(first, rules)


def _owner(node: Node, text: bytes, rules: Rules) -> str:
    receiver = node.child_by_field_id(rules.owner_field)
    if receiver is None:
        return ""
    end = receiver.end_byte
    found = _RECEIVER_TYPE.search(text[max(receiver.start_byte, end - MAX_NAME_BYTES) : end])
    return found[1].decode("utf-8", "ignore") + "." if found else ""


class Symbols:
    """Answers, chunk by chunk from the start of the file, where a chunk lies and what it defines."""

    def __init__(self, definitions: Sequence[Definition]) -> None:
        """Take the definitions in any order."""
        # Outer ones first where two begin together.
        self._by_start = sorted(definitions, key=lambda found: (found.start, -found.end))
        self._by_name = sorted(definitions, key=lambda found: found.name_at)
        self._next_start = 0
        self._next_name = 0
        self._open: list[Definition] = []

    def symbol(self, text: bytes, start: int, end: int) -> str:
        """Return the innermost definition that holds the chunk, else the first that begins in it, else ""."""
        first, last = _core(text, start, end)
        found = self._by_start
        while self._open and self._open[-1].end <= first:
            self._open.pop()
        while self._next_start < len(found) and found[self._next_start].start <= first:
            if found[self._next_start].end > first:
                self._open.append(found[self._next_start])
            self._next_start += 1
        for outer in reversed(self._open):
            if outer.end >= last:
                return outer.qualified
        for begun in self._open:
            if begun.start >= start:
                return begun.qualified
        if self._next_start < len(found) and found[self._next_start].start < last:
            return found[self._next_start].qualified
        return ""

    def defines(self, end: int) -> tuple[str, ...]:
        """Return the names that stand before `end` and were not returned for an earlier chunk."""
        found, begin = self._by_name, self._next_name
        while self._next_name < len(found) and found[self._next_name].name_at < end:
            self._next_name += 1
        if begin == self._next_name:
            return ()
        return tuple(dict.fromkeys(made.name for made in found[begin : self._next_name] if made.name))


def _core(text: bytes, start: int, end: int) -> tuple[int, int]:
    """Return a chunk without blank lines around it and without what closes the definitions around it."""
    piece = text[start:end]
    first = start + len(piece) - len(piece.lstrip())
    piece = piece.rstrip(_CLOSING)
    while piece.endswith(b"end"):
        piece = piece[:-3].rstrip(_CLOSING)
    return first, max(first + 1, start + len(piece))
