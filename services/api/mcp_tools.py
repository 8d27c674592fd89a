"""The tools that coding agents get: search, more of a file, and what there is to search."""

from typing import Any

from services.api.files import read_file
from services.api.jobs import repo_document
from services.api.request import MAX_LIMIT, MAX_PATH_CHARS, MAX_QUERY_CHARS, Mode, check_text, parse_search
from services.api.services import Services
from services.api.views_search import answer
from services.core.errors import InvalidRequest

_MAX_NAME_CHARS = 255
_MAX_LINES = 400
_STRINGS = {"type": "array", "items": {"type": "string"}}

TOOLS: list[dict[str, Any]] = [
    {
        "name": "search",
        "title": "Search code",
        "description": (
            "Find code by meaning, words, identifier or pattern over all indexed repositories. Returns ranked "
            "chunks with repository, path, 1-based lines, symbol and text."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "maxLength": MAX_QUERY_CHARS, "description": "what to look for"},
                "repos": {**_STRINGS, "description": "only these repositories"},
                "languages": {**_STRINGS, "description": "only these languages, such as python or typescript"},
                "path": {"type": "string", "maxLength": MAX_PATH_CHARS, "description": "glob, such as src/**/*.py"},
                "mode": {
                    "type": "string",
                    "enum": [mode.value for mode in Mode],
                    "description": (
                        "hybrid (default): meaning and words; symbol: definitions of a name; "
                        "exact: literal text; regex: RE2; semantic or lexical: one of the two alone"
                    ),
                },
                "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "description": "hits, 10 by default"},
            },
            "required": ["query"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
    {
        "name": "read_file_lines",
        "title": "Read lines of an indexed file",
        "description": f"Return lines of a file as indexed, at most {_MAX_LINES}, each with its number.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "repo": {"type": "string", "description": "repository, as search returns it"},
                "path": {"type": "string", "description": "path, as search returns it"},
                "start_line": {"type": "integer", "minimum": 1, "description": "first line, 1 by default"},
                "end_line": {"type": "integer", "minimum": 1, "description": "last line, inclusive"},
            },
            "required": ["repo", "path"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
    {
        "name": "list_repos",
        "title": "List indexed repositories",
        "description": "Return every repository with its indexed revision and number of files.",
        "inputSchema": {"type": "object", "properties": {}, "additionalProperties": False},
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
]


def call_tool(services: Services, name: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what a tool says, as text and as JSON.

    Raises:
        QuarryError: the arguments are invalid, or the tool failed.
    """
    known = next(tool["inputSchema"]["properties"] for tool in TOOLS if tool["name"] == name)
    for key in arguments.keys() - known.keys():
        raise InvalidRequest(f"argument {key[:40]!r} is unknown; use {', '.join(known) or 'none'}")
    if name == "search":
        return _search(services, arguments)
    return _lines(services, arguments) if name == "read_file_lines" else _repos(services)


def _search(services: Services, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    found = answer(services, parse_search(arguments))
    parts = [f"{len(found['hits'])} hits"]
    if found["indexing"]:
        parts.append(f"still being indexed, so incomplete: {', '.join(found['indexing'])}")
    if found["outdated"]:
        parts.append(found["note"])
    if found["truncated"]:
        parts.append("the scan stopped early; narrow it by repository, path or language")
    text = "; ".join(parts)
    for hit in found["hits"]:
        symbol = f" ({hit['symbol']})" if hit["symbol"] else ""
        text += f"\n\n{hit['repo']}/{hit['path']}:{hit['start_line']}-{hit['end_line']}{symbol}\n{hit['text'].rstrip()}"
    return text, found


def _lines(services: Services, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    repo = check_text("repo", arguments.get("repo"), _MAX_NAME_CHARS)
    path = check_text("path", arguments.get("path"), 8 * MAX_PATH_CHARS)
    first, last = _line(arguments, "start_line", 1), _line(arguments, "end_line", 0)
    found = read_file(services.searcher, repo, path)
    lines = found.text.removesuffix("\n").split("\n")
    end = min(last or len(lines), len(lines), first + _MAX_LINES - 1)
    if first > len(lines) or (last and last < first):
        raise InvalidRequest(f"lines {first} to {last or len(lines)} are not there: {path!r} has {len(lines)}")
    numbered = "\n".join(f"{number}\t{line}" for number, line in enumerate(lines[first - 1 : end], first))
    return numbered, {
        "repo": repo,
        "path": path,
        "revision": found.live.revision,
        "start_line": first,
        "end_line": end,
        "lines": len(lines),
        "text": "\n".join(lines[first - 1 : end]),
    }


def _line(arguments: dict[str, Any], name: str, default: int) -> int:
    value = arguments.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or (value < 1 and name in arguments):
        raise InvalidRequest(f"{name} must be an integer of at least 1")
    return value


def _repos(services: Services) -> tuple[str, dict[str, Any]]:
    jobs = services.open_jobs()
    repos = [repo_document(repo, jobs.get(repo.name)) for repo in services.catalog.list()]
    lines = [f"{r['name']}\t{r['files']} files\t{r['revision'][:12] or r['state']}" for r in repos]
    return "\n".join(lines) or "nothing is indexed yet", {"repos": repos}
