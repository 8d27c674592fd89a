import json
import threading

import pytest

from services.api.app import create_app
from services.core.errors import QueueFull
from services.core.ledger import JobState
from services.core.model import Skipped, SkipReason
from tests.fakes_search import Index

SKIPPED = (
    Skipped("build", SkipReason.IGNORED),
    Skipped("logo.png", SkipReason.BINARY),
    Skipped("notes.bin", SkipReason.BINARY, "NUL in the first 8 KiB"),
)


@pytest.fixture
def index(tmp_path):
    index = Index(tmp_path)
    index.add("team/app", {"a.py": "x = 1\n"}, skipped=SKIPPED, source="https://user:secret@github.com/team/app")
    return index


@pytest.fixture
def client(index):
    app = create_app(
        index.searcher, jobs=index.jobs, catalog=index.catalog, ledger=index.ledger, event_streams=1, event_poll_s=0.01
    )
    return app.test_client()


def test_a_repository_to_index_gets_a_job(client, index):
    response = client.post("/v1/repos", json={"source": "/srv/new", "name": "new", "ref": "main"})

    assert response.status_code == 202
    assert response.json["repo"] == "new"
    assert response.json["job"]["state"] == "queued"
    assert response.headers["Location"] == f"/v1/jobs/{response.json['job']['id']}"
    assert index.jobs.submitted == [("/srv/new", "new", "main")]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"source": ""},
        {"source": 5},
        {"source": "a\0b"},
        {"source": "x" * 5000},
        {"source": "/x", "name": 5},
        {"source": "/x", "branch": "y"},
        {"source": "/x", "webhook_secret": "too-short"},
        {"source": "/x", "webhook_secret": "x" * 256},
        {"source": "/x", "webhook_secret": 1234567890123456},
        {"source": "/x", "webhook_secret": "a\0" * 16},
    ],
    ids=lambda body: str(body)[:30],
)
def test_a_repository_that_can_not_be_one_is_refused(client, index, body):
    response = client.post("/v1/repos", json=body)

    assert (response.status_code, response.json["error"]["code"]) == (400, "invalid_request")
    assert index.jobs.submitted == []


def test_a_repository_keeps_its_webhook_secret_and_shows_it_to_nobody(client, index):
    secret = "a-secret-of-24-character"

    answers = [client.post("/v1/repos", json={"source": "/srv/new", "webhook_secret": secret})]
    answers += [client.post("/v1/repos", json={"source": "/srv/new", "webhook_secret": None})]
    answers += [client.get(address) for address in ("/v1/repos", "/v1/repos/new", "/repos", "/repos/new")]

    assert index.catalog.get("new").webhook_secret == secret
    assert [answer.status_code for answer in answers] == [202, 202, 200, 200, 200, 200]
    assert not any(secret in answer.text for answer in answers)
    assert secret not in repr(index.catalog.get("new"))


def test_repositories_are_listed_without_credentials(client):
    client.post("/v1/repos", json={"source": "/srv/new"})

    new, app = client.get("/v1/repos").json["repos"]
    assert (new["name"], new["state"], new["job"]["state"]) == ("new", "indexing", "queued")
    assert (app["name"], app["state"], app["files"]) == ("team/app", "indexed", 1)
    assert app["source"] == "https://github.com/team/app"


def test_a_repository_says_what_was_skipped_and_why(client):
    plain = client.get("/v1/repos/team/app").json
    listed = client.get("/v1/repos/team/app?skipped=1&offset=1&limit=1").json

    assert plain["skipped"] == {"binary": 2, "ignored": 1}
    assert "skipped_files" not in plain
    assert [file["path"] for file in listed["skipped_files"]] == ["logo.png"]
    assert listed["skipped_files"][0]["explanation"]
    assert listed["skipped_total"] == 3


@pytest.mark.parametrize(
    ("path", "state", "reason"),
    [
        ("a.py", "indexed", None),
        ("./a.py", "indexed", None),
        ("notes.bin", "skipped", "binary"),
        ("build/out/x.js", "skipped", "ignored"),
        ("builder/x.js", "unknown", None),
    ],
)
def test_it_says_why_a_file_is_not_found(client, path, state, reason):
    file = client.get("/v1/repos/team/app", query_string={"path": path}).json["file"]

    assert (file["state"], file.get("reason")) == (state, reason)


@pytest.mark.parametrize(
    "name", ["nope", "..%2f..%2fetc", "%2e%2e/x", ";rm", "x" * 9000, "a%00b", "%FF", "team", "team/app/x", "'--"]
)
def test_a_repository_that_is_not_there_is_a_404(client, name):
    for response in (client.get(f"/v1/repos/{name}"), client.delete(f"/v1/repos/{name}")):
        assert (response.status_code, response.json["error"]["code"]) == (404, "not_found")


def test_a_repository_is_removed(client, index):
    response = client.delete("/v1/repos/team/app")

    assert (response.status_code, response.json) == (200, {"removed": "team/app"})
    assert client.get("/v1/repos/team/app").status_code == 404
    assert client.get("/v1/search?q=x").json["hits"] == []


def test_a_job_tells_its_progress_counts_and_error(client, index):
    job = index.ledger.jobs()[0]

    document = client.get(f"/v1/jobs/{job.id}").json

    assert document["state"] == "done"
    assert document["counts"] == {"files": 1}
    assert document["progress"]["files"] == document["progress"]["files_indexed"] == 1


@pytest.mark.parametrize("name", ["999", "-1", "abc", "9223372036854775807", "9223372036854775808", "1.5"])
def test_a_job_that_is_not_there_is_a_404(client, name):
    for address in (f"/v1/jobs/{name}", f"/v1/jobs/{name}/events"):
        response = client.get(address)
        assert (response.status_code, response.json["error"]["code"]) == (404, "not_found")


def test_a_failed_job_is_retried_and_others_are_not(client, index):
    job = index.ledger.create_job("team/app")
    too_early = client.post(f"/v1/jobs/{job.id}/retry")
    index.ledger.finish_job(job.id, JobState.FAILED, error="no such host")

    response = client.post(f"/v1/jobs/{job.id}/retry")

    assert (too_early.status_code, too_early.json["error"]["code"]) == (400, "invalid_request")
    assert (response.status_code, response.json["repo"]) == (202, "team/app")
    assert response.headers["Location"] == f"/v1/jobs/{response.json['job']['id']}"
    assert client.post("/v1/jobs/999/retry").status_code == 404
    assert client.post(f"/v1/jobs/{job.id}/retry", data={"a": "form"}).status_code == 415


def test_a_full_queue_says_when_to_come_again(client, index):
    def full(*_arguments):
        raise QueueFull("1000 jobs wait or run, the limit is 1000")

    index.jobs.submit = full

    response = client.post("/v1/repos", json={"source": "/srv/new"})

    assert (response.status_code, response.json["error"]["code"]) == (503, "queue_full")
    assert response.headers["Retry-After"] == "30"


def test_events_follow_a_job_to_its_end(client, index):
    job = index.ledger.create_job("team/app")
    stream = client.get(f"/v1/jobs/{job.id}/events").response
    first = next(iter(stream))
    index.ledger.finish_job(job.id, JobState.FAILED, error="no such host")

    rest = "".join(part.decode() if isinstance(part, bytes) else part for part in stream)

    assert first.startswith(b"event: progress\ndata: {")
    name, data = rest.strip().rpartition("event: ")[2].split("\ndata: ")
    assert name == "end"
    assert json.loads(data)["error"] == "no such host"


def test_streams_are_limited_and_a_closed_one_makes_room(client, index):
    job = index.ledger.create_job("team/app")
    held = client.get(f"/v1/jobs/{job.id}/events")

    refused = client.get(f"/v1/jobs/{job.id}/events")
    assert (refused.status_code, refused.json["error"]["code"]) == (503, "unavailable")
    assert refused.headers["Retry-After"] == "1"
    held.close()
    with client.get(f"/v1/jobs/{job.id}/events") as response:
        assert response.status_code == 200


def test_removing_and_indexing_at_once_never_fails(client, index):
    statuses = set()

    def work(i):
        for _ in range(5):
            if i % 2:
                statuses.add(
                    client.application.test_client().post("/v1/repos", json={"source": "/srv/new"}).status_code
                )
            else:
                statuses.add(client.application.test_client().delete("/v1/repos/new").status_code)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses <= {200, 202, 404}
