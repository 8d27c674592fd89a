"""What a webhook says: which repository it is about and what may have changed there.

An event is a prompt to look, never a statement of what is there. Deliveries come late, twice, out of order or
not at all, so what is missing or odd in one means that anything may have changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.api.webhook_signatures import Delivery

_HUB_URLS = ("clone_url", "ssh_url", "html_url")
_GITLAB_URLS = ("git_http_url", "git_ssh_url", "http_url", "ssh_url", "web_url", "homepage", "url")
_GITLAB_PROJECT_EVENTS = ("project_create", "project_update", "project_rename", "project_transfer", "project_destroy")
_MAX_REFS = 10_000
_MAX_URL_CHARS = 4_096


@dataclass(frozen=True, slots=True)
class Event:
    """A prompt to look.

    urls, former: addresses that the repository has now, and those it had before it moved.
    refs: full names of the branches and tags that changed; None if anything may have.
    default_branch: "" if the forge does not say.
    ignored: why there is nothing to look at, whatever the repository; "" if there may be.
    """

    urls: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    refs: tuple[str, ...] | None = None
    default_branch: str = ""
    ignored: str = ""

    def concerns(self, ref: str) -> bool:
        """Whether what `ref` names may have changed; "" is the default branch."""
        if self.refs is None:
            return True
        if ref:
            names = {ref, f"refs/{ref}", f"refs/heads/{ref}", f"refs/tags/{ref}"}
        elif self.default_branch:
            names = {f"refs/heads/{self.default_branch}"}
        else:
            return any(each.startswith("refs/heads/") for each in self.refs)
        return not names.isdisjoint(self.refs)


def read_event(delivery: Delivery, payload: dict[str, Any]) -> Event:
    """Return what a delivery says; its sender need not have been verified."""
    if delivery.forge == "gitlab":
        return _gitlab_event(delivery.headers, payload)
    names = ("X-GitHub-Event",) if delivery.forge == "github" else ("X-Forgejo-Event", "X-Gitea-Event")
    return _hub_event(next((delivery.headers[name] for name in names if name in delivery.headers), ""), payload)


def _hub_event(kind: str, payload: dict[str, Any]) -> Event:
    """Read an event of GitHub, Gitea or Forgejo, which are alike."""
    urls = _urls(payload, "repository", _HUB_URLS)
    default_branch = _text(payload, "repository", "default_branch")
    ref, action = _text(payload, "ref"), _text(payload, "action")
    if kind == "push":
        return Event(urls, refs=(ref,) if ref else None, default_branch=default_branch)
    if kind in ("create", "delete"):
        folder = {"branch": "refs/heads/", "tag": "refs/tags/"}.get(_text(payload, "ref_type"))
        return Event(urls, refs=(f"{folder}{ref}",) if folder and ref else None, default_branch=default_branch)
    if kind == "repository":
        edited = action == "edited" and not _text(payload, "changes", "default_branch", "from")
        return Event(urls, _former_hub(urls, payload), ignored="no change of branches" if edited else "")
    return Event(urls, ignored="ping" if kind == "ping" else f"event {kind[:40]!r}")


def _former_hub(urls: tuple[str, ...], payload: dict[str, Any]) -> tuple[str, ...]:
    """Return the addresses a repository had before it was renamed or given to somebody else."""
    owner = _text(payload, "changes", "owner", "from", "user", "login")
    owner = owner or _text(payload, "changes", "owner", "from", "organization", "login")
    name = _text(payload, "changes", "repository", "name", "from")
    if not owner and not name:
        return ()
    now = _text(payload, "repository", "full_name")
    new_owner, _, new_name = now.partition("/")
    before = f"{owner or new_owner}/{name or new_name}"
    bare = [url.removesuffix(".git") for url in urls]
    return tuple(f"{url.removesuffix(now)}{before}" for url in bare if now and url.endswith(now))


def _gitlab_event(headers: Mapping[str, str], payload: dict[str, Any]) -> Event:
    kind = _text(payload, "object_kind") or _text(payload, "event_name")
    urls = _urls(payload, "project", _GITLAB_URLS) + _urls(payload, "repository", _GITLAB_URLS)
    default_branch = _text(payload, "project", "default_branch")
    if kind in ("push", "tag_push"):
        ref = _text(payload, "ref")
        return Event(urls, refs=(ref,) if ref else None, default_branch=default_branch)
    if kind == "repository_update":
        # Sent once where a push moves so many branches that no other event comes.
        return Event(urls, refs=_strings(payload.get("refs")), default_branch=default_branch)
    if kind in _GITLAB_PROJECT_EVENTS:
        # These name paths only. The header is not signed, but it can do no more than name a repository.
        instance = headers.get("X-Gitlab-Instance", "").rstrip("/")
        paths = (_text(payload, "path_with_namespace"), _text(payload, "old_path_with_namespace"))
        now, before = (((f"{instance}/{path}",) if instance and path else ()) for path in paths)
        return Event(urls + now, before)
    return Event(urls, ignored=f"event {kind[:40]!r}")


def _urls(payload: dict[str, Any], key: str, names: tuple[str, ...]) -> tuple[str, ...]:
    found = (_text(payload, key, name) for name in names)
    return tuple(dict.fromkeys(url for url in found if 0 < len(url) <= _MAX_URL_CHARS))


def _strings(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list) or len(value) > _MAX_REFS:
        return None
    return tuple(each for each in value if isinstance(each, str))


def _text(value: Any, *keys: str) -> str:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
