"""Files that are rarely meant: beside each stands, or stood, another that does the same and is.

Code for one platform, an older version of an interface that lives on, what is deprecated, a header beside its
implementation. A query that names the special one gets it: none of these rules applies to words it says.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from services.api.words import split_words


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OLD = _words("deprecated deprecations deprecation legacy compat compatibility obsolete old")
_BENCHMARKS = _words("bench benches benchmark benchmarks")
# Of twins in `unix` and `win`, or beside a port to a rare system, the usual one is meant.
_PLATFORMS = _words(
    "win windows win32 win64 wince os390 zos aix sunos solaris haiku qnx cygwin msvc vms amiga netware os400"
)
_WORD = re.compile(r"[a-z0-9]+")
_VERSION = re.compile(r"(?:^|/)v(\d{1,2})(?=/)")
# A declaration, by the extensions of what may implement it.
_IMPLEMENTED_BY = {
    "h": "c cc cpp cxx m mm",
    "hh": "cc cpp cxx",
    "hpp": "cpp cc cxx",
    "hxx": "cxx cpp",
    "d.ts": "ts js mjs tsx",
    "pyi": "py",
    "mli": "ml",
}
_DECLARATIONS = {ext: _words(others) for ext, others in _IMPLEMENTED_BY.items()}


@dataclass(frozen=True, slots=True)
class Siblings:
    """What the files of the candidates are beside each other.

    newest: highest version below a folder that has some. extensions: those of each file name.
    """

    newest: dict[tuple[str, str], int]
    extensions: dict[tuple[str, str], frozenset[str]]


def siblings(files: Iterable[tuple[str, str]]) -> Siblings:
    """Return what the given (repo, path) are beside each other."""
    newest: dict[tuple[str, str], int] = {}
    extensions: dict[tuple[str, str], set[str]] = {}
    for repo, path in files:
        found = _version(path)
        if found:
            newest[repo, found[0]] = max(found[1], newest.get((repo, found[0]), 0))
        name, ext = _name_and_extension(path)
        extensions.setdefault((repo, name), set()).add(ext)
    return Siblings(newest, {key: frozenset(value) for key, value in extensions.items()})


def is_aside(path: str, said: frozenset[str]) -> bool:
    """Tell whether a path is that of something deprecated or of a benchmark, which the query does not say."""
    words = tokens(path)
    return any(words & each and not said & each for each in (_OLD, _BENCHMARKS))


def is_platform(path: str, said: frozenset[str]) -> bool:
    """Tell whether a path is that of a port to one platform, and the query names none."""
    return bool(tokens(path) & _PLATFORMS) and not said & _PLATFORMS


def is_older(file: tuple[str, str], beside: Siblings, said: frozenset[str]) -> bool:
    """Tell whether a newer version of a (repo, path)'s folder is among the candidates (`v3` beside `v4`)."""
    repo, path = file
    found = _version(path)
    if found is None or f"v{found[1]}" in said:
        return False
    return found[1] < beside.newest.get((repo, found[0]), 0)


def is_declaration(file: tuple[str, str], beside: Siblings) -> bool:
    """Tell whether a (repo, path) is a header or type declaration whose implementation is among the candidates."""
    repo, path = file
    name, ext = _name_and_extension(path)
    return ext in _DECLARATIONS and bool(_DECLARATIONS[ext] & beside.extensions.get((repo, name), frozenset()))


@lru_cache(maxsize=10_000)
def tokens(text: str) -> frozenset[str]:
    """Return the words of a path or query as they stand and split at camelCase, lower case."""
    return frozenset(_WORD.findall(text.lower())) | frozenset(split_words(text))


@lru_cache(maxsize=10_000)
def _version(path: str) -> tuple[str, int] | None:
    found = _VERSION.search(path)
    return (path[: found.start()], int(found[1])) if found else None


@lru_cache(maxsize=10_000)
def _name_and_extension(path: str) -> tuple[str, str]:
    name = path.rpartition("/")[2]
    if name.endswith(".d.ts"):
        return name.removesuffix(".d.ts"), "d.ts"
    stem, dot, ext = name.rpartition(".")
    return (stem, ext.lower()) if dot else (name, "")
