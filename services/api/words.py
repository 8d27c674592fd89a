"""Words of queries, names and paths, brought to one form: split, stemmed, short forms resolved.

Only ranking uses this, never the index: it may change without indexing again.
"""

import re
from functools import lru_cache

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+")
_IDENTIFIER = re.compile(r"[^\W\d]\w*|\d+")

_STOP_WORDS = (
    "a about all an and any are as at be by can code do does each for from get gets given has have how i "
    "if in into is  it its make makes me my not of on or our show so some such than that the their them "
    "then there these they this  through to use used uses using via want was we what when where which who "
    "why will with within you your"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())

# Suffixes of English word forms, longest first; what is left must be at least four letters, three for a plural.
_SUFFIXES = (
    *("ations", "ation", "ators", "ator", "ating", "ated", "ates", "ate"),
    *("ings", "ing", "ions", "ion", "ers", "ors", "ies", "ied", "er", "or", "es", "ed", "s", "e", "y"),
)
_SHORTEST_STEM = 4

# Short forms that programmers write, by the word they stand for.
_SHORT_FORMS = {
    "argument": "arg args",
    "asynchronous": "async",
    "attribute": "attr attrs",
    "authenticate": "auth authn",
    "command": "cmd cmds",
    "configuration": "config cfg conf configure",
    "connection": "conn",
    "context": "ctx",
    "database": "db",
    "dictionary": "dict",
    "difference": "diff",
    "directory": "dir dirs",
    "document": "doc docs",
    "environment": "env",
    "error": "err errs",
    "evaluate": "eval",
    "execute": "exec",
    "expression": "expr",
    "format": "fmt",
    "function": "fn func funcs",
    "generate": "gen",
    "implementation": "impl",
    "information": "info",
    "initialize": "init",
    "iterator": "iter",
    "language": "lang",
    "length": "len",
    "library": "lib libs",
    "manager": "mgr",
    "memory": "mem",
    "message": "msg msgs",
    "number": "num",
    "object": "obj",
    "operation": "op ops",
    "option": "opt opts",
    "package": "pkg pkgs",
    "parameter": "param params",
    "pointer": "ptr",
    "previous": "prev",
    "process": "proc",
    "property": "prop props",
    "reference": "ref refs",
    "regular": "regex regexp",
    "repository": "repo repos",
    "request": "req reqs",
    "response": "resp",
    "schedule": "sched",
    "sequence": "seq",
    "source": "src",
    "specification": "spec",
    "string": "str",
    "synchronize": "sync",
    "temporary": "temp tmp",
    "transaction": "txn tx",
    "utility": "util utils",
    "value": "val vals",
    "vector": "vec",
    "version": "ver",
    "window": "win",
}


def split_words(text: str) -> list[str]:
    """Return the lower-case words of a text or name: split at anything but letters and digits, and at camelCase."""
    return [word.lower() for word in _WORD.findall(text)]


def identifiers(text: str) -> list[str]:
    """Return the identifiers of a text, as written, in order."""
    return _IDENTIFIER.findall(text)


def stems(text: str) -> list[str]:
    """Return the stem of each word of `text`, in order."""
    return [stem(word) for word in split_words(text)]


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Return the form that `word` shares with its inflections and short forms (parses, parser → pars)."""
    bare = _strip(word)
    return _long_forms().get(word) or _long_forms().get(bare) or bare


def _strip(word: str) -> str:
    if not word.isascii() or word.endswith(("ss", "us", "is")):
        return word
    for suffix in _SUFFIXES:
        shortest = _SHORTEST_STEM - (suffix == "s")
        if word.endswith(suffix) and len(word) - len(suffix) >= shortest:
            bare = word[: -len(suffix)]
            # "running" and "runner" are "run", but "passing" is "pass".
            doubled = bare[-1] == bare[-2] and bare[-1] not in "lsz"
            return bare[:-1] if doubled and suffix[0] in "eio" else bare
    return word


@lru_cache(maxsize=1)
def _long_forms() -> dict[str, str]:
    forms = {}
    for word, shorts in _SHORT_FORMS.items():
        for short in (word, *shorts.split()):
            forms[short] = forms[_strip(short)] = _strip(word)
    return forms
