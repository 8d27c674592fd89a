"""Another model in the distributed mode: indexed for beside the old one, until an API of its own finds as much."""

import threading
import uuid

import pytest

from tests.api_client import Client, until
from tests.oracle import Oracle
from tests.servers import free_port

FILES = {
    "retry.py": "def fetch_again(call, attempts):\n    while attempts:\n        attempts -= 1\n",
    "dates.py": "def parse_iso_date(text):\n    return datetime.fromisoformat(text)\n",
    "walk.py": "def walk_tree(folder):\n    for entry in scandir(folder):\n        yield entry\n",
}


@pytest.fixture
def api(stack, api):
    """The API of an empty stack, which is left with the model and the processes it had."""
    oracle = Oracle(stack.environment)
    _remove_all(api, oracle)
    yield api
    _remove_all(api, oracle)
    for name in {"embedder-2", "web-2"} & stack.processes.keys():
        stack.kill(name)
        del stack.processes[name]
    for name in ("embedder", "sweeper"):
        stack.kill(name)
        stack.run(name)
    stack.wait_until_ready("embedder")
    # The alias goes back with the API, which then finds as much as there is: nothing.
    stack.kill("web")
    stack.run("web")
    stack.wait_until_ready("web")


def _remove_all(api, oracle):
    for repo in api.get("/v1/repos")["repos"]:
        assert api.call("DELETE", f"/v1/repos/{repo['name']}").status == 200
        until(lambda name=repo["name"]: oracle.count(name) == 0, "its points are gone")


class Poller:
    """Asks one question again and again; `answers` are its statuses and paths."""

    def __init__(self, url, path):
        self._client, self._path = Client(url), path
        self.answers, self._stop = [], threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self.answers

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.is_set():
            answer = self._client.call("GET", self._path)
            self.answers.append((answer.status, tuple(hit["path"] for hit in answer.document.get("hits", ()))[:1]))


def test_another_model_takes_over_without_a_gap(stack, api, forge, triton):
    name = f"repo-{uuid.uuid4().hex[:8]}"
    forge.commit(name, FILES)
    api.index(forge.url(name), name)
    model = {"QUARRY_EMBEDDER": "triton", "QUARRY_TRITON_URL": triton.url, "QUARRY_PORT": str(free_port())}
    new = Client(f"http://127.0.0.1:{model['QUARRY_PORT']}")
    before = triton.metrics().get("nv_inference_request_success", 0)
    question = f"/v1/search?q=parse_iso_date&repo={name}"

    with Poller(stack.url, question) as answers:
        stack.run("embedder-2", model, kind="embedder")
        stack.run("web-2", model, kind="web")
        stack.wait_until_ready("embedder-2")
        stack.terminate("embedder")
        until(lambda: "1 of 1 repositories are not indexed for" in _readiness(new), "the new API waits for an index")
        stack.terminate("sweeper")
        stack.run("sweeper", {"QUARRY_POLL_S": "1"})
        stack.wait_until_ready("web-2")

    assert set(answers) == {(200, ("dates.py",))}
    found = new.get(f"/v1/search?q=call+the+server+again+when+it+fails&mode=semantic&repo={name}")
    assert found["hits"][0]["path"] == "retry.py"
    assert triton.metrics()["nv_inference_request_success"] > before
    oracle = Oracle(stack.environment)
    until(lambda: oracle.is_settled([name]), "it is cleaned up")
    assert oracle.check([name]).problems == []


def _readiness(client):
    """Return why an API is not ready, "" if it is or does not answer."""
    try:
        return client.call("GET", "/readyz").document.get("error", {}).get("message", "")
    except OSError:
        return ""
