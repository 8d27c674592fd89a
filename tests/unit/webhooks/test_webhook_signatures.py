"""Claims about whom webhooks are taken from."""

import base64
import gzip
import hashlib
import hmac
import json
import time

import pytest
from werkzeug.datastructures import Headers

from services.api.webhook_signatures import is_signed
from services.api.webhooks import open_delivery
from tests.unit.webhook_senders import (
    BODY,
    OTHER,
    SECRET,
    SHARED,
    github,
    push,
    refused,
    repository,
    sign,
)

NOW = 1_700_000_000.0


def standard(secret, body, *, sent=None, message="msg_1"):
    """Headers of GitLab's signed form."""
    sent = int(time.time() if sent is None else sent)
    signed = hmac.new(secret.encode(), f"{message}.{sent}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message,
        "webhook-timestamp": str(sent),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


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
