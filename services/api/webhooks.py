"""Taking a webhook: find the repositories it is about, verify it with their secret, and queue a look at each.

Until then nothing but the addresses in it is used, and those only to find the secret. Whoever can't sign learns
nothing: an unknown repository, one without a secret and a wrong signature get the same answer after the same work.
"""

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from services.api.services import Services
from services.api.strict_json import parse_object
from services.api.webhook_events import Event, read_event
from services.api.webhook_signatures import Delivery, is_signed
from services.core.addresses import canonical, moved
from services.core.catalog import Repo
from services.core.errors import InvalidRequest, QuarryError

log = logging.getLogger(__name__)

# GitHub sends no larger ones.
MAX_BODY_BYTES = 25_000_000
# What a body may become in memory: a push of 5,000 files has some 10,000 values, each of which costs up to 100 bytes.
_MAX_CONTAINERS = 200_000
_MAX_VALUES = 2_000_000


class Unverified(QuarryError):
    """A webhook is not signed with the secret of the repository it is about."""

    code = "unauthorized"
    http_status = 401


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a delivery; `outcome` is for the metrics."""

    status: int
    outcome: str
    document: dict[str, Any]


def open_delivery(forge: str, headers: Any, body: bytes, *, form: bool) -> Delivery:
    """Return a request as a delivery; `form` is whether the body is a form."""
    return Delivery(forge, headers, body, _payload_field(body) if form else body)


def receive(services: Services, delivery: Delivery, now: float) -> Answer:
    """Act on a delivery and say what came of it.

    Raises:
        Unverified: it is not signed as it must be, or about no repository with a secret.
        InvalidRequest: it is signed, and no JSON object.
        QueueFull: so many jobs wait that the forge should send it again later.
    """
    try:
        event, problem = read_event(delivery, _parse(delivery.payload)), None
    except InvalidRequest as error:
        event, problem = Event(), error
    repos = _verified(services, delivery, event, now)
    if problem:
        raise problem
    key = f"{delivery.forge}:{delivery.id}" if delivery.id else ""
    before = services.deliveries.job(key) if key and services.deliveries else None
    if before is not None:
        return Answer(200, "repeated", {"job": before} if before else {"ignored": "came before"})
    if event.ignored:
        return _ignored(event.ignored)
    jobs = [_look(services, event, repo) for repo in repos if event.concerns(repo.ref)]
    if key and services.deliveries:
        # Only now: a delivery that was not acted on must count when it comes again.
        services.deliveries.record(key, jobs[0] if jobs else 0)
    if jobs:
        return Answer(202, "queued", {"job": jobs[0]})
    return _ignored("no branch or tag that is indexed" if repos else "no repository that is indexed")


def _ignored(reason: str) -> Answer:
    return Answer(200 if reason == "ping" else 202, "ignored", {"ignored": reason})


def _verified(services: Services, delivery: Delivery, event: Event, now: float) -> list[Repo]:
    """Return the repositories a delivery is about that have the secret it is signed with.

    There may be none where the sender knows the secret for all: a forge reports every repository of an organisation.
    """
    names = {canonical(url) for url in (*event.urls, *event.former)} - {""}
    sources = {source for source in services.catalog.sources() if _canonical_source(source) in names}
    about = services.catalog.from_sources(sources)
    wanted = {repo.webhook_secret or services.webhook_secret for repo in about} or {services.webhook_secret}
    # An empty secret is none. Something is verified all the same, so that the time does not tell.
    signed = {secret for secret in wanted if is_signed(delivery, secret or _nobodys_secret(), now) and secret}
    if not signed:
        known = [repo.name for repo in about]
        log.warning("webhook_refused", extra={"forge": delivery.forge, "repos": known, "secret": any(wanted)})
        raise Unverified("the webhook is not signed with the secret of a repository that is indexed here")
    return [repo for repo in about if (repo.webhook_secret or services.webhook_secret) in signed]


def _look(services: Services, event: Event, repo: Repo) -> int:
    source = _new_source(repo.source, event)
    if source:
        services.catalog.set_source(repo.name, source)
        log.info("repository_moved", extra={"repo": repo.name, "source": canonical(source)})
    return services.jobs.look(repo.name)


def _new_source(source: str, event: Event) -> str:
    """Return where a repository has moved to, "" if it has not; it never moves to another host."""
    if canonical(source) not in {canonical(url) for url in event.former} - {canonical(url) for url in event.urls}:
        return ""
    candidates: Sequence[str] = [url for url in event.urls if canonical(url)]
    return next((new for new in (moved(source, url) for url in candidates) if new), "")


def _parse(payload: bytes) -> dict[str, Any]:
    if payload.count(b"{") + payload.count(b"[") > _MAX_CONTAINERS or payload.count(b",") > _MAX_VALUES:
        raise InvalidRequest(f"the webhook holds over {_MAX_CONTAINERS} objects or {_MAX_VALUES} values")
    return parse_object(payload)


def _payload_field(body: bytes) -> bytes:
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=10)
    except ValueError:
        return b""
    return next((value.encode("utf-8", "replace") for name, value in fields if name == "payload"), b"")


@lru_cache(maxsize=20_000)
def _canonical_source(source: str) -> str:
    """Return `canonical`, remembered: of the catalog's sources, never of what a stranger sends."""
    return canonical(source)


def _nobodys_secret() -> str:
    return secrets.token_hex()
