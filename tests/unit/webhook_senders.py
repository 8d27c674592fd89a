"""What forges send: payloads, proofs and requests of each, and an index that takes them."""

import hashlib
import hmac
import json

from services.api.app import create_app
from services.core.deliveries import Deliveries
from tests.fakes_search import Index

SECRET, OTHER, SHARED = "the-secret-of-app", "the-secret-of-other", "the-secret-of-all"
URL = "https://forge.example/team/app.git"


def known_index(folder):
    """An index of one repository, which has a secret of its own."""
    index = Index(folder)
    index.catalog.add("app", "url", URL, "")
    index.catalog.set_secret("app", SECRET)
    return index


def serve_webhooks(index, **options):
    """Return a client of an API that takes webhooks."""
    app = create_app(
        index.searcher,
        jobs=index.jobs,
        catalog=index.catalog,
        ledger=index.ledger,
        **{"deliveries": Deliveries(index.engine), **options},
    )
    return app.test_client()


def sign(secret, body):
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


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


BODY = json.dumps(push()).encode()
