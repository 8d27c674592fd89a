"""`/v1/repos` and `/v1/jobs`: what is indexed, what was left out and why, and what is under way."""

from typing import Any

from flask import Blueprint, Response, request, url_for

from services.api.events import job_events
from services.api.jobs import explain_path, job_document, repo_document, skipped_document
from services.api.parameters import bounded, query_parameters, switch
from services.api.request import check_text
from services.api.services import Services
from services.api.strict_json import parse_object
from services.api.webhook_signatures import MAX_SECRET_CHARS, MIN_SECRET_CHARS
from services.core.errors import InvalidRequest, Unavailable
from services.core.ledger import Job

_MAX_SOURCE_CHARS = 4_096
_MAX_NAME_CHARS = 255
_MAX_PATH_CHARS = 4_096
_PAGE = 100
_MAX_PAGE = 1_000
# SQLite's integers; a larger number can't be a job's.
_JOB = "<int(max=9223372036854775807):job_id>"


def repo_views(services: Services) -> Blueprint:
    """Return the routes."""
    views = Blueprint("repos", __name__)

    @views.post("/v1/repos")
    def submit() -> tuple[dict[str, Any], int, dict[str, str]]:
        source, name, ref, secret = _submission(parse_object(request.get_data()))
        job = services.ledger.job(services.jobs.submit(source, name, ref))
        if secret is not None:
            services.catalog.set_secret(job.repo, secret)
        return _queued(services, job)

    @views.get("/v1/repos")
    def repos() -> dict[str, Any]:
        query_parameters(())
        open_jobs = services.open_jobs()
        return {"repos": [repo_document(repo, open_jobs.get(repo.name)) for repo in services.catalog.list()]}

    @views.get("/v1/repos/<path:name>")
    def repo(name: str) -> dict[str, Any]:
        return repo_details(services, name)

    @views.delete("/v1/repos/<path:name>")
    def remove(name: str) -> dict[str, Any]:
        services.jobs.remove(name)
        return {"removed": name}

    @views.get(f"/v1/jobs/{_JOB}")
    def job(job_id: int) -> dict[str, Any]:
        return job_document(services.ledger.job(job_id), services.ledger.progress(job_id))

    @views.post(f"/v1/jobs/{_JOB}/retry")
    def retry(job_id: int) -> tuple[dict[str, Any], int, dict[str, str]]:
        return _queued(services, services.ledger.job(services.jobs.retry(job_id)))

    @views.get(f"/v1/jobs/{_JOB}/events")
    def events(job_id: int) -> Response:
        services.ledger.job(job_id)
        if not services.streams.acquire(blocking=False):
            raise Unavailable("too many event streams are open; ask for the job itself instead")
        response = Response(job_events(services.ledger, job_id, poll_s=services.poll_s), mimetype="text/event-stream")
        response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        response.call_on_close(services.streams.release)
        return response

    return views


def repo_details(services: Services, name: str) -> dict[str, Any]:
    """Return a repository with what was left out of it, as the query string asks.

    Raises:
        NotFound: there is none of that name.
    """
    values = query_parameters(("skipped", "offset", "limit", "path"))
    offset = bounded(values, "offset", 0, 0, 10**9)
    limit = bounded(values, "limit", _PAGE, 1, _MAX_PAGE)
    listed = switch(values, "skipped")
    repo = services.catalog.get(name)
    manifest = services.searcher.live.manifest(repo)
    document = repo_document(repo, services.open_jobs().get(name))
    document["skipped"] = manifest.skip_counts() if manifest else {}
    skipped = manifest.skipped if manifest else ()
    document["skipped_total"] = len(skipped)
    if listed:
        document["skipped_files"] = [skipped_document(each) for each in skipped[offset : offset + limit]]
    if "path" in values:
        document["file"] = explain_path(manifest, check_text("path", values["path"], _MAX_PATH_CHARS))
    return document


def _queued(services: Services, job: Job) -> tuple[dict[str, Any], int, dict[str, str]]:
    document = job_document(job, services.ledger.progress(job.id))
    return {"repo": job.repo, "job": document}, 202, {"Location": url_for("repos.job", job_id=job.id)}


def _submission(body: dict[str, Any]) -> tuple[str, str | None, str | None, str | None]:
    unknown = body.keys() - {"source", "name", "ref", "webhook_secret"}
    if unknown:
        raise InvalidRequest(f"unknown key {sorted(unknown)[0][:40]!r}; use source, name, ref and webhook_secret")
    if "source" not in body:
        raise InvalidRequest("'source' is missing; give the path or URL of a repository")
    source = check_text("source", body["source"], _MAX_SOURCE_CHARS)
    if not source.strip():
        raise InvalidRequest("'source' is empty; give the path or URL of a repository")
    name, ref = (
        None if body.get(key) is None else check_text(key, body[key], _MAX_NAME_CHARS) for key in ("name", "ref")
    )
    return source, name, ref, _secret(body.get("webhook_secret"))


def _secret(value: Any) -> str | None:
    if value is None:
        return None
    secret = check_text("webhook_secret", value, MAX_SECRET_CHARS)
    if len(secret) < MIN_SECRET_CHARS:
        raise InvalidRequest(f"webhook_secret is too short; use at least {MIN_SECRET_CHARS} random characters")
    return secret
