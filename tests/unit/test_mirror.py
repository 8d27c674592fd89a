"""Claims about mirrors of git addresses: what they hold, what is never asked for, and what opens as a source."""

import shutil

import pytest

from services.chunker import git, mirror
from services.chunker.source import Limits, open_source
from services.core.errors import InvalidRequest, NotFound, Unavailable
from tests.repositories import call, commit, contents

LOCAL = ("file",)


@pytest.fixture
def server(tmp_path):
    """A repository to fetch from, and its address."""
    path = tmp_path / "server"
    commit(path, {"a.py": b"one"})
    return path, f"file://{path}"


@pytest.fixture
def mirrors(tmp_path):
    return tmp_path / "mirrors"


def test_a_mirror_holds_the_commit_of_the_default_branch(server, mirrors):
    path, url = server

    repo, revision = mirror.fetch(url, mirrors, allow_protocols=LOCAL)

    assert revision == git.resolve(path)
    assert contents(repo, revision) == ({"a.py": b"one"}, {})
    assert git.is_repository(repo)


def test_a_second_fetch_brings_what_was_pushed_and_only_one_commit(server, mirrors):
    path, url = server
    first, _ = mirror.fetch(url, mirrors, allow_protocols=LOCAL)
    pushed = commit(path, {"b.py": b"two"})

    repo, revision = mirror.fetch(url, mirrors, allow_protocols=LOCAL)

    assert (repo, revision) == (first, pushed)
    assert sorted(contents(repo, revision)[0]) == ["a.py", "b.py"]
    assert call(repo, "rev-list", "--count", revision) == "1"


def test_a_forced_push_to_other_history_is_followed(server, mirrors):
    path, url = server
    mirror.fetch(url, mirrors, allow_protocols=LOCAL)
    call(path, "checkout", "-q", "--orphan", "other")
    other = commit(path, {"c.py": b"three"})
    call(path, "branch", "-f", "main", "other")

    assert mirror.fetch(url, mirrors, "main", allow_protocols=LOCAL)[1] == other


@pytest.mark.parametrize("ref", ["main", "v1", "refs/heads/main", "feature/ä"])
def test_any_branch_or_tag_can_be_fetched(server, mirrors, ref):
    path, url = server
    call(path, "tag", "-a", "v1", "-m", "v1")
    call(path, "branch", "feature/ä")

    assert mirror.fetch(url, mirrors, ref, allow_protocols=LOCAL)[1] == git.resolve(path)


def test_a_full_commit_id_can_be_fetched(server, mirrors):
    path, url = server
    first = git.resolve(path)
    commit(path, {"b.py": b"two"})
    call(path, "config", "uploadpack.allowAnySHA1InWant", "true")

    assert mirror.fetch(url, mirrors, first, allow_protocols=LOCAL)[1] == first


def test_an_unknown_ref_is_named_and_leaves_no_mirror(server, mirrors):
    with pytest.raises(NotFound, match="no branch, tag or commit 'nope'"):
        mirror.fetch(server[1], mirrors, "nope", allow_protocols=LOCAL)

    assert [path.suffix for path in mirrors.iterdir()] == [".lock"]


def test_an_empty_repository_says_so(tmp_path, mirrors):
    call(tmp_path, "init", "-q", str(tmp_path / "empty"))

    with pytest.raises(InvalidRequest, match="has no commits yet"):
        mirror.fetch(f"file://{tmp_path}/empty", mirrors, allow_protocols=LOCAL)


def test_a_head_without_commits_asks_for_a_ref(server, mirrors):
    call(server[0], "symbolic-ref", "HEAD", "refs/heads/unborn")

    with pytest.raises(InvalidRequest, match="--ref"):
        mirror.fetch(server[1], mirrors, allow_protocols=LOCAL)


def test_a_sha256_repository_is_mirrored(tmp_path, mirrors):
    revision = commit(tmp_path / "server", {"a.py": b"one"}, "--object-format=sha256")

    repo, fetched = mirror.fetch(f"file://{tmp_path}/server", mirrors, allow_protocols=LOCAL)

    assert fetched == revision
    assert contents(repo, revision) == ({"a.py": b"one"}, {})


def test_a_server_that_is_not_there_is_unavailable_and_the_mirror_stays(server, mirrors):
    path, url = server
    repo, revision = mirror.fetch(url, mirrors, allow_protocols=LOCAL)
    shutil.rmtree(path)

    with pytest.raises(Unavailable, match="can't be fetched"):
        mirror.fetch(url, mirrors, allow_protocols=LOCAL)

    assert contents(repo, revision) == ({"a.py": b"one"}, {})


def test_a_damaged_mirror_is_made_anew(server, mirrors):
    repo, revision = mirror.fetch(server[1], mirrors, allow_protocols=LOCAL)
    shutil.rmtree(repo / "objects")

    assert mirror.fetch(server[1], mirrors, allow_protocols=LOCAL) == (repo, revision)
    assert contents(repo, revision) == ({"a.py": b"one"}, {})


def test_what_a_killed_fetch_left_is_in_nobodys_way(server, mirrors):
    repo, _ = mirror.fetch(server[1], mirrors, allow_protocols=LOCAL)
    (repo / "shallow.lock").touch()
    (mirrors / f"{repo.stem}.new-dead").mkdir()
    pushed = commit(server[0], {"b.py": b"two"})

    assert mirror.fetch(server[1], mirrors, allow_protocols=LOCAL) == (repo, pushed)


def test_hooks_and_templates_of_anyone_do_not_run(server, mirrors, tmp_path, monkeypatch):
    trap = tmp_path / "sprung"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-checkout", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {trap}\n")
        (hooks / name).chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f"[core]\n hooksPath = {hooks}\n")
    monkeypatch.setenv("HOME", str(tmp_path))

    mirror.fetch(server[1], mirrors, allow_protocols=LOCAL)

    assert not trap.exists()


def test_a_fetch_that_takes_too_long_is_unavailable_and_shows_no_password(mirrors):
    url = "https://user:hunter2@127.0.0.1:1/x.git"

    with pytest.raises(Unavailable, match=r"https://\*\*\*@127") as raised:
        mirror.fetch(url, mirrors, timeout_s=20)

    assert "hunter2" not in str(raised.value)
    assert not any("hunter2" in path.name for path in mirrors.rglob("*"))


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c 'touch x'",
        "ext::sh",
        "fd::17",
        "file:///etc",
        "http://169.254.169.254/",
        "git://example.com/x",
        "--upload-pack=x",
        "-oProxyCommand=x@host:path",
        "ssh://-oProxyCommand=x/path",
        "ssh://git@-oProxyCommand=x/path",
        "https://example.com/a\nb",
        "https://example.com/a\rb",
        "https://example.com/a\tb",
        "https://example.com/a b",
        "https:example.com",
        "/etc/passwd",
        "",
    ],
)
def test_hostile_addresses_are_refused_before_git_sees_them(url, mirrors):
    with pytest.raises(InvalidRequest):
        mirror.fetch(url, mirrors)

    assert not mirrors.exists()


@pytest.mark.parametrize(
    "ref", ["--upload-pack=x", "a:b", "+main", "*", "a..b", "a b", "a\nb", "a~1", "x.lock", "a@{1}"]
)
def test_refs_that_are_more_than_a_name_are_refused(server, mirrors, ref):
    with pytest.raises(InvalidRequest, match="is not a branch, tag or commit"):
        mirror.fetch(server[1], mirrors, ref, allow_protocols=LOCAL)


def test_a_shallow_repository_is_mirrored(server, mirrors, tmp_path):
    path, url = server
    tip = commit(path, {"b.py": b"two"})
    call(tmp_path, "clone", "-q", "--bare", "--depth=1", url, str(tmp_path / "shallow.git"))

    repo, revision = mirror.fetch(f"file://{tmp_path}/shallow.git", mirrors, allow_protocols=LOCAL)

    assert revision == tip
    assert sorted(contents(repo, revision)[0]) == ["a.py", "b.py"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fatal: https://user:pass@host/x failed", "fatal: https://***@host/x failed"),
        ("https://token@host/x", "https://***@host/x"),
        ("https://u:p@ss@host/x", "https://***@host/x"),
        ("ssh://git:pass@host/x", "ssh://git:***@host/x"),
        ("ssh://git@host/x and git@host:x", "ssh://git@host/x and git@host:x"),
    ],
)
def test_messages_show_no_credentials(text, shown):
    assert mirror.redact(text) == shown


def test_every_kind_opens_as_its_source(server, tmp_path):
    path, _ = server
    revision = git.resolve(path)

    for kind in ("git", "url", "directory"):
        with open_source(kind, str(path), revision, Limits(max_file_bytes=3)) as source:
            refs, _ = source.files()
            assert [ref.path for ref in refs] == ["a.py"]
            assert list(source.read(refs)) == [b"one"]
    with pytest.raises(InvalidRequest, match="kind of source 'svn'"):
        open_source("svn", str(path), revision, Limits())
