"""A push, announced as GitHub announces it: the body, and headers that sign it."""

import hashlib
import hmac
import json
import uuid


def push_event(secret: str, url: str, before: str, after: str, branch: str = "main") -> tuple[bytes, dict[str, str]]:
    """Return body and headers of the delivery for a push to the repository at `url`."""
    full_name = url.partition("://")[2].partition("/")[2].removesuffix(".git")
    repository = {
        "name": full_name.rpartition("/")[2],
        "full_name": full_name,
        "html_url": url.removesuffix(".git"),
        "clone_url": url,
        "default_branch": branch,
    }
    event = {"ref": f"refs/heads/{branch}", "before": before, "after": after, "repository": repository}
    body = json.dumps(event).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/load",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": signature(secret, body),
    }
    return body, headers


def signature(secret: str, body: bytes) -> str:
    """Return what GitHub sends as ``X-Hub-Signature-256``."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
