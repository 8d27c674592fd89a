"""Who sent a webhook: each forge's proof that it knows the secret, checked in constant time over the bytes that came.

GitHub and Gitea sign no time: whoever catches a delivery can send it again, so it must be harmless when repeated.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

# Fewer could be guessed by whoever catches one delivery.
MIN_SECRET_CHARS = 16
MAX_SECRET_CHARS = 255

# GitLab's own advice, and that of the Standard Webhooks specification it follows.
_MAX_AGE_S = 300
_MAX_SIGNATURES = 10
_ENCODED_KEY = "whsec_"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook as it came. `payload` is its JSON: the body itself, or a field of the form that the body is."""

    forge: str
    headers: Mapping[str, str]
    body: bytes
    payload: bytes

    @property
    def id(self) -> str:
        """What the forge calls this delivery, also when it sends it again; "" if it doesn't say."""
        names = {
            "github": ("X-GitHub-Delivery",),
            "gitlab": ("webhook-id", "Idempotency-Key"),
            "gitea": ("X-Forgejo-Delivery", "X-Gitea-Delivery"),
        }
        return next((self.headers[name][:200] for name in names[self.forge] if self.headers.get(name)), "")


def is_signed(delivery: Delivery, secret: str, now: float) -> bool:
    """Whether the sender knows `secret`; `now` is in seconds since the epoch.

    The time this takes depends on the delivery alone.
    """
    proofs = {"github": _by_github, "gitlab": _by_gitlab, "gitea": _by_gitea}
    return proofs[delivery.forge](delivery, secret, now)


def _by_github(delivery: Delivery, secret: str, _now: float) -> bool:
    signature = hmac.new(secret.encode(), delivery.body, hashlib.sha256).hexdigest()
    return _equal(f"sha256={signature}".encode(), _header(delivery, "X-Hub-Signature-256"))


def _by_gitea(delivery: Delivery, secret: str, _now: float) -> bool:
    # Forgejo sends both; a bad one of its own is not made good by the other.
    name = "X-Forgejo-Signature" if "X-Forgejo-Signature" in delivery.headers else "X-Gitea-Signature"
    # They sign the JSON, also where they send it as a field of a form.
    signature = hmac.new(secret.encode(), delivery.payload, hashlib.sha256).hexdigest()
    return _equal(signature.encode(), _header(delivery, name))


def _by_gitlab(delivery: Delivery, secret: str, now: float) -> bool:
    if "webhook-signature" not in delivery.headers:
        return _equal(secret.encode(), _header(delivery, "X-Gitlab-Token"))
    message, time = _header(delivery, "webhook-id"), _header(delivery, "webhook-timestamp")
    signed = hmac.new(_key(secret), b".".join((message, time, delivery.body)), hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(signed)
    # Several, separated by spaces, while a secret is being replaced.
    given = _header(delivery, "webhook-signature").split()[:_MAX_SIGNATURES]
    known = [_equal(expected, each) for each in given]
    return any(known) and _is_recent(time, now)


def _key(secret: str) -> bytes:
    if secret.startswith(_ENCODED_KEY):
        try:
            return base64.b64decode(secret.removeprefix(_ENCODED_KEY), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def _is_recent(time: bytes, now: float) -> bool:
    return len(time) <= 12 and time.isdigit() and abs(now - int(time)) <= _MAX_AGE_S


def _header(delivery: Delivery, name: str) -> bytes:
    # WSGI hands over bytes as Latin-1.
    return delivery.headers.get(name, "").encode("latin-1", "replace")


def _equal(expected: bytes, given: bytes) -> bool:
    """Compare digests, so that not even the length of a secret shows in the time; nothing equals an empty header."""
    same = hmac.compare_digest(hashlib.sha256(expected).digest(), hashlib.sha256(given).digest())
    return same and bool(given)
