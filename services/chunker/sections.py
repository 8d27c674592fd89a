"""Languages whose structure is in their lines: headings, tables, targets, declarations at the start of a line."""

import re
from functools import cache
from typing import Any, NamedTuple

import re2

from services.chunker.split_cuts import CROWDED, MAX_LEVEL, STEP, place
from services.chunker.symbols import Definition, dotted_name

# Declarations that are a keyword and a name, wherever in a line that begins with them: modifiers, then keywords.
_KEYWORDS = {
    "dart": ("abstract base final sealed", "class mixin enum extension typedef"),
    "fortran": ("pure elemental recursive", "subroutine function module program"),
    "graphql": ("extend", "type input interface enum union scalar query mutation fragment directive"),
    "groovy": ("public private protected static final abstract", "class interface trait def task"),
    "julia": ("mutable abstract", "function macro struct module type"),
    "pascal": ("class", "procedure function constructor destructor unit program"),
    "perl": ("", "sub package"),
    "powershell": ("", "function filter class enum"),
    "proto": ("", "message enum service rpc"),
    "thrift": ("", "struct service enum exception union"),
    "vim": ("", "function function! func func! fun fun! fu fu!"),
}
# How a section begins, in RE2 at the start of a line. Group `name` names it; the length of group `depth` is
# how deep it lies; group `mark` is an underline, deeper the later it is first used; group `fence` begins or
# ends lines that are not looked at.
_EXPRESSIONS = {
    "clojure": r"\(def[\w-]*[ \t]+(?:\^\S+[ \t]+)*(?P<name>[^\s()\[\]{}]{1,100})",
    "cmake": r"[ \t]*(?i:function|macro)[ \t]*\([ \t]*(?P<name>\w{1,100})",
    "dockerfile": r"(?i:FROM)[ \t]+(?:\S{1,300}[ \t]+(?i:AS)[ \t]+)?(?P<name>\S{1,100})",
    "elm": r"(?:type(?:[ \t]+alias)?[ \t]+(?P<name>\w{1,100})|(?P<name2>[a-z]\w{0,100})[ \t]*:[ \t])",
    "erlang": r"(?:-(?:record|define)\(\s*)?(?P<name>[a-zA-Z]\w{0,100})[(,]",
    "fsharp": r"(?:let|and|type|module)[ \t]+(?:(?:rec|inline|private)[ \t]+)*(?P<name>[\w'.]{1,100})",
    "hcl": r'(?:[a-z]{1,20}[ \t]+)(?P<name>"[^"\n]{1,100}"(?:[ \t]+"[^"\n]{1,100}")?)[ \t]*\{',
    "ini": r"\[(?P<name>[^\]\n]{1,120})\]",
    "latex": r"[ \t]*\\(?P<depth>(?:sub)*)section\*?\{(?P<name>[^}\n]{1,120})\}",
    "makefile": r"(?:(?P<name>[\w./%-][\w./% -]{0,99}?)[ \t]*:(?:[^=:\n]|$)|define[ \t]+(?P<name2>\S{1,100}))",
    "markdown": r" {0,3}(?:(?P<fence>```|~~~)|(?P<depth>#{1,6})[ \t]+(?P<name>[^\n]{1,120}?)[ \t#]*\r?$)",
    "objc": r"(?:@(?:interface|implementation|protocol)[ \t]+(?P<name>\w{1,100})"
    r"|[-+][ \t]*\([^)\n]{1,100}\)[ \t]*(?P<name2>\w{1,100}))",
    "ocaml": r"(?:let|and|type|module|val|exception|class)[ \t]+(?:(?:rec|type)[ \t]+)*(?P<name>[\w']{1,100})",
    "r": r"(?P<name>[\w.]{1,100})[ \t]*(?:<-|=)[ \t]*function\b",
    "rst": r"(?P<name>[^\s=~^+*#-][^\n]{0,120})\r?\n"
    r"(?P<mark>={3,}|-{3,}|~{3,}|\^{3,}|\"{3,}|'{3,}|\*{3,}|\+{3,}|#{3,})[ \t]*\r?$",
    "toml": r"\[{1,2}(?P<name>[^\]\n]{1,120})\]",
    "yaml": r"---(?P<name>)(?:[ \t]|\r?$)",
}
SECTIONS = frozenset(_KEYWORDS) | frozenset(_EXPRESSIONS)
# Sections of prose and of settings are places, not definitions; their names are kept as written.
_PROSE = frozenset({"ini", "latex", "markdown", "rst", "toml", "yaml"})
_PATH_SEPARATOR = " > "
# A declaration ends where a line begins at the margin that is no bracket.
_NEXT_AT_MARGIN = re.compile(rb"\n(?=[^\s(){}\[\]])")


class _Section(NamedTuple):
    start: int
    name_at: int
    depth: int
    name: str


def sections(text: bytes, language: str) -> tuple[list[int], list[Definition]]:
    """Return the places (see `split_cuts.place`) where sections begin, and the sections as definitions."""
    found = _found(text, language)
    level_of = min((section.depth for section in found), default=0)
    places = [
        place(
            section.start,
            min((section.depth - level_of) * STEP, MAX_LEVEL) + CROWDED * _is_crowded(text, section.start),
        )
        for section in found
        if section.start
    ]
    return places, _outline(found, len(text)) if language in _PROSE else _declarations(found, text)


@cache
def _expression(language: str) -> tuple[Any, dict[str, int]]:
    """Return the compiled expression and the number of each group."""
    source = _EXPRESSIONS.get(language) or _keyword_expression(*_KEYWORDS[language])
    compiled = re2.compile(b"(?m)^" + source.encode())
    return compiled, {name.decode(): number for name, number in compiled.groupindex.items()}


def _keyword_expression(modifiers: str, keywords: str) -> str:
    before = f"(?:(?:{'|'.join(modifiers.split())})[ \\t]+)*" if modifiers else ""
    return rf"[ \t]*(?i:{before}(?:{'|'.join(keywords.split())}))[ \t]+@?(?P<name>[\w.:'!#-]{{1,100}})"


def _found(text: bytes, language: str) -> list[_Section]:
    expression, groups = _expression(language)
    name_group, name2_group = groups["name"], groups.get("name2", 0)
    depth_group, mark_group, fence_group = (groups.get(name, 0) for name in ("depth", "mark", "fence"))
    found: list[_Section] = []
    marks: list[bytes] = []
    fence = b""
    for match in expression.finditer(text):
        # Group 0 stands for a group the expression does not have.
        values = (b"", *match.groups())
        if opened := values[fence_group]:
            fence = b"" if fence == opened else fence or opened
        if fence or opened:
            continue
        group = name_group if values[name_group] else name2_group
        depth = _mark_depth(values[mark_group][:1], marks) if values[mark_group] else len(values[depth_group] or b"")
        name = (values[group] or b"").decode("utf-8", "ignore").strip()
        found.append(_Section(match.start(), match.start(group), depth, name))
    return found


def _mark_depth(mark: bytes, marks: list[bytes]) -> int:
    if mark not in marks:
        marks.append(mark)
    return marks.index(mark)


def _outline(found: list[_Section], size: int) -> list[Definition]:
    """Return sections of prose: each reaches to the next of its depth, and its symbol is its path."""
    definitions: list[Definition] = []
    path: list[_Section] = []
    for section, end in zip(found, _ends(found, size), strict=True):
        while path and path[-1].depth >= section.depth:
            path.pop()
        path.append(section)
        if section.name:
            qualified = _PATH_SEPARATOR.join(outer.name for outer in path if outer.name)
            definitions.append(Definition(section.start, end, section.name_at, "", qualified))
    return definitions


def _declarations(found: list[_Section], text: bytes) -> list[Definition]:
    definitions = []
    for section in found:
        after = _NEXT_AT_MARGIN.search(text, section.name_at)
        qualified, name = dotted_name(section.name.replace('" "', "."))
        if name:
            end = after.start() if after else len(text)
            definitions.append(Definition(section.start, end, section.name_at, name, qualified))
    return definitions


def _ends(found: list[_Section], size: int) -> list[int]:
    ends = [size] * len(found)
    waiting: list[int] = []
    for index, section in enumerate(found):
        while waiting and found[waiting[-1]].depth >= section.depth:
            ends[waiting.pop()] = section.start
        waiting.append(index)
    return ends


def _is_crowded(text: bytes, start: int) -> bool:
    return start > 1 and text[start - 2] not in b"\n\r"
