"""Where a parsed file may be cut, and what it defines."""

from typing import NamedTuple

from tree_sitter import Node

from services.chunker.grammars import BODY, CALL, CLEAR, CLOSES, GLUE, NAMED, OPEN, PEEK, SKIP, Rules
from services.chunker.lines import MAX_BYTES
from services.chunker.split_cuts import CROWDED, MAX_LEVEL, STEP, WEAK, place
from services.chunker.symbols import Definition, find_definition

_NEWLINE = b"\n"
# How far blanks and comments at the end of a node are followed: far enough for what people write.
_TAIL_BYTES = 400
_TAIL_STEPS = 20


class _Frame(NamedTuple):
    """A node to look into: the level and scope of its children, and whether they are at the top.

    `run` is where the comments before the node begin if they belong to its first child, else -1.
    """

    node: Node
    role: int
    level: int
    scope: str
    at_top: bool
    run: int


def outline(root: Node, text: bytes, rules: Rules) -> tuple[list[int], list[Definition]]:
    """Return the places (see `split_cuts.place`) and the definitions, both in no order.

    Only what is too large for one chunk or may hold definitions is looked into: a visit of every node from
    Python would cost several times the parse.
    """
    walk = _Walk(text, rules)
    walk.frames.append(_Frame(root, BODY | OPEN, 0, "", True, -1))
    while walk.frames:
        walk.visit(walk.frames.pop())
    return walk.places, walk.definitions


class _Walk:
    """An iterative walk with what it has found; recursion would overflow on hostile nesting."""

    def __init__(self, text: bytes, rules: Rules) -> None:
        self.frames: list[_Frame] = []
        self.places: list[int] = []
        self.definitions: list[Definition] = []
        self._text = text
        self._rules = rules

    def visit(self, frame: _Frame) -> None:
        """Add what the children of one node give: the inner loop of the chunker."""
        node, level, run = frame.node, frame.level, frame.run
        text, roles = self._text, self._rules.roles
        is_divided = node.end_byte - node.start_byte > MAX_BYTES
        is_first, last_name = True, ""
        after = node.start_byte + 1
        for child in node.children:
            role = roles.get(child.kind_id, 0)
            if role & SKIP:
                continue
            start, end = child.start_byte, child.end_byte
            # Some nodes include their newline, so the search begins one byte inside the one before.
            newline = text.rfind(_NEWLINE, after - 1, start)
            is_glued = run >= 0 and (newline < 0 or text.count(_NEWLINE, after - 1, start) <= 2)
            is_weak = is_glued or is_first
            begin = run if is_glued else newline + 1 if newline >= 0 else start
            if role & GLUE:
                run = begin if is_weak or newline >= 0 else -1
            else:
                run, name = -1, ""
                if role or end - start > MAX_BYTES:
                    name = self._enter(child, role, begin, end - start, frame)
                    # Clauses of one function, overloads: better kept together.
                    is_weak = is_weak or name == last_name != ""
                last_name = name
            if newline >= 0 and is_divided and not role & BODY:
                is_crowded = text[newline - 1] not in b"\n\r"
                self.places.append(place(newline + 1, level + WEAK * is_weak + CROWDED * is_crowded))
            # The first line inside a construct is no place to cut; headers do not count, nor comments.
            is_first = is_first and newline < 0 and bool(role & GLUE or not frame.role & BODY)
            after = end
            if self._rules.has_tails and text[end - 1 : end].isspace() and not role & GLUE:
                after, tail = self._tail(child)
                if tail >= 0:
                    run = text.rfind(_NEWLINE, start, tail) + 1 or tail
                    self.places.append(place(run, level))

    def _tail(self, node: Node) -> tuple[int, int]:
        """Return where a node ends without blanks, and where the comments at its very end begin or -1."""
        begin = max(node.start_byte + 1, node.end_byte - _TAIL_BYTES)
        end = begin + len(self._text[begin : node.end_byte].rstrip())
        roles = self._rules.roles
        for _ in range(_TAIL_STEPS):
            if not node.child_count or (last := node.children[-1]).end_byte < end:
                break
            if roles.get(last.kind_id, 0) & GLUE:
                tail = -1
                for child in reversed(node.children):
                    if not roles.get(child.kind_id, 0) & GLUE:
                        break
                    tail = child.start_byte
                return end, tail
            node = last
        return end, -1

    def _enter(self, node: Node, role: int, begin: int, size: int, frame: _Frame) -> str:
        """Note what a node defines, look into it if that may pay, and return the name it defines or ""."""
        scope, name = frame.scope, ""
        if role & NAMED:
            made = find_definition(
                node, role, start=begin, scope=scope, at_top=frame.at_top, text=self._text, rules=self._rules
            )
            if made is not None:
                self.definitions.append(made)
                scope, name = made.qualified, made.name
                role |= OPEN if role & CALL else 0
        if (size > MAX_BYTES or _is_open(role, frame)) and frame.level < MAX_LEVEL:
            level = frame.level if role & CLEAR else frame.level + STEP
            run = begin if role & (CLEAR | PEEK) and not role & BODY else -1
            at_top = frame.at_top and not role & CLOSES
            self.frames.append(_Frame(node, role, level, scope, at_top, run))
        return name


def _is_open(role: int, frame: _Frame) -> bool:
    if role & BODY:
        return bool(frame.role & (OPEN | PEEK)) and not frame.role & BODY
    return bool(role & OPEN) or bool(role & PEEK and frame.at_top)
