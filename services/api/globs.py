r"""Path globs in the manner of ripgrep and .gitignore, matched in linear time.

    *.py          base name, in any folder            src/**       everything below src
    src/*.py      directly in src; * stops at "/"     src/         the same
    **/test_*     any depth                           {a,b}.ts     alternatives
    core/app      that file, or everything below it   [a-z] ? \*   class, one character, escape

A pattern without "/" fits the base name anywhere, one with "/" counts from the repository's
root. A last part without wildcards also names a folder. Case counts. In `*.ext` at least one
character comes before the dot, so a file that is only called `.ext` does not fit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from typing import Any

import re2

from services.core.errors import InvalidRequest

_MAX_ALTERNATIVES = 64
_WILD = set("*?[\\")


@dataclass(frozen=True, slots=True)
class PathGlob:
    """A compiled glob.

    prefixes, extensions: together they admit at least every path the glob fits, as `Filter` reads them.
    exact: whether they admit no other path, apart from extensions in other case.
    """

    text: str
    prefixes: tuple[str, ...]
    extensions: tuple[str, ...]
    exact: bool
    _regexp: Any

    def matches(self, path: str) -> bool:
        """Tell whether `path`, relative to its repository's root, fits."""
        return self._regexp.fullmatch(path) is not None

    def select(self, paths: Iterable[str]) -> list[str]:
        """Return those that fit, in order."""
        return [path for path in paths if self.matches(path)]


@lru_cache(maxsize=256)
def compile_glob(text: str) -> PathGlob:
    """Compile a glob.

    Raises:
        InvalidRequest: brackets or braces don't pair, or it has too many alternatives.
    """
    if text.startswith("!"):
        raise InvalidRequest(f"path {text!r}: exclusions aren't supported; write \\! for a name that begins with '!'")
    alternatives = [_normal(each) for each in _expand(text)]
    expression = "|".join(f"(?:{_expression(parts)})" for parts in alternatives)
    try:
        # (?s): a file name may hold a newline, and a wildcard must reach over it.
        regexp = re2.compile(f"(?s){expression}", _quiet())
    except re2.error as error:
        raise InvalidRequest(f"path {text!r} is not a valid glob: {error}") from error
    prefixes, extensions, exact = _bounds(alternatives)
    return PathGlob(text, prefixes, extensions, exact, regexp)


def _quiet() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    return options


def _expand(text: str) -> list[str]:
    """Return the alternatives that `{a,b}` stands for, nested ones too."""
    opening, depth, i = -1, 0, 0
    commas: list[int] = []
    while i < len(text):
        char = text[i]
        if char == "\\":
            i += 1
        elif char == "{":
            depth += 1
            opening, commas = (i, []) if depth == 1 else (opening, commas)
        elif char == "," and depth == 1:
            commas.append(i)
        elif char == "}" and depth:
            depth -= 1
            if not depth:
                return _alternatives(text, opening, commas, i)
        i += 1
    if depth:
        raise InvalidRequest(f"path {text!r} has a '{{' without its '}}'")
    return [text]


def _alternatives(text: str, opening: int, commas: list[int], closing: int) -> list[str]:
    cuts = [opening, *commas, closing]
    heads = [text[a + 1 : b] for a, b in pairwise(cuts)]
    tails = _expand(text[closing + 1 :])
    found = [text[:opening] + inner + tail for head in heads for inner in _expand(head) for tail in tails]
    if len(found) > _MAX_ALTERNATIVES:
        raise InvalidRequest(f"path {text[:60]!r} has over {_MAX_ALTERNATIVES} alternatives; use fewer braces")
    return found


def _normal(pattern: str) -> tuple[str, ...]:
    """Split one alternative into its parts, anchored: a bare name gets a leading `**`, a folder a trailing one."""
    anchored = "/" in pattern.rstrip("/") or pattern.endswith("/")
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.endswith("/") and parts:
        parts.append("**")
    if not anchored:
        parts.insert(0, "**")
    # `**` twice in a row means the same as once.
    return tuple(part for i, part in enumerate(parts) if i == 0 or part != "**" or parts[i - 1] != "**")


def _expression(parts: tuple[str, ...]) -> str:
    if not parts:
        return "[^\\s\\S]"  # fits nothing
    pieces = []
    for part in parts[:-1]:
        pieces.append("(?:[^/]+/)*" if part == "**" else _part(part) + "/")
    last = parts[-1]
    if last == "**":
        pieces.append(".+")
    else:
        pieces.append(_part(last) + ("" if _is_wild(last) else "(?:/.+)?"))
    return "".join(pieces)


def _part(part: str) -> str:
    pieces = []
    i = 0
    while i < len(part):
        char = part[i]
        if char == "*":
            pieces.append("[^/]+" if i == 0 and part[1:2] == "." else "[^/]*")
        elif char == "?":
            pieces.append("[^/]")
        elif char == "[":
            cls, i = _class(part, i)
            pieces.append(cls)
        elif char == "\\" and i + 1 < len(part):
            i += 1
            pieces.append(re2.escape(part[i]))
        else:
            pieces.append(re2.escape(char))
        i += 1
    return "".join(pieces)


def _class(part: str, start: int) -> tuple[str, int]:
    negated = part[start + 1 : start + 2] in ("!", "^")
    first = start + 1 + negated
    end = part.find("]", first + 1)  # a "]" in first place is a member
    if end < 0:
        raise InvalidRequest(f"path part {part!r} has a '[' without its ']'; write \\[ for the character")
    members = part[first:end]
    inner = range(1, len(members) - 1)  # at either end "-" is a member, within it makes a range
    body = "".join(char if char == "-" and i in inner else re2.escape(char) for i, char in enumerate(members))
    return (f"[^/{body}]" if negated else f"[{body}]"), end


def _is_wild(part: str) -> bool:
    return not _WILD.isdisjoint(part)


def _bounds(alternatives: list[tuple[str, ...]]) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Return prefixes and extensions of all alternatives, and whether they say it all."""
    bounds = [_bound(parts) for parts in alternatives]
    pairs = {(prefix, extension) for prefix, extension, _ in bounds}
    prefixes = sorted({prefix for prefix, _ in pairs})
    extensions = sorted({extension for _, extension in pairs})
    # Filter joins the two with "and", so they say it all only if every combination occurs.
    exact = all(exact for *_, exact in bounds) and pairs == set(product(prefixes, extensions))
    return (() if "" in prefixes else tuple(prefixes)), (() if "" in extensions else tuple(extensions)), exact


def _bound(parts: tuple[str, ...]) -> tuple[str, str, bool]:
    literal = 0
    while literal < len(parts) - 1 and parts[literal] != "**" and not _is_wild(parts[literal]):
        literal += 1
    prefix = "".join(f"{part}/" for part in parts[:literal])
    rest = parts[literal:]
    if not rest:
        return prefix, "", False
    extension = _extension(rest[-1])
    whole = rest == ("**",) or (rest[0] == "**" and len(rest) == 2 and rest[1] == f"*.{extension}")
    return prefix, extension, whole


def _extension(last: str) -> str:
    """Return the extension every file that fits a last part has, lower case, or "" if that is open."""
    stem, dot, extension = last.rpartition(".")
    # Without a wildcard the part may also name a folder, whose files have any extension.
    sure = dot and stem and extension and _is_wild(stem) and not _is_wild(extension) and "]" not in extension
    return extension.lower() if sure else ""
