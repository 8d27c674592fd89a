"""`quarry index`, `search`, `status`, `repos` and `remove` on the server that ``QUARRY_URL`` names."""

import http.client
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

from services.cli.render import print_figures, print_hits, print_repos, print_status, progress_bar
from services.core.errors import ERRORS, InvalidRequest, QuarryError, Unavailable
from services.core.settings import Settings
from services.embedded.client import TIMEOUT_S, OwnerClient, OwnerGone, answer_of

_ENDED = ("done", "failed", "interrupted")
# Between looks at a job whose events can't be had; the server has few streams.
_POLL_S = 1.0
# A server that is being replaced is back by then.
_PATIENCE_S = 30.0
# As many as the server gives at once.
_PAGE = 1_000


class ServerClient(OwnerClient):
    """A server at an address, which may have a path, as behind a proxy.

    Raises:
        InvalidRequest: the address is not one.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise InvalidRequest(f"QUARRY_URL={url!r} is not an address like 'http://host:8080'")
        self._secure, self._address = parts.scheme == "https", parts.netloc
        self._prefix, self.who = parts.path.rstrip("/"), f"the server at {url!r}"

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection that is not opened yet."""
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return kind(self._address, timeout=TIMEOUT_S)

    def events(self, route: str) -> Iterator[dict[str, Any]]:
        """Yield the data of a stream of server-sent events until it ends, for whatever reason.

        Raises:
            QuarryError: the server refused.
        """
        connection = self.connection()
        try:
            connection.request("GET", self._prefix + route)
            response = connection.getresponse()
            if response.status >= 400:
                answer_of(response.status, response.read())
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))
        except (OSError, http.client.HTTPException, ValueError):
            # Whoever follows asks for the job itself, and hears then what is wrong.
            return
        finally:
            connection.close()

    def _ask(self, method: str, route: str, body: str | None = None) -> dict[str, Any]:
        try:
            return super()._ask(method, self._prefix + route, body)
        except OwnerGone as error:
            raise Unavailable(f"{self.who} does not answer: {error}; is it running, is QUARRY_URL right?") from error


def index(arguments: Namespace, _settings: Settings) -> int:
    """Index a repository there and print the figures of the run."""
    location = arguments.source
    if os.path.exists(location):
        location = os.path.realpath(location)
    body = {"source": location, "name": arguments.name, "ref": arguments.ref}
    client = _client()
    answer = client.post("/v1/repos", {key: value for key, value in body.items() if value is not None})
    with progress_bar(visible=sys.stderr.isatty()) as advance:
        for job in _followed(client, answer["job"]["id"]):
            advance(job["progress"])
    if job["state"] != "done":
        raise ERRORS.get(job["counts"].get("code", ""), QuarryError)(job["error"] or f"job was {job['state']}")
    counts = _figures(client, answer["repo"], job)
    if arguments.json:
        print(json.dumps(counts))
    else:
        print_figures(counts)
    return 0


def search(arguments: Namespace, _settings: Settings) -> int:
    """Search there and print the hits; finding nothing is no failure."""
    names = ("repo", "lang", "path", "mode", "limit", "explain")
    answer = _client().get("/v1/search", q=arguments.query, **{name: getattr(arguments, name) for name in names})
    if arguments.json:
        print(json.dumps(answer))
    else:
        print_hits(answer)
    return 0


def status(arguments: Namespace, _settings: Settings) -> int:
    """Show every repository there with what was left out of it and why, and the jobs in hand."""
    client = _client()
    names = [arguments.name] if arguments.name else [repo["name"] for repo in client.get("/v1/repos")["repos"]]
    repos = [_details(client, name, listed=arguments.skipped) for name in names]
    jobs = [client.get(f"/v1/jobs/{repo['job']['id']}") | {"repo": repo["name"]} for repo in repos if repo["job"]]
    document = {"server": os.environ["QUARRY_URL"], "repos": repos, "jobs": jobs}
    if arguments.json:
        print(json.dumps(document))
    else:
        print_status(document)
    return 0


def repos(arguments: Namespace, _settings: Settings) -> int:
    """List the repositories there."""
    document = _client().get("/v1/repos")
    if arguments.json:
        print(json.dumps(document))
    else:
        print_repos(document["repos"])
    return 0


def remove(arguments: Namespace, _settings: Settings) -> int:
    """Remove a repository from the index there."""
    _client().delete(_route(arguments.name))
    print(json.dumps({"removed": arguments.name}) if arguments.json else f"removed {arguments.name}")
    return 0


def _client() -> ServerClient:
    return ServerClient(os.environ["QUARRY_URL"])


def _route(name: str) -> str:
    return f"/v1/repos/{quote(name, safe='', errors='surrogateescape')}"


def _followed(client: ServerClient, job_id: int) -> Iterator[dict[str, Any]]:
    """Yield a job whenever it has changed, until it has ended; a server that is away for a while is waited for."""
    deadline = None
    while True:
        try:
            for job in _reports(client, job_id):
                deadline = None
                yield job
                if job["state"] in _ENDED:
                    return
                if job["counts"].get("successor", job_id) != job_id:
                    job_id = job["counts"]["successor"]
                    break
        except Unavailable:
            deadline = deadline or time.monotonic() + _PATIENCE_S
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL_S)


def _reports(client: ServerClient, job_id: int) -> Iterator[dict[str, Any]]:
    """Yield what the events of a job say for as long as they come, and then the job itself."""
    # All streams that the server gives at once may be taken.
    with suppress(Unavailable):
        yield from client.events(f"/v1/jobs/{job_id}/events")
    yield client.get(f"/v1/jobs/{job_id}")


def _details(client: ServerClient, name: str, *, listed: bool) -> dict[str, Any]:
    """Return a repository with what was skipped, each file of it if `listed`."""
    document = client.get(_route(name), **({"skipped": "true", "limit": _PAGE} if listed else {}))
    while listed and len(document["skipped_files"]) < document["skipped_total"]:
        more = client.get(_route(name), skipped="true", limit=_PAGE, offset=len(document["skipped_files"]))
        if not more["skipped_files"]:
            break
        document["skipped_files"] += more["skipped_files"]
    return document


def _figures(client: ServerClient, name: str, job: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a run; a server of several machines leaves those of time to whoever asks."""
    seconds = max(job["finished_at"] - job["created_at"], 0.001)
    revision = job["revision"] or client.get(_route(name))["revision"]
    rate = round(job["counts"]["changed"] / seconds, 1)
    counts: dict[str, Any] = job["counts"]
    return {"repo": name, "revision": revision, "seconds": round(seconds, 3), "files_per_s": rate} | counts
