"""A client of Quarry's HTTP API for tests, and waiting for what it is to say."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

from loadtest.webhook import push_event

LIMIT_S = 60.0
_POLL_S = 0.05
_ENDED = ("done", "failed", "superseded")


@dataclass(frozen=True)
class Answer:
    """What the API answered, whatever its status."""

    status: int
    headers: dict
    document: dict


class Client:
    """The API at an address."""

    def __init__(self, url):
        self.url = url
        self._opener = build_opener(ProxyHandler({}))

    def call(self, method, path, body=None, headers=None, *, timeout_s=30.0):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | (headers or {})
        request = Request(self.url + path, data, headers, method=method)
        try:
            with self._opener.open(request, timeout=timeout_s) as response:
                return Answer(response.status, dict(response.headers), json.load(response))
        except HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), json.load(error))

    def get(self, path):
        answer = self.call("GET", path)
        assert answer.status == 200, answer
        return answer.document

    def submit(self, source, name, **more):
        return self.call("POST", "/v1/repos", {"source": source, "name": name} | more)

    def index(self, source, name, **more):
        """Index a repository and return the job when it has ended."""
        answer = self.submit(source, name, **more)
        assert answer.status == 202, answer
        return self.ended(answer.document["job"]["id"])

    def ended(self, job_id, limit_s=LIMIT_S):
        """Return a job when it has ended."""
        return until(lambda: self._ended(job_id), f"job {job_id} has ended", limit_s)

    def done(self, job_id, limit_s=LIMIT_S):
        """Return a job when it has ended, as it should."""
        job = self.ended(job_id, limit_s)
        assert job["state"] == "done", job
        return job

    def repo(self, name, **parameters):
        return self.get(f"/v1/repos/{quote(name)}?{urlencode(parameters)}")

    def hits(self, query, **parameters):
        return self.get(f"/v1/search?{urlencode({'q': query, **parameters}, doseq=True)}")["hits"]

    def lines(self, word, repo, **parameters):
        """Return (path, line, revision) of every place where a repository has the word."""
        found = self.hits(word, repo=repo, mode="exact", limit=50, **parameters)
        return [(hit["path"], match[0], hit["revision"]) for hit in found for match in hit["matches"]]

    def push(self, forge, secret, url, before, after):
        """Announce a push in the words of a forge and return the answer."""
        body, headers = DELIVERIES[forge](secret, url, before, after)
        return self.call("POST", f"/v1/webhooks/{forge.partition('-')[0]}", body, headers)

    def events(self, job_id):
        """Return the events of a job's stream, (name, document), when it has ended."""
        request = Request(f"{self.url}/v1/jobs/{job_id}/events")
        with self._opener.open(request, timeout=LIMIT_S) as stream:
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            blocks = stream.read().decode().split("\n\n")
        pairs = [block.split("\n") for block in blocks if block.startswith("event: ")]
        return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]

    def _ended(self, job_id):
        job = self.get(f"/v1/jobs/{job_id}")
        return job if job["state"] in _ENDED else None


def until(condition, what, limit_s=LIMIT_S):
    """Return what `condition` returns as soon as that is true of it."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s: {what}"
        time.sleep(_POLL_S)
    return found


def _gitlab_push(url, before, after):
    project = {"git_http_url": url, "web_url": url.removesuffix(".git"), "default_branch": "main"}
    event = {"object_kind": "push", "ref": "refs/heads/main", "before": before, "after": after, "project": project}
    return json.dumps(event).encode()


def _by_token(secret, url, before, after):
    return _gitlab_push(url, before, after), {"X-Gitlab-Token": secret, "Idempotency-Key": str(uuid.uuid4())}


def _signed(secret, url, before, after):
    body, name, stamp = _gitlab_push(url, before, after), str(uuid.uuid4()), str(int(time.time()))
    signature = hmac.new(secret.encode(), f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest()
    encoded = base64.b64encode(signature).decode()
    return body, {"webhook-id": name, "webhook-timestamp": stamp, "webhook-signature": f"v1,{encoded}"}


def _gitea(secret, url, before, after):
    body, _ = push_event(secret, url, before, after)
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return body, {
        "X-Gitea-Event": "push",
        "X-Gitea-Delivery": str(uuid.uuid4()),
        "X-Gitea-Signature": signature,
    }


# By forge, and by how it proves who it is where it has two ways.
DELIVERIES = {"github": push_event, "gitlab-token": _by_token, "gitlab-signed": _signed, "gitea": _gitea}
