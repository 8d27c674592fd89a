"""A search as asked for: validated once, the same for HTTP, the command line, the page and agents."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from services.api.languages import canonical_language
from services.core.errors import InvalidRequest

# Longer questions gain nothing (static embeddings average, BM25 saturates) and only cost time.
MAX_QUERY_CHARS = 1_000
MAX_PATH_CHARS = 512
MAX_LIMIT = 100
# Ranking looks at a few hundred candidates, so there is nothing deeper than this to page to.
MAX_OFFSET = 1_000
_MAX_REPOS = 200
_MAX_LANGUAGES = 50
_MAX_NAME_CHARS = 255


class Mode(StrEnum):
    """What a query is compared with, and how."""

    HYBRID = "hybrid"
    SEMANTIC = "semantic"
    LEXICAL = "lexical"
    EXACT = "exact"
    REGEX = "regex"
    SYMBOL = "symbol"


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One search; `path` is a glob (see `services.api.globs`), empty tuples and "" place no restriction.

    Raises:
        InvalidRequest: a value is out of range, of the wrong type, or holds characters no text file has.
    """

    query: str
    repos: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    path: str = ""
    mode: Mode = Mode.HYBRID
    limit: int = 10
    offset: int = 0
    explain: bool = False

    def __post_init__(self) -> None:
        check_text("query", self.query, MAX_QUERY_CHARS)
        if not self.query.strip():
            raise InvalidRequest("the query is empty; give words, an identifier or a pattern to search for")
        check_text("path", self.path, MAX_PATH_CHARS)
        _check_names("repo", self.repos, _MAX_REPOS)
        _check_names("language", self.languages, _MAX_LANGUAGES)
        _check_int("limit", self.limit, 1, MAX_LIMIT)
        _check_int("offset", self.offset, 0, MAX_OFFSET)
        if not isinstance(self.explain, bool):
            raise InvalidRequest(f"explain must be true or false, not {type(self.explain).__name__}")
        object.__setattr__(self, "mode", _mode(self.mode))
        object.__setattr__(self, "repos", tuple(dict.fromkeys(self.repos)))
        languages = (canonical_language(name) for name in self.languages)
        object.__setattr__(self, "languages", tuple(dict.fromkeys(languages)))


def check_text(name: str, value: Any, max_chars: int) -> str:
    """Return `value` if it is text that can be stored, searched and sent.

    Raises:
        InvalidRequest: it is not a string, too long, or holds NUL or a lone surrogate.
    """
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be a string, not {type(value).__name__}")
    if len(value) > max_chars:
        raise InvalidRequest(f"{name} has {len(value)} characters, at most {max_chars} are allowed")
    if "\0" in value:
        raise InvalidRequest(f"{name} holds a NUL character; remove it")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise InvalidRequest(f"{name} holds a lone surrogate, which is no character; remove it")
    return value


def _mode(value: Any) -> Mode:
    try:
        return Mode(value)
    except ValueError as error:
        raise InvalidRequest(f"mode {str(value)[:40]!r} is unknown; use one of {', '.join(Mode)}") from error


def _check_names(what: str, names: Any, limit: int) -> None:
    if not isinstance(names, tuple):
        raise InvalidRequest(f"{what} must be a list of strings, not {type(names).__name__}")
    if len(names) > limit:
        raise InvalidRequest(f"{len(names)} values for {what}, at most {limit} are allowed")
    for name in names:
        if not check_text(what, name, _MAX_NAME_CHARS):
            raise InvalidRequest(f"{what} is empty; leave it out for no restriction")


def _check_int(name: str, value: Any, low: int, high: int) -> None:
    # bool is an int in Python, but `true` in a request is a mistake.
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(f"{name} must be an integer, not {type(value).__name__}")
    if not low <= value <= high:
        shown = value if abs(value) < 10**12 else f"a number of {value.bit_length()} bits"
        raise InvalidRequest(f"{name} is {shown}, must be from {low} to {high}")


# Names of the parameters in HTTP and on the command line; JSON bodies may also write them out.
_PLAIN_NAMES = {"query": "q", "repos": "repo", "languages": "lang"}
_PARAMETERS = ("q", "repo", "lang", "path", "mode", "limit", "offset", "explain")


def parse_search(parameters: Mapping[str, Any]) -> SearchRequest:
    """Return the request that `parameters` describe: q, repo, lang, path, mode, limit, offset, explain.

    repo and lang are a string or a list of strings; None means not given.

    Raises:
        InvalidRequest: a parameter is unknown, given twice, or invalid.
    """
    given: dict[str, Any] = {}
    for key, value in parameters.items():
        name = _PLAIN_NAMES.get(key, key)
        if name not in _PARAMETERS:
            raise InvalidRequest(f"parameter {key[:40]!r} is unknown; use {', '.join(_PARAMETERS)}")
        if name in given:
            raise InvalidRequest(f"parameter {name!r} is given twice")
        if value is not None:
            given[name] = value
    if "q" not in given:
        raise InvalidRequest("parameter 'q' is missing; it says what to search for")
    return SearchRequest(
        query=given["q"],
        repos=_names(given.get("repo", ())),
        languages=_names(given.get("lang", ())),
        path=given.get("path", ""),
        mode=given.get("mode", Mode.HYBRID),
        limit=given.get("limit", 10),
        offset=given.get("offset", 0),
        explain=given.get("explain", False),
    )


def _names(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list | tuple) else value
