"""Claims about what webhooks make happen."""

import json

import pytest
from werkzeug.datastructures import Headers

from services.api.webhook_events import read_event
from services.api.webhooks import open_delivery
from tests.unit.webhook_senders import (
    OTHER,
    SECRET,
    SHARED,
    URL,
    gitea,
    github,
    gitlab,
    project,
    push,
    repository,
)

ZERO = "0" * 40


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
