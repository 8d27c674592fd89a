"""Claims about deliveries of webhooks: that none does harm, however it is packed and however often it comes."""

import json
from urllib.parse import quote_plus

import pytest

from services.api.webhooks import MAX_BODY_BYTES
from services.core.database import open_database
from services.core.deliveries import Deliveries
from services.core.errors import QueueFull
from tests.unit.webhook_senders import (
    BODY,
    OTHER,
    SECRET,
    github,
    gitlab,
    project,
    push,
    refused,
    sign,
)


@pytest.mark.parametrize("forge", ["github", "gitea"])
def test_a_form_is_taken_as_each_forge_signs_it(client, index, forge):
    payload = json.dumps(push(note="ü &=+%")).encode()
    body = b"payload=" + quote_plus(payload).encode()
    # GitHub signs the body as it is, Gitea and Forgejo the field.
    headers = {
        "github": {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={sign(SECRET, body)}"},
        "gitea": {"X-Gitea-Event": "push", "X-Gitea-Signature": sign(SECRET, payload)},
    }[forge]

    kind = "application/x-www-form-urlencoded"
    response = client.post(f"/v1/webhooks/{forge}", data=body, headers=headers, content_type=kind)
    damaged = client.post(f"/v1/webhooks/{forge}", data=body + b"x", headers=headers, content_type=kind)

    assert response.status_code == 202
    assert damaged.status_code == 401
    assert index.jobs.looked == ["app"]


@pytest.mark.parametrize("body", [b"", b"payload=", b"other=1", b"payload=%ff", b"&" * 100, b"\xff=1", b"payload={}"])
def test_a_form_without_an_event_is_refused(client, body):
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={sign(SECRET, body)}"}

    response = client.post(
        "/v1/webhooks/github", data=body, headers=headers, content_type="application/x-www-form-urlencoded"
    )

    assert refused(response) == (401, "unauthorized")


def test_a_delivery_that_comes_again_is_answered_with_the_same_job(client, index):
    first = github(client, push(), delivery="d-1")
    again = github(client, push(), delivery="d-1")
    other_body = github(client, push(after="c" * 40), delivery="d-1")

    assert (first.status_code, again.status_code, other_body.status_code) == (202, 200, 200)
    assert first.json == again.json == other_body.json
    assert index.jobs.looked == ["app"]


def test_a_delivery_that_meant_nothing_is_not_remembered_as_a_job(client, index):
    github(client, push("refs/heads/topic"), delivery="d-1")

    again = github(client, push("refs/heads/topic"), delivery="d-1")

    assert (again.status_code, again.json) == (200, {"ignored": "came before"})
    assert index.jobs.looked == []


def test_a_new_delivery_of_the_same_body_is_another_look(client, index):
    assert github(client, push(), delivery="d-1").status_code == 202
    assert github(client, push(), delivery="d-2").status_code == 202
    assert index.jobs.looked == ["app", "app"]


def test_delivery_ids_of_different_forges_are_different(client, index):
    github(client, push(), delivery="d-1")
    gitlab(
        client, {"object_kind": "push", "ref": "refs/heads/main", "project": project()}, headers={"webhook-id": "d-1"}
    )

    assert index.jobs.looked == ["app", "app"]


def test_a_replay_without_the_secret_finds_out_nothing(client):
    github(client, push(), delivery="d-1")

    assert github(client, push(), delivery="d-1", secret=OTHER).status_code == 401


def test_order_does_not_matter_because_no_delivery_says_what_is_there(client, index):
    for commit in "acb":
        assert github(client, push(after=commit * 40), delivery=commit).status_code == 202

    # Each is a look at the tip that is there then; the revision comes from the repository.
    assert index.jobs.looked == ["app"] * 3
    assert all(job.revision == "" for job in index.ledger.jobs())


def test_a_full_queue_asks_the_forge_to_come_again_and_then_takes_the_delivery(client, index):
    def full(name):
        raise QueueFull("1000 jobs wait or run")

    look, index.jobs.look = index.jobs.look, full
    turned_away = github(client, push(), delivery="d-1")
    index.jobs.look = look
    taken = github(client, push(), delivery="d-1")

    assert refused(turned_away) == (503, "queue_full")
    assert int(turned_away.headers["Retry-After"]) >= 10
    assert taken.status_code == 202
    assert index.jobs.looked == ["app"]


def test_a_delivery_without_an_id_is_acted_on_each_time(client, index):
    for _ in range(2):
        assert github(client, push()).status_code == 202
    assert index.jobs.looked == ["app", "app"]


@pytest.mark.parametrize("url", ["sqlite", "postgresql"])
def test_the_first_record_of_a_delivery_stays_until_it_is_forgotten(request, tmp_path, url):
    where = request.getfixturevalue("postgres_url") if url == "postgresql" else tmp_path / "quarry.db"
    engine = open_database(where)
    deliveries = Deliveries(engine)
    deliveries.record("github:d-1", 7)
    deliveries.record("github:d-1", 8)

    assert deliveries.job("github:d-1") == 7
    assert deliveries.job("github:d-2") is None
    assert deliveries.forget() == 0
    assert deliveries.forget(older_than_s=-1) == 1
    assert deliveries.job("github:d-1") is None
    engine.dispose()


def test_a_body_of_25_megabytes_is_taken_here_and_nowhere_else(client, index):
    payload = push(commits=[{"message": "x" * (MAX_BODY_BYTES - 2000)}])
    too_large = push(commits=[{"message": "x" * MAX_BODY_BYTES}])

    assert github(client, payload).status_code == 202
    assert refused(github(client, too_large)) == (413, "too_large")
    assert client.post("/v1/repos", data=b" " * 200_000, content_type="application/json").status_code == 413


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/xml", ""])
def test_other_types_of_body_are_refused(client, kind):
    response = client.post("/v1/webhooks/github", data=BODY, content_type=kind)

    assert refused(response) == (415, "unsupported_media_type")


def test_a_form_is_taken_nowhere_else(client):
    response = client.post("/v1/repos", data={"source": "/srv/app"})

    assert response.status_code == 415


@pytest.mark.parametrize("forge", ["bitbucket", "GITHUB", "", "github/x"])
def test_other_forges_have_no_address(client, forge):
    response = client.post(f"/v1/webhooks/{forge}", data=BODY, content_type="application/json")

    assert response.status_code == 404


def test_webhooks_are_counted_by_what_came_of_them(client):
    github(client, push(), delivery="d-1")
    github(client, push(), delivery="d-1")
    github(client, push("refs/heads/topic"))
    github(client, push(), secret=OTHER)

    text = client.get("/metrics").text

    for outcome in ("queued", "repeated", "ignored", "unauthorized"):
        assert f'quarry_webhooks_total{{forge="github",outcome="{outcome}"}} 1.0' in text


def test_no_answer_and_no_metric_holds_a_secret(client, caplog):
    github(client, push(), secret=OTHER)
    github(client, push())

    shown = client.get("/metrics").text + client.get("/v1/repos").text + client.get("/v1/repos/app").text + caplog.text
    assert SECRET not in shown
    assert OTHER not in shown
