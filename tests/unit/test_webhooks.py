"""Claims about webhooks: whom they are taken from, what they make happen, and that no delivery does harm."""

import base64
import gzip
import hashlib
import hmac
import json
import time
from urllib.parse import quote_plus

import pytest
from werkzeug.datastructures import Headers

from services.api.app import create_app
from services.api.webhook_events import read_event
from services.api.webhook_signatures import is_signed
from services.api.webhooks import MAX_BODY_BYTES, open_delivery
from services.core.database import open_database
from services.core.deliveries import Deliveries
from services.core.errors import QueueFull
from tests.fakes_search import Index

SECRET, OTHER, SHARED = "the-secret-of-app", "the-secret-of-other", "the-secret-of-all"
URL = "https://forge.example/team/app.git"
NOW = 1_700_000_000.0
ZERO = "0" * 40


def sign(secret, body):
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def standard(secret, body, *, sent=None, message="msg_1"):
    """Headers of GitLab's signed form."""
    sent = int(time.time() if sent is None else sent)
    signed = hmac.new(secret.encode(), f"{message}.{sent}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message,
        "webhook-timestamp": str(sent),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


@pytest.fixture
def index(tmp_path):
    index = Index(tmp_path)
    index.catalog.add("app", "url", URL, "")
    index.catalog.set_secret("app", SECRET)
    return index


@pytest.fixture
def serve(index):
    def client(**options):
        app = create_app(
            index.searcher,
            jobs=index.jobs,
            catalog=index.catalog,
            ledger=index.ledger,
            **{"deliveries": Deliveries(index.engine), **options},
        )
        return app.test_client()

    return client


@pytest.fixture
def client(serve):
    return serve()


def repository(path="team/app", **more):
    urls = {"clone_url": f"https://forge.example/{path}.git", "ssh_url": f"git@forge.example:{path}.git"}
    urls |= {"html_url": f"https://forge.example/{path}", "full_name": path, "default_branch": "main"}
    return urls | more


def project(path="team/app", **more):
    urls = {"git_http_url": f"https://forge.example/{path}.git", "git_ssh_url": f"git@forge.example:{path}.git"}
    return urls | {"web_url": f"https://forge.example/{path}", "default_branch": "main"} | more


def push(ref="refs/heads/main", **more):
    return {"ref": ref, "before": "a" * 40, "after": "b" * 40, "repository": repository(), **more}


def github(client, payload, *, secret=SECRET, event="push", delivery="", headers=None, body=None):
    body = json.dumps(payload).encode() if body is None else body
    signed = {"X-GitHub-Event": event, "X-Hub-Signature-256": f"sha256={sign(secret, body)}"}
    signed |= {"X-GitHub-Delivery": delivery} if delivery else {}
    return client.post(
        "/v1/webhooks/github", data=body, headers=signed | (headers or {}), content_type="application/json"
    )


def gitlab(client, payload, *, secret=SECRET, headers=None):
    return client.post("/v1/webhooks/gitlab", json=payload, headers={"X-Gitlab-Token": secret} | (headers or {}))


def gitea(client, payload, *, secret=SECRET, event="push", name="Gitea"):
    body = json.dumps(payload).encode()
    headers = {f"X-{name}-Event": event, f"X-{name}-Signature": sign(secret, body)}
    return client.post("/v1/webhooks/gitea", data=body, headers=headers, content_type="application/json")


def refused(response):
    return response.status_code, response.json["error"]["code"]


@pytest.mark.parametrize(
    ("forge", "secret", "body", "headers", "now"),
    [
        # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
        (
            "github",
            "It's a Secret to Everybody",
            b"Hello, World!",
            {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
            NOW,
        ),
        # https://github.com/standard-webhooks/standard-webhooks, which GitLab's signed form follows
        (
            "gitlab",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            b'{"test": 2432232314}',
            {
                "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "webhook-timestamp": "1614265330",
                "webhook-signature": "v1,bm9wZQ== v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            },
            1614265330.0,
        ),
        # RFC 4231, test case 2, as bare hex
        (
            "gitea",
            "Jefe",
            b"what do ya want for nothing?",
            {"X-Gitea-Signature": "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
            NOW,
        ),
    ],
)
def test_published_examples_verify_and_nothing_near_them_does(forge, secret, body, headers, now):
    def signed(body=body, secret=secret, headers=headers):
        return is_signed(open_delivery(forge, Headers(headers), body, form=False), secret, now)

    assert signed()
    assert not signed(body=body + b" ")
    assert not signed(secret=f"{secret}x")
    for name in headers:
        assert not signed(headers={key: value for key, value in headers.items() if key != name})
        assert not signed(headers=headers | {name: headers[name][:-1]})


BODY = json.dumps(push()).encode()
PROOF = sign(SECRET, BODY)
PROOFS = [
    ("github", {"X-Hub-Signature-256": f"sha256={PROOF}"}, True),
    ("github", {}, False),
    ("github", {"X-Hub-Signature": f"sha1={hmac.new(SECRET.encode(), BODY, hashlib.sha1).hexdigest()}"}, False),
    ("github", {"X-Hub-Signature-256": PROOF}, False),
    ("github", {"X-Hub-Signature-256": f"sha1={PROOF}"}, False),
    ("github", {"X-Hub-Signature-256": f"SHA256={PROOF}"}, False),
    ("github", {"X-Hub-Signature-256": f"sha256={PROOF.upper()}"}, False),
    ("github", {"X-Hub-Signature-256": f"sha256={PROOF[:32]}"}, False),
    ("github", {"X-Hub-Signature-256": f"sha256={PROOF},sha256={PROOF}"}, False),
    ("github", {"X-Hub-Signature-256": ""}, False),
    ("github", {"X-Hub-Signature-256": "sha256="}, False),
    ("github", {"X-Hub-Signature-256": f"sha256=\xff{PROOF}"}, False),
    ("github", {"X-Hub-Signature-256": f"sha256={sign(SECRET, json.dumps(push(), indent=1).encode())}"}, False),
    ("github", {"X-Hub-Signature-256": f"sha256={sign('', BODY)}"}, False),
    ("github", {"X-Gitea-Signature": PROOF}, False),
    ("github", {"X-Gitlab-Token": SECRET}, False),
    ("gitea", {"X-Gitea-Signature": PROOF}, True),
    ("gitea", {"X-Forgejo-Signature": PROOF}, True),
    ("gitea", {"X-Forgejo-Signature": PROOF, "X-Gitea-Signature": "0" * 64}, True),
    ("gitea", {"X-Forgejo-Signature": "0" * 64, "X-Gitea-Signature": PROOF}, False),
    ("gitea", {"X-Forgejo-Signature": "", "X-Gitea-Signature": PROOF}, False),
    ("gitea", {"X-Gitea-Signature": f"sha256={PROOF}"}, False),
    ("gitea", {"X-Gitea-Signature": PROOF.upper()}, False),
    ("gitea", {"X-Hub-Signature-256": f"sha256={PROOF}"}, False),
    ("gitlab", {"X-Gitlab-Token": SECRET}, True),
    ("gitlab", {"X-Gitlab-Token": SECRET[:-1]}, False),
    ("gitlab", {"X-Gitlab-Token": SECRET.upper()}, False),
    ("gitlab", {"X-Gitlab-Token": ""}, False),
    ("gitlab", {}, False),
    ("gitlab", standard(SECRET, BODY, sent=NOW), True),
    ("gitlab", standard(SECRET, BODY, sent=NOW - 299), True),
    ("gitlab", standard(SECRET, BODY, sent=NOW + 299), True),
    ("gitlab", standard(SECRET, BODY, sent=NOW - 301), False),
    ("gitlab", standard(SECRET, BODY, sent=NOW + 301), False),
    ("gitlab", standard(SECRET, BODY, sent=NOW) | {"webhook-timestamp": str(int(NOW) + 1)}, False),
    ("gitlab", standard(SECRET, BODY, sent=NOW) | {"webhook-timestamp": "now"}, False),
    ("gitlab", standard(SECRET, BODY, sent=NOW) | {"webhook-timestamp": "9" * 5000}, False),
    ("gitlab", standard(SECRET, BODY, sent=NOW) | {"webhook-id": "msg_2"}, False),
    ("gitlab", standard(OTHER, BODY, sent=NOW) | {"X-Gitlab-Token": SECRET}, False),
    ("gitlab", {"X-Hub-Signature-256": f"sha256={PROOF}"}, False),
]


@pytest.mark.parametrize(("forge", "headers", "taken"), PROOFS)
def test_a_proof_is_exactly_what_the_forge_sends(forge, headers, taken):
    delivery = open_delivery(forge, Headers(headers), BODY, form=False)

    assert is_signed(delivery, SECRET, NOW) is taken
    assert not is_signed(delivery, f"{SECRET}x", NOW)


def test_what_is_not_proven_is_refused_and_makes_nothing_happen(client, index):
    for forge, headers in [(forge, headers) for forge, headers, taken in PROOFS if not taken]:
        response = client.post(f"/v1/webhooks/{forge}", data=BODY, headers=headers, content_type="application/json")
        assert refused(response) == (401, "unauthorized")
    assert index.jobs.looked == []


def test_whoever_can_not_sign_learns_nothing(serve, index):
    index.catalog.add("open", "url", "https://forge.example/team/open.git", "")
    client = serve()
    answers = {
        "wrong signature": github(client, push(), secret="guessed-by-somebody"),
        "no secret": github(client, push(repository=repository("team/open")), secret=""),
        "unknown": github(client, push(repository=repository("team/unknown"))),
        "no repository": github(client, {}),
        "secret of another": github(client, push(), secret=OTHER),
        "no JSON": github(client, None, body=b"{"),
        "a bomb": github(client, None, body=b"[" * 300_000),
        "deep": github(client, None, body=b"[" * 100_000),
        "not UTF-8": github(client, None, body=b"\xff\xfe"),
        "packed": github(client, None, body=gzip.compress(BODY), headers={"Content-Encoding": "gzip"}),
    }

    assert {name: response.status_code for name, response in answers.items()} == dict.fromkeys(answers, 401)
    assert len({response.data for response in answers.values()}) == 1
    assert len({tuple(response.headers.keys()) for response in answers.values()}) == 1
    assert index.jobs.looked == []


def test_an_unknown_repository_costs_one_verification_as_a_known_one_does(client, index, monkeypatch):
    calls = []
    monkeypatch.setattr("services.api.webhooks.is_signed", lambda *arguments: calls.append(arguments) or False)

    for path in ("team/app", "team/unknown"):
        calls.clear()
        github(client, push(repository=repository(path)), secret="guessed-by-somebody")
        assert len(calls) == 1
        assert calls[0][1]


def test_a_repository_is_signed_for_with_its_own_secret_and_the_others_with_the_shared_one(serve, index):
    index.catalog.add("other", "url", "https://forge.example/team/other.git", "")
    client = serve(webhook_secret=SHARED)
    other = push(repository=repository("team/other"))

    assert github(client, push(), secret=SECRET).status_code == 202
    assert github(client, other, secret=SHARED).status_code == 202
    assert refused(github(client, push(), secret=SHARED)) == (401, "unauthorized")
    assert refused(github(client, other, secret=SECRET)) == (401, "unauthorized")
    assert index.jobs.looked == ["app", "other"]


def test_each_repository_of_an_address_answers_to_its_own_secret(client, index):
    index.catalog.add("fork", "url", "git@forge.example:team/app.git", "")
    index.catalog.set_secret("fork", OTHER)

    github(client, push(), secret=OTHER)

    assert index.jobs.looked == ["fork"]


def test_the_shared_secret_may_speak_of_repositories_that_are_not_indexed(serve, index):
    # A hook of a whole organisation would otherwise be switched off by GitLab for its many errors.
    response = github(serve(webhook_secret=SHARED), push(repository=repository("team/unknown")), secret=SHARED)

    assert (response.status_code, response.json) == (202, {"ignored": "no repository that is indexed"})
    assert index.jobs.looked == []


@pytest.mark.parametrize(
    "body", [b"{", b"", b"[]", b'"x"', b'{"a": 1, "a": 2}', b'{"a": NaN}', b"\xff", b"[" * 300_000]
)
def test_what_is_signed_and_no_json_object_is_a_400(serve, body):
    response = github(serve(webhook_secret=SHARED), None, body=body, secret=SHARED)

    assert refused(response) == (400, "invalid_request")


def test_a_push_is_answered_with_the_job_that_looks(client, index):
    for response in (
        github(client, push()),
        gitlab(client, {"object_kind": "push", "ref": "refs/heads/main", "project": project()}),
        gitea(client, push()),
        gitea(client, push(), name="Forgejo"),
    ):
        assert response.status_code == 202
        assert index.ledger.job(response.json["job"]).repo == "app"
    assert index.jobs.looked == ["app"] * 4


@pytest.mark.parametrize(
    "source",
    [
        "https://forge.example/team/app",
        "https://forge.example/Team/App.git",
        "https://FORGE.example:443/team/app/",
        "git@forge.example:team/app.git",
        "ssh://git@forge.example/team/app",
        "http://forge.example/team/app",
    ],
)
def test_a_repository_is_known_by_any_address_the_forge_gives_it(client, index, source):
    index.catalog.set_source("app", source)

    assert github(client, push()).status_code == 202
    assert gitlab(client, {"object_kind": "push", "ref": "refs/heads/main", "project": project()}).status_code == 202


@pytest.mark.parametrize(
    "source",
    ["https://forge.example/team/app2", "https://forge.example/team", "https://other.example/team/app", "/team/app"],
)
def test_a_repository_is_not_mistaken_for_another(client, index, source):
    index.catalog.set_source("app", source)

    assert github(client, push()).status_code == 401


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


NOTHING = "no branch or tag that is indexed"


@pytest.mark.parametrize(
    ("tracked", "event", "payload", "ignored"),
    [
        ("", "push", push(), ""),
        ("", "push", push("refs/heads/topic"), NOTHING),
        ("", "push", push("refs/tags/v1"), NOTHING),
        ("", "push", push("refs/heads/trunk", repository=repository(default_branch="trunk")), ""),
        ("", "push", push("refs/heads/topic", repository=repository(default_branch=None)), ""),
        ("", "push", push("refs/tags/v1", repository=repository(default_branch=None)), NOTHING),
        ("topic", "push", push("refs/heads/topic"), ""),
        ("heads/topic", "push", push("refs/heads/topic"), ""),
        ("refs/heads/topic", "push", push("refs/heads/topic"), ""),
        ("topic", "push", push("refs/heads/main"), NOTHING),
        ("topic", "push", push("refs/heads/x/topic"), NOTHING),
        ("v1", "push", push("refs/tags/v1"), ""),
        ("a" * 40, "push", push(), NOTHING),
        ("", "push", push(after=ZERO, deleted=True), ""),
        ("", "push", push(forced=True, before="c" * 40), ""),
        ("", "push", push(commits=[]), ""),
        ("", "push", push(commits=[{"added": [f"dir/{n}" for n in range(5000)]}]), ""),
        ("", "push", push(["refs/heads/main"]), ""),
        ("", "push", push(None), ""),
        ("", "push", push("refs/heads/../../x"), NOTHING),
        ("", "push", push("refs/heads/a b"), NOTHING),
        ("", "push", push("refs/heads/\U0001f600"), NOTHING),
        ("", "push", push("refs/heads/$(touch x)"), NOTHING),
        ("", "push", push("refs/heads/\ud800"), NOTHING),
        ("v1", "create", push("v1", ref_type="tag"), ""),
        ("v1", "create", push("v1", ref_type="branch"), ""),
        ("", "create", push("topic", ref_type="branch"), NOTHING),
        ("", "create", push(None, ref_type="repository"), ""),
        ("topic", "delete", push("topic", ref_type="branch"), ""),
        ("", "delete", push("main", ref_type="branch"), ""),
        ("", "delete", push("v1", ref_type="tag"), NOTHING),
        ("", "repository", push(action="edited", changes={"default_branch": {"from": "master"}}), ""),
        ("", "repository", push(action="edited", changes={"description": {"from": "x"}}), "no change of branches"),
        ("", "repository", push(action="privatized"), ""),
        ("", "repository", push(action="archived"), ""),
        ("", "repository", push(action="deleted"), ""),
        ("", "issues", push(action="opened"), "event 'issues'"),
        ("", "<script>", push(), "event '<script>'"),
        ("", "", push(), "event ''"),
    ],
)
def test_a_look_is_queued_where_what_is_indexed_may_have_changed(tracked, event, payload, ignored):
    assert ignored_because("github", {"X-GitHub-Event": event}, payload, tracked) == ignored
    assert ignored_because("gitea", {"X-Gitea-Event": event}, payload, tracked) == ignored
    assert ignored_because("gitea", {"X-Forgejo-Event": event, "X-Gitea-Event": "ping"}, payload, tracked) == ignored


def ignored_because(forge, headers, payload, tracked=""):
    event = read_event(open_delivery(forge, Headers(headers), b"", form=False), json.loads(json.dumps(payload)))
    return event.ignored or ("" if event.concerns(tracked) else NOTHING)


def test_what_changes_nothing_that_is_indexed_is_ignored(client, index):
    for event, ref in (("push", "refs/heads/topic"), ("push", "refs/heads/\ud800"), ("issues", "refs/heads/main")):
        response = github(client, push(ref), event=event)
        assert response.status_code == 202
        assert response.json == {"ignored": "event 'issues'" if event == "issues" else NOTHING}
    assert index.jobs.looked == []


@pytest.mark.parametrize(
    ("payload", "ignored"),
    [
        ({"object_kind": "push", "ref": "refs/heads/main", "after": ZERO}, ""),
        ({"object_kind": "push", "ref": "refs/heads/topic"}, NOTHING),
        ({"object_kind": "tag_push", "ref": "refs/tags/v1"}, NOTHING),
        ({"event_name": "push", "ref": "refs/heads/main"}, ""),
        ({"event_name": "repository_update", "refs": ["refs/heads/a", "refs/heads/main"]}, ""),
        ({"event_name": "repository_update", "refs": ["refs/heads/a", "refs/tags/v1", 7]}, NOTHING),
        ({"event_name": "repository_update", "refs": {}}, ""),
        ({"event_name": "project_update"}, ""),
        ({"object_kind": "merge_request"}, "event 'merge_request'"),
        ({}, "event ''"),
    ],
)
def test_gitlabs_events_are_read_alike(payload, ignored):
    assert ignored_because("gitlab", {}, payload | {"project": project()}) == ignored


def test_a_ping_is_answered_once_it_is_verified(client, index):
    response = github(client, {"zen": "Keep it", "repository": repository()}, event="ping")

    assert (response.status_code, response.json) == (200, {"ignored": "ping"})
    assert github(client, {"repository": repository()}, event="ping", secret=OTHER).status_code == 401
    assert index.jobs.looked == []


HOSTILE = [None, 7, 1.5, True, "x", [], {}, [[]], {"x": {}}]


@pytest.mark.parametrize("value", HOSTILE)
def test_an_event_may_hold_anything_anywhere(serve, value):
    client = serve(webhook_secret=SHARED)
    payloads = [{name: value for name in push()}, push(repository=value), push(changes=value, action=value)]
    payloads += [push(repository=dict.fromkeys(repository(), value))]

    for payload in payloads:
        for event in ("push", "create", "delete", "repository", "ping"):
            for secret in (SECRET, SHARED):
                assert github(client, payload, event=event, secret=secret).status_code in (200, 202, 401)
        assert gitlab(client, payload | {"object_kind": value}, secret=SHARED).status_code in (202, 401)
        assert gitea(client, payload, secret=SHARED).status_code in (202, 401)


def renamed(**changes):
    return {"action": "renamed", "repository": repository("new/tool"), "changes": changes}


MOVES = [
    ("https://forge.example/new/app.git", {"repository": {"name": {"from": "app"}}}),
    ("https://forge.example/team/tool.git", {"owner": {"from": {"user": {"login": "team"}}}}),
    ("https://forge.example/team/tool.git", {"owner": {"from": {"organization": {"login": "team"}}}}),
    ("git@forge.example:new/app.git", {"repository": {"name": {"from": "app"}}}),
]


@pytest.mark.parametrize(("source", "changes"), MOVES)
def test_a_renamed_or_transferred_repository_is_fetched_from_its_new_address(client, index, source, changes):
    index.catalog.set_source("app", source)

    response = github(client, renamed(**changes), event="repository")

    assert response.status_code == 202
    assert index.catalog.get("app").source in ("https://forge.example/new/tool.git", "git@forge.example:new/tool.git")
    assert index.catalog.get("app").source.startswith(source[:10])
    assert index.jobs.looked == ["app"]


def test_a_move_at_gitlab_is_followed(client, index):
    moved = {"event_name": "project_transfer", "path_with_namespace": "new/tool", "old_path_with_namespace": "team/app"}

    response = gitlab(client, moved, headers={"X-Gitlab-Instance": "https://forge.example"})

    assert response.status_code == 202
    assert index.catalog.get("app").source == "https://forge.example/new/tool.git"


@pytest.mark.parametrize(
    ("clone_url", "path", "source"),
    [
        ("https://evil.example/new/tool.git", "new/tool", "https://forge.example/new/tool.git"),
        ("https://169.254.169.254/new/tool.git", "new/tool", "https://forge.example/new/tool.git"),
        ("https://forge.example/$(id)/new/tool.git", "new/tool", "https://forge.example/new/tool.git"),
        ("ext::sh -c id new/tool.git", "new/tool", "https://forge.example/new/tool.git"),
        ("https://evil.example/new/tool.git", "../tool", URL),
        ("https://evil.example/new/tool.git", "$(id)/tool", URL),
    ],
)
def test_a_repository_never_moves_to_another_host_or_an_odd_path(client, index, clone_url, path, source):
    changes = {"repository": {"name": {"from": "app"}}, "owner": {"from": {"user": {"login": "team"}}}}
    now = {"clone_url": clone_url, "html_url": f"https://forge.example/{path}", "full_name": path}

    response = github(client, renamed(**changes) | {"repository": now}, event="repository")

    assert response.status_code == 202
    assert index.catalog.get("app").source == source


def test_a_stranger_can_not_move_a_repository(client, index):
    payload = renamed(repository={"name": {"from": "app"}}, owner={"from": {"user": {"login": "team"}}})

    assert github(client, payload, event="repository", secret=OTHER).status_code == 401
    assert index.catalog.get("app").source == URL


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
