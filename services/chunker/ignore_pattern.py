"""One line of an ignore file as a regular expression, by the rules of git's wildmatch.

Written out here because pathspec judges files only: to its rules a folder is
what lies in it, so that ``*``, ``!*/``, ``!*.c`` (nothing but C files) loses every folder.
"""

import re
from typing import NamedTuple

_TRAILING_SPACES = re.compile(r"(?<!\\)[ \t\r]+$")
# A class: its negation, then members up to "]"; one that comes first, is escaped or ends a POSIX class is a member.
_CLASS = re.compile(r"\[([!^]?)(\]?(?:\[:[a-z]+:\]|\\.|[^\]\\])*)\]", re.DOTALL)
_CLASS_MEMBER = re.compile(r"\[:[a-z]+:\]|\\(.)|(.)", re.DOTALL)


class Pattern(NamedTuple):
    """`regex` (RE2, for the whole path below the file's folder) makes a path left out, or `negated` not."""

    regex: str
    negated: bool
    folders_only: bool


def parse(line: str) -> Pattern | None:
    """Return what a line means, or None: it is empty, a comment, or can match nothing."""
    line = _TRAILING_SPACES.sub("", line)
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    glob = line[negated:]
    folders_only = glob.endswith("/")
    glob = glob[: len(glob) - folders_only]
    anchored = "/" in glob
    regex = _translate(glob.removeprefix("/"))
    if not regex:
        return None
    return Pattern(regex if anchored else f"(?:.*/)?{regex}", negated, folders_only)


def _translate(glob: str) -> str | None:
    out = []
    at = 0
    while at < len(glob):
        letter = glob[at]
        if letter == "*":
            piece, at = _stars(glob, at)
        elif letter == "?":
            piece, at = "[^/]", at + 1
        elif letter == "[":
            found = _CLASS.match(glob, at)
            if found is None:
                return None
            piece, at = _class(found[1], found[2]), found.end()
        elif letter == "\\":
            if at + 1 == len(glob):
                return None
            piece, at = re.escape(glob[at + 1]), at + 2
        else:
            piece, at = re.escape(letter), at + 1
        out.append(piece)
    return "".join(out)


def _stars(glob: str, start: int) -> tuple[str, int]:
    """Translate a run of stars: two or more between slashes cross folders, all others stay in one."""
    end = start
    while end < len(glob) and glob[end] == "*":
        end += 1
    begins_part = start == 0 or glob[start - 1] == "/"
    if end - start == 1 or not begins_part:
        return "[^/]*", end
    if end == len(glob):
        return ".*", end
    return ("(?:.*/)?", end + 1) if glob[end] == "/" else ("[^/]*", end)


def _class(negation: str, members: str) -> str:
    """Translate a class; it never matches a slash."""
    out = []
    for found in _CLASS_MEMBER.finditer(members):
        escaped, plain = found.groups()
        letter = escaped or plain
        if letter is None or plain == "-":
            out.append(found[0])
        elif letter != "/":
            out.append(re.escape(letter))
    return f"[{'^/' if negation else ''}{''.join(out)}]"
