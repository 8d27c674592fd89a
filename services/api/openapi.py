"""The description of the HTTP API: OpenAPI 3.1."""

from functools import lru_cache
from typing import Any

from services.api.openapi_schemas import Schema, array, integer, record, reference, schemas, search_properties, string

_STATUSES = {
    400: "The request is invalid; the message says why.",
    401: "The webhook is not signed with the secret of a repository that is indexed here.",
    403: "The request comes from another site's page.",
    404: "What was named is not there.",
    413: "The body is too large.",
    415: "The body is of another type than those named here.",
    500: "Stored data is damaged, or Quarry has a bug; the log has it.",
    503: "Something needed does not answer now; try again.",
}


@lru_cache(maxsize=1)
def openapi() -> dict[str, Any]:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Quarry",
            "version": "1",
            "description": "Self-hosted semantic code search for a whole team.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "search", "description": "Ask."},
            {"name": "repositories", "description": "What is indexed, and what was left out and why."},
            {"name": "jobs", "description": "Indexing under way."},
            {"name": "webhooks", "description": "For forges: something was pushed."},
            {"name": "agents", "description": "For coding agents."},
            {"name": "operations", "description": "Health, metrics and this description."},
        ],
        "paths": _search_paths()
        | _repo_paths()
        | _job_paths()
        | _webhook_paths()
        | _agent_paths()
        | _operation_paths(),
        "components": {"schemas": schemas()},
    }


def _search_paths() -> dict[str, Any]:
    answers = {"200": _json("Hits, best first.", reference("SearchResult"))}
    parameters = [_query(name, schema, required=name == "q") for name, schema in search_properties().items()]
    return {
        "/v1/search": {
            "get": _operation(
                "search", "search", "Search", parameters=parameters, responses=answers | _errors(400, 404, 500, 503)
            ),
            "post": _operation(
                "searchByPost",
                "search",
                "Search, the request as JSON",
                requestBody=_body("SearchRequest"),
                responses=answers | _errors(400, 403, 404, 413, 415, 500, 503),
            ),
        }
    }


def _repo_paths() -> dict[str, Any]:
    repos = record({"repos": array(reference("Repo"))})
    removed = record({"removed": string()})
    details = [
        _query("skipped", {"type": "boolean", "description": "List the skipped files, a page at a time."}),
        _query("offset", integer("Skipped files to leave out first.", minimum=0, maximum=10**9)),
        _query("limit", integer("Skipped files to list, 100 by default.", minimum=1, maximum=1000)),
        _query("path", string("Say whether this file is indexed, and if not, why.", maxLength=4096)),
    ]
    name = _path("name", string("The repository's name; it may hold slashes.", minLength=1))
    return {
        "/v1/repos": {
            "get": _operation(
                "listRepos",
                "repositories",
                "List the repositories",
                responses={"200": _json("All of them.", repos)} | _errors(400, 500),
            ),
            "post": _operation(
                "indexRepo",
                "repositories",
                "Index a repository, or bring it up to date",
                requestBody=_body("NewRepo"),
                responses={"202": _json("A job will do it.", reference("Queued"))}
                | _errors(400, 403, 404, 413, 415, 500, 503),
            ),
        },
        "/v1/repos/{name}": {
            "parameters": [name],
            "get": _operation(
                "getRepo",
                "repositories",
                "Show a repository, what was left out of it, and why",
                parameters=details,
                responses={"200": _json("The repository.", reference("RepoDetails"))} | _errors(400, 404, 500),
            ),
            "delete": _operation(
                "removeRepo",
                "repositories",
                "Remove a repository from the index",
                responses={"200": _json("It is removed.", removed)} | _errors(400, 403, 404, 500, 503),
            ),
        },
    }


def _job_paths() -> dict[str, Any]:
    job = _path("id", integer("The job's number.", minimum=0, maximum=2**63 - 1))
    return {
        "/v1/jobs/{id}": {
            "parameters": [job],
            "get": _operation(
                "getJob",
                "jobs",
                "Show a job's state, progress and counts",
                responses={"200": _json("The job.", reference("Job"))} | _errors(404, 500),
            ),
        },
        "/v1/jobs/{id}/retry": {
            "parameters": [job],
            "post": _operation(
                "retryJob",
                "jobs",
                "Let a failed job go on",
                responses={"202": _json("A job will do it.", reference("Queued"))}
                | _errors(400, 403, 404, 415, 500, 503),
            ),
        },
        "/v1/jobs/{id}/events": {
            "parameters": [job],
            "get": _operation(
                "followJob",
                "jobs",
                "Follow a job: server-sent events named progress, and end at last",
                responses={"200": _text("Events, each with the job as JSON.", "text/event-stream")}
                | _errors(404, 500, 503),
            ),
        },
    }


def _webhook_paths() -> dict[str, Any]:
    event = {"type": "object", "description": "The event as the forge sends it, at most 25 MB."}
    form = record({"payload": string("The event as JSON.")})
    content = {"application/json": {"schema": event}, "application/x-www-form-urlencoded": {"schema": form}}
    forge = string("gitea is also for Forgejo.", enum=["github", "gitlab", "gitea"])
    return {
        "/v1/webhooks/{forge}": {
            "parameters": [_path("forge", forge)],
            "post": _operation(
                "webhook",
                "webhooks",
                "Tell that a repository has changed",
                description=(
                    "Signed with the repository's secret, or the one for all: `X-Hub-Signature-256` at GitHub, "
                    "`webhook-signature` or `X-Gitlab-Token` at GitLab, `X-Gitea-Signature` or `X-Forgejo-Signature` "
                    "at Gitea and Forgejo. A delivery with the id of an earlier one is answered like that one."
                ),
                requestBody={"required": True, "content": content},
                responses={
                    "200": _json("It came before, or was only a ping.", reference("WebhookAnswer")),
                    "202": _json(
                        "A job will look at the repository, or there is nothing to do.", reference("WebhookAnswer")
                    ),
                }
                | _errors(400, 401, 403, 404, 413, 415, 500, 503),
            ),
        }
    }


def _agent_paths() -> dict[str, Any]:
    message = {"type": "object", "description": "One JSON-RPC 2.0 message."}
    return {
        "/mcp": {
            "post": _operation(
                "mcp",
                "agents",
                "Model Context Protocol, streamable HTTP, stateless",
                requestBody={"required": True, "content": {"application/json": {"schema": message}}},
                responses={
                    "200": _json("The answer.", {"type": "object"}),
                    "202": {"description": "A notification was taken."},
                    "400": _json("Not a message, or another protocol version.", {"type": "object"}),
                }
                | _errors(403, 413, 415, 500),
            )
        }
    }


def _operation_paths() -> dict[str, Any]:
    status = _json("It is.", record({"status": string()}))
    return {
        "/healthz": {"get": _operation("health", "operations", "Is the process alive?", responses={"200": status})},
        "/readyz": {
            "get": _operation(
                "ready", "operations", "Can it answer searches?", responses={"200": status} | _errors(500, 503)
            )
        },
        "/metrics": {
            "get": _operation(
                "metrics",
                "operations",
                "Metrics for Prometheus",
                responses={"200": _text("Text format 0.0.4.", "text/plain")} | _errors(500, 503),
            )
        },
        "/openapi.json": {
            "get": _operation(
                "describe", "operations", "This document", responses={"200": _json("OpenAPI 3.1.", {"type": "object"})}
            )
        },
    }


def _operation(name: str, tag: str, summary: str, **more: Any) -> dict[str, Any]:
    return {"operationId": name, "tags": [tag], "summary": summary, **more}


def _query(name: str, schema: Schema, *, required: bool = False) -> dict[str, Any]:
    bare = {key: value for key, value in schema.items() if key != "description"}
    return {"name": name, "in": "query", "required": required, "description": schema["description"], "schema": bare}


def _path(name: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _body(name: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": reference(name)}}}


def _json(description: str, schema: Schema) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _text(description: str, media_type: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): _json(_STATUSES[status], reference("Error")) for status in statuses}
