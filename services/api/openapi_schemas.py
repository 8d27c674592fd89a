"""The JSON schemas of the HTTP API, built from the same limits that the code checks."""

from typing import Any

from services.api.languages import LEXERS
from services.api.request import MAX_LIMIT, MAX_OFFSET, MAX_PATH_CHARS, MAX_QUERY_CHARS, Mode
from services.api.webhook_signatures import MAX_SECRET_CHARS, MIN_SECRET_CHARS
from services.core.ledger import JobState
from services.core.model import FileKind, SkipReason

Schema = dict[str, Any]


def string(description: str = "", **more: Any) -> Schema:
    """Return the schema of a string."""
    return {"type": "string", **({"description": description} if description else {}), **more}


def integer(description: str = "", **more: Any) -> Schema:
    """Return the schema of an integer."""
    return {"type": "integer", **({"description": description} if description else {}), **more}


def number(description: str = "") -> Schema:
    """Return the schema of a number."""
    return {"type": "number", **({"description": description} if description else {})}


def array(items: Schema, **more: Any) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": items, **more}


def record(properties: dict[str, Schema], *, optional: tuple[str, ...] = (), closed: bool = False) -> Schema:
    """Return the schema of an object whose properties are required unless `optional`."""
    schema: Schema = {"type": "object", "properties": properties}
    required = [name for name in properties if name not in optional]
    return schema | ({"required": required} if required else {}) | ({"additionalProperties": False} if closed else {})


def reference(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def search_properties() -> dict[str, Schema]:
    """Return the parameters of a search."""
    language = string(enum=sorted(LEXERS))
    return {
        "q": string("Words, an identifier or a pattern.", minLength=1, maxLength=MAX_QUERY_CHARS),
        "repo": array(string(minLength=1, maxLength=255), description="Only these repositories.", maxItems=200),
        "lang": array(language, description="Only these languages; common short forms are taken too.", maxItems=50),
        "path": string(
            "Glob: `*.py`, `src/**`, `src/**/*.{ts,tsx}`. `*` stops at `/`; a pattern without `/` fits base names.",
            maxLength=MAX_PATH_CHARS,
        ),
        "mode": string(
            "hybrid: meaning and words, re-ranked. semantic, lexical: one of the two alone. symbol: definitions. "
            "exact: literal text. regex: RE2, ignoring case unless the expression has a capital letter.",
            enum=[mode.value for mode in Mode],
        ),
        "limit": integer("Most hits to return, 10 by default.", minimum=1, maximum=MAX_LIMIT),
        "offset": integer("Hits to leave out first.", minimum=0, maximum=MAX_OFFSET),
        "explain": {"type": "boolean", "description": "Say what each ranking rule did."},
    }


def schemas() -> dict[str, Schema]:
    """Return every schema by name."""
    return {
        "Error": record({"error": record({"code": string("Stable, for programs."), "message": string("For people.")})}),
        "SearchRequest": _search_request(),
        "SearchResult": _search_result(),
        "Hit": _hit(),
        "NewRepo": _new_repo(),
        "Repo": record(_repo_properties()),
        "RepoDetails": _repo_details(),
        "SkippedFile": record(
            {
                "path": string(),
                "reason": string(enum=[reason.value for reason in SkipReason]),
                "explanation": string(),
                "detail": string(),
            }
        ),
        "Job": _job(),
        "Queued": record({"repo": string(), "job": reference("Job")}),
        "WebhookAnswer": record(
            {"job": integer("The job that looks, or has looked."), "ignored": string("Why there is none.")},
            optional=("job", "ignored"),
        ),
        "JobState": string(enum=[state.value for state in JobState]),
    }


def _search_request() -> Schema:
    properties = search_properties()
    for name in ("repo", "lang"):
        several = properties[name]
        one: Schema = {**several["items"]}
        properties[name] = {
            "description": several["description"],
            "anyOf": [one, {**several, "description": "Several."}, {"type": "null"}],
        }
    for name in ("path", "limit", "offset", "explain"):
        properties[name] = {**properties[name], "type": [properties[name]["type"], "null"]}
    properties["mode"] = {**properties["mode"], "type": ["string", "null"], "enum": [*properties["mode"]["enum"], None]}
    return record(properties, optional=tuple(name for name in properties if name != "q"), closed=True)


def _search_result() -> Schema:
    return record(
        {
            "query": string(),
            "took_ms": number("Time of the search itself."),
            "hits": array(reference("Hit")),
            "indexing": array(string(), description="Repositories whose first index still runs."),
            "outdated": array(string(), description="Repositories indexed with another model, so not searched."),
            "note": string("What to do about the outdated ones."),
            "truncated": {"type": "boolean", "description": "A scan stopped at its time limit or at too many matches."},
            "damaged": integer("Stored texts left out because they do not match their digest.", minimum=0),
            "matches": integer("Matches in all; exact and regex only.", minimum=0),
            "files": integer("Files with a match; exact and regex only.", minimum=0),
        },
        optional=("note", "matches", "files"),
    )


def _hit() -> Schema:
    match = array(integer(), minItems=3, maxItems=3)
    return record(
        {
            "repo": string(),
            "path": string("Relative to the repository's root."),
            "start_line": integer("1-based.", minimum=1),
            "end_line": integer("Inclusive.", minimum=1),
            "language": string(),
            "kind": string(enum=[kind.value for kind in FileKind]),
            "symbol": string("Dotted name of what the chunk defines or lies in."),
            "score": number("Comparable within one answer only."),
            "text": string(),
            "revision": string(),
            "url": string("Permalink at the forge, or a path on this server."),
            "matches": array(match, description="Line, first column, column after the last; exact and regex only."),
            "rules": {"type": "object", "additionalProperties": number(), "description": "With explain."},
        },
        optional=("matches", "rules"),
    )


def _new_repo() -> Schema:
    properties = {
        "source": string("Path or URL.", minLength=1, maxLength=4096),
        "name": {**string("What to call it; by default the last part of the path.", maxLength=255)},
        "ref": {**string("Branch, tag or commit; by default the one indexed before, or HEAD.", maxLength=255)},
        "webhook_secret": string(
            "What the forge signs this repository's webhooks with; never shown again.",
            minLength=MIN_SECRET_CHARS,
            maxLength=MAX_SECRET_CHARS,
        ),
    }
    optional = ("name", "ref", "webhook_secret")
    for name in optional:
        properties[name]["type"] = ["string", "null"]
    return record(properties, optional=optional, closed=True)


def _repo_properties() -> dict[str, Schema]:
    return {
        "name": string(),
        "kind": string(),
        "source": string("Without credentials."),
        "ref": string(),
        "revision": string('The live one, "" before the first index has ended.'),
        "files": integer(minimum=0),
        "chunks": integer(minimum=0),
        "created_at": number("Seconds since the epoch."),
        "indexed_at": {"type": ["number", "null"], "description": "Seconds since the epoch."},
        "state": string(enum=["indexed", "indexing", "not_indexed"]),
        "job": {
            "anyOf": [record({"id": integer(), "state": reference("JobState")}), {"type": "null"}],
            "description": "The job that is waiting or running.",
        },
    }


def _repo_details() -> Schema:
    return record(
        {
            **_repo_properties(),
            "skipped": {"type": "object", "additionalProperties": integer(), "description": "Files by reason."},
            "skipped_total": integer(minimum=0),
            "skipped_files": array(reference("SkippedFile")),
            "file": record(
                {
                    "path": string(),
                    "state": string(enum=["indexed", "skipped", "unknown"]),
                    "explanation": string(),
                },
                optional=("explanation",),
            ),
        },
        optional=("skipped_files", "file"),
    )


def _job() -> Schema:
    counts = ("files", "files_embedded", "files_indexed", "chunks", "embedded", "cached", "dead")
    return record(
        {
            "id": integer(),
            "repo": string(),
            "state": reference("JobState"),
            "revision": string(),
            "first": {"type": "boolean", "description": "The first index: its results appear while it runs."},
            "progress": record({name: integer(minimum=0) for name in counts}),
            "counts": {"type": "object", "description": "Figures of the run, once it has ended."},
            "error": string(),
            "created_at": number(),
            "finished_at": {"type": ["number", "null"]},
        }
    )
