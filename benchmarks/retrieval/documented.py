"""The documented functions of a source file, found by its syntax: their lines, and where their doc comment stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tree_sitter import Node, Parser, Query, QueryCursor
from tree_sitter_language_pack import get_language, get_parser


@dataclass(frozen=True, slots=True)
class Function:
    """A function and its doc comment; `start` and `end`, and those of `comment`, are half-open bytes of the file.

    The comment may stand inside (Python) or before it; `text` is the comment as written.
    """

    name: str
    start: int
    end: int
    comment: tuple[int, int]
    text: str


@dataclass(frozen=True, slots=True)
class _Syntax:
    """Node kinds of a language: functions, comments that document, and what may stand between or around them."""

    functions: frozenset[str]
    bodies: frozenset[str]
    comments: frozenset[str]
    opening: re.Pattern[str]
    between: frozenset[str] = frozenset()
    wrappers: frozenset[str] = frozenset()
    bindings: frozenset[str] = frozenset()


def _syntax(
    functions: str,
    bodies: str,
    comments: str,
    opening: str,
    *,
    between: str = "",
    wrappers: str = "",
    bindings: str = "",
) -> _Syntax:
    first, *others = (frozenset(kinds.split()) for kinds in (functions, bodies, comments, between, wrappers, bindings))
    return _Syntax(first, others[0], others[1], re.compile(opening), *others[2:])


_BLOCK = r"/\*\*[^*/]|/\*\*$"
_SCRIPT = _syntax(
    "function_declaration generator_function_declaration method_definition",
    "statement_block",
    "comment",
    _BLOCK,
    between="decorator",
    wrappers="export_statement lexical_declaration variable_declaration expression_statement",
    bindings="variable_declarator assignment_expression pair public_field_definition field_definition",
)
_FUNCTION_VALUES = frozenset({"arrow_function", "function_expression", "function", "generator_function"})
_SYNTAXES = {
    "go": _syntax("function_declaration method_declaration", "block", "comment", r"//(?!go:|\s*\+build)"),
    "java": _syntax("method_declaration constructor_declaration", "block constructor_body", "block_comment", _BLOCK),
    "javascript": _SCRIPT,
    "kotlin": _syntax("function_declaration", "function_body", "multiline_comment", _BLOCK),
    "rust": _syntax(
        "function_item", "block", "line_comment block_comment", rf"///(?!/)|{_BLOCK}", between="attribute_item"
    ),
    "scala": _syntax("function_definition", "", "block_comment comment", _BLOCK),
    "typescript": _SCRIPT,
}


def functions(source: bytes, language: str) -> list[Function]:
    """Return the documented functions that have a body, in order."""
    root = _parser(language).parse(source).root_node
    if language == "python":
        return list(_python(root, source))
    return list(_commented(root, source, language, _SYNTAXES[language]))


def without(source: bytes, spans: list[tuple[int, int]]) -> bytes:
    """Return the source without the given bytes."""
    kept, at = [], 0
    for start, end in sorted(spans):
        kept.append(source[at:start])
        at = max(at, end)
    return b"".join([*kept, source[at:]])


def lines_after(source: bytes, function: Function, spans: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the first and last line, from 1, of a function once `spans` are removed."""
    rest = without(source, spans)
    start, end = (
        at - sum(min(stop, at) - begin for begin, stop in spans if begin < at) for at in (function.start, function.end)
    )
    return rest.count(b"\n", 0, start) + 1, rest.count(b"\n", 0, max(start, end - 1)) + 1


@cache
def _parser(language: str) -> Parser:
    return get_parser(language)  # type: ignore[arg-type]


def _python(root: Node, source: bytes) -> Iterator[Function]:
    for node in _found(root, "python", frozenset({"function_definition"})):
        body, name = node.child_by_field_name("body"), node.child_by_field_name("name")
        first = body.named_children[0] if body is not None and len(body.named_children) > 1 else None
        if first is not None and first.type == "expression_statement":
            first = first.named_child(0)
        if first is None or name is None or first.type != "string":
            continue
        text = "".join(_text(part, source) for part in first.named_children if part.type == "string_content")
        comment = _whole_lines(first.start_byte, first.end_byte, source)
        yield Function(_text(name, source), node.start_byte, node.end_byte, comment, text)


def _commented(root: Node, source: bytes, language: str, syntax: _Syntax) -> Iterator[Function]:
    comments: list[Node] = []
    for node in _found(root, language, syntax.comments):
        if not syntax.opening.match(_text(node, source)):
            continue
        comments = [*comments, node] if comments and _continues(comments[-1], node, source) else [node]
        documented = node.next_named_sibling
        while documented is not None and documented.type in syntax.between:
            documented = documented.next_named_sibling
        name = _function_name(documented, source, syntax) if documented is not None else ""
        if documented is None or not name or not _follows(node, documented, source, syntax):
            continue
        start, end = comments[0].start_byte, node.end_byte
        text = source[start:end].decode(errors="replace")
        yield Function(name, documented.start_byte, documented.end_byte, _whole_lines(start, end, source), text)


def _found(root: Node, language: str, kinds: frozenset[str]) -> list[Node]:
    captured = QueryCursor(_query(language, " ".join(sorted(kinds)))).captures(root).get("found", [])
    return sorted(captured, key=lambda node: node.start_byte)


@cache
def _query(language: str, kinds: str) -> Query:
    patterns = " ".join(f"({kind}) @found" for kind in kinds.split())
    return Query(get_language(language), patterns)  # type: ignore[arg-type]


def _continues(before: Node, node: Node, source: bytes) -> bool:
    """Tell whether two line comments in successive lines are one."""
    return _text(node, source).startswith("//") and _apart(before, node, source) == 1


def _follows(comment: Node, node: Node, source: bytes, syntax: _Syntax) -> bool:
    return bool(syntax.between) or _apart(comment, node, source) <= 1


def _apart(before: Node, after: Node, source: bytes) -> int:
    # Some grammars count the end of the line to a line comment.
    end = before.end_byte - source[before.start_byte : before.end_byte].endswith(b"\n")
    return source.count(b"\n", end, after.start_byte)


def _function_name(node: Node, source: bytes, syntax: _Syntax) -> str:
    """Return the name of the function that `node` is or binds, "" if it is none or has no body."""
    if node.type in syntax.wrappers:
        inside = (_function_name(child, source, syntax) for child in node.named_children)
        return next(filter(None, inside), "")
    if node.type in syntax.bindings:
        return _bound_name(node, source)
    has_body = not syntax.bodies or any(child.type in syntax.bodies for child in node.named_children)
    if node.type not in syntax.functions or not has_body:
        return ""
    name = node.child_by_field_name("name") or next(
        (c for c in node.named_children if c.type.endswith("identifier")), None
    )
    return _text(name, source) if name is not None else ""


def _bound_name(node: Node, source: bytes) -> str:
    target, value = node.named_children[0], node.named_children[-1]
    if value.type == "call_expression":
        arguments = value.child_by_field_name("arguments")
        is_function = any(each.type in _FUNCTION_VALUES for each in (arguments.named_children if arguments else ()))
    else:
        is_function = value.type in _FUNCTION_VALUES
    return re.split(r"[.\s]", _text(target, source))[-1] if is_function else ""


def _whole_lines(start: int, end: int, source: bytes) -> tuple[int, int]:
    """Extend bytes to whole lines where nothing else stands in them."""
    begin = source.rfind(b"\n", 0, start) + 1
    stop = source.find(b"\n", max(end - 1, 0)) + 1 or len(source)
    if source[begin:start].strip() or source[end:stop].strip():
        return start, end
    return begin, max(end, stop)


def _text(node: Node, source: bytes) -> str:
    return source[node.start_byte : node.end_byte].decode(errors="replace")
