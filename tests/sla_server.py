"""A server that answers the load generator as Quarry would, or badly in one chosen way."""

import itertools
import json
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import parse_qs

from loadtest.webhook import signature
from services.embedded.server import listen

SECRET = "fake-secret"
DELAY_S = 0.15
_LANGUAGES = {"py": "python", "go": "go", "ts": "typescript", "java": "java", "rs": "rust"}
_PROGRESS = ("files", "files_embedded", "files_indexed", "chunks", "embedded", "cached", "dead")


class FakeQuarry:
    """Finds the whole files that hold what is asked for.

    `faults` says by search mode what is wrong with it: slow, serial (slow, and one at a time), wrong (a text that is
    none of the file's), odd (a field is missing), lost (nothing is found), refusing (503). A `stale` one stays as it
    was when something is indexed again.
    """

    def __init__(self, faults=None, *, stale=False):
        self.repos = {}
        self.sources = {}
        self.faults = faults or {}
        self.stale = stale
        self.signed = []
        self._jobs = itertools.count(1)
        self._turn = threading.Lock()

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        parameters = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
        status, answer = self._route(environ, parameters, body)
        data = json.dumps(answer).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
        return [data]

    def _route(self, environ, parameters, body):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path == "/v1/search":
            fault = self.faults.get(parameters.get("mode", "hybrid"), "")
            if fault == "refusing":
                return "503 Service Unavailable", {"error": {"code": "unavailable", "message": "full"}}
            return "200 OK", self._search(parameters, fault)
        if path == "/v1/webhooks/github":
            return self._pushed(environ["HTTP_X_HUB_SIGNATURE_256"], body)
        if path == "/v1/repos" and method == "POST":
            wanted = json.loads(body)
            self._index(wanted["name"], wanted["source"])
            return "202 Accepted", {"repo": wanted["name"], "job": self._job(next(self._jobs), wanted["name"])}
        if path == "/v1/repos":
            return "200 OK", {"repos": []}
        if method == "DELETE":
            del self.repos[path.rpartition("/")[2]]
            return "200 OK", {"removed": path.rpartition("/")[2]}
        return "200 OK", self._job(int(path.rpartition("/")[2]), "")

    def _search(self, parameters, fault):
        with self._turn if fault == "serial" else nullcontext():
            time.sleep(DELAY_S if fault in ("slow", "serial") else 0)
        # What is asked in words begins with a phrase of the file; all else stands there as it is asked for.
        wanted = parameters["q"].partition(": ")[0]
        hits = [
            self._hit(repo, path, text, fault)
            for repo, files in list(self.repos.items())
            for path, text in files.items()
            if wanted in text and parameters.get("repo", repo) == repo
        ]
        answer = {"query": parameters["q"], "took_ms": 1.0, "indexing": [], "outdated": [], "truncated": False}
        matches = sum(hit["text"].count(parameters["q"]) for hit in hits)
        answer |= {"damaged": 0, "hits": [] if fault == "lost" else hits[:10]}
        return answer | ({"matches": matches, "files": len(hits)} if parameters.get("mode") == "exact" else {})

    def _hit(self, repo, path, text, fault):
        hit = {"repo": repo, "path": path, "start_line": 1, "end_line": text.count("\n") + 1, "kind": "code"}
        hit |= {"language": _LANGUAGES[path.rpartition(".")[2]], "symbol": "", "score": 1.0, "revision": "0" * 40}
        hit |= {"url": "/", "text": "something else" if fault == "wrong" else text}
        if fault == "odd":
            del hit["score"]
        return hit

    def _pushed(self, signed, body):
        if signed != signature(SECRET, body):
            return "401 Unauthorized", {"error": {"code": "unauthorized", "message": "bad signature"}}
        address = json.loads(body)["repository"]["clone_url"]
        self.signed.append(address)
        self._index(self.sources[address], address)
        return "202 Accepted", {}

    def _index(self, name, source):
        if self.stale and name in self.repos:
            return
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["git", "clone", "-q", "--depth=1", source, folder], check=True, capture_output=True)
            self.repos[name] = {
                str(path.relative_to(folder)): path.read_text()
                for path in Path(folder).rglob("*.*")
                if path.is_file() and ".git" not in path.parts
            }
        self.sources[source] = name

    def _job(self, number, repo):
        job = {"id": number, "repo": repo, "state": "done", "revision": "0" * 40, "first": False, "error": ""}
        return job | {"progress": dict.fromkeys(_PROGRESS, 0), "counts": {}, "created_at": 0.0, "finished_at": 1.0}


@contextmanager
def serving(app):
    """Serve a WSGI application on loopback; yields its address."""
    server = listen(app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()
        thread.join()
