"""Claims about mirrors of git addresses, and about what people may type as a source."""

import contextlib
import os
import re
import shutil
import socket
import threading
import time

import pytest

from loadtest.forge import Forge
from services.chunker import git, mirror
from services.chunker.git_command import command, environment, run
from services.chunker.source import Limits, check_name, default_name, describe, open_source
from services.core.errors import InvalidRequest, NotFound, Unavailable
from tests.repositories import call, commit, contents

LOCAL = ("file",)
ADVERTISEMENT = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n"
    b"001e# service=git-upload-pack\n0000"
)


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


@pytest.fixture
def forge(tmp_path):
    with Forge(tmp_path / "forge") as forge:
        yield forge


def read_request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        if not received:
            return data.decode()
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return (head + b"\r\n\r\n" + body).decode()


@contextlib.contextmanager
def answering(answer):
    """Give the address of a server that calls `answer(connection, request)` for each connection, and the requests."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        requests = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        requests.append(read_request(connection))
                        answer(connection, requests[-1])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}", requests
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)


def redirect_to(target):
    """Answer as GitLab does where `.git` is missing: with the same path elsewhere."""

    def answer(connection, request):
        location = target(request.split()[1]) if callable(target) else target
        connection.sendall(f"HTTP/1.1 301 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

    return answer


def test_a_host_on_the_list_is_fetched_from_by_plain_http(forge, mirrors):
    revision = forge.commit("team/app", {"a.py": "one"})

    repo, fetched = mirror.fetch(forge.url("team/app"), mirrors, allow_hosts={forge.host})

    assert fetched == revision
    assert contents(repo, revision) == ({"a.py": b"one"}, {})


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "127.1"])
def test_a_private_host_is_refused_before_git_sees_it(forge, mirrors, name):
    forge.commit("team/app", {"a.py": "one"})
    port = forge.host.rpartition(":")[2]

    for url in (f"https://{name}:{port}/team/app.git", f"ssh://git@{name}:{port}/team/app", f"git@{name}:team/app"):
        for ask in (lambda url: mirror.fetch(url, mirrors, allow_hosts={"127.0.0.1:1"}), asking_tip({"127.0.0.1:1"})):
            with pytest.raises(InvalidRequest, match=r"not a public address|short form"):
                ask(url)
    assert not mirrors.exists()


def asking_tip(allow_hosts):
    return lambda url: mirror.ls_remote(url, allow_hosts=allow_hosts)


def test_every_fetch_checks_the_host_again(forge, mirrors):
    forge.commit("team/app", {"a.py": "one"})
    mirror.fetch(forge.url("team/app"), mirrors, allow_hosts={forge.host})

    with pytest.raises(InvalidRequest, match="not fetched from"):
        mirror.fetch(forge.url("team/app"), mirrors, allow_hosts=frozenset())


def test_plain_http_needs_the_list(forge, mirrors):
    forge.commit("team/app", {"a.py": "one"})

    for allow_hosts in (None, frozenset(), {"forge.example"}):
        with pytest.raises(InvalidRequest, match="use https or ssh"):
            mirror.fetch(forge.url("team/app"), mirrors, allow_hosts=allow_hosts)


def test_git_goes_to_the_address_that_was_checked_and_not_to_what_the_name_means(forge):
    revision = forge.commit("team/app", {"a.py": "one"})
    port = forge.host.rpartition(":")[2]
    url = f"http://rebound.invalid:{port}/team/app.git"
    config, _ = mirror.pinned(url, ("127.0.0.1",))

    listed = run(
        command(None, "ls-remote", url, "HEAD", config=config), env=environment({"GIT_ALLOW_PROTOCOL": "http"})
    )

    assert listed.stdout.split()[0].decode() == revision


def test_ssh_goes_to_the_address_that_was_checked_and_looks_for_the_key_of_the_name(tmp_path, monkeypatch):
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "ssh").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nexit 1\n')
    (bin_dir / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}:{os.environ['PATH']}")
    url = "ssh://git@forge.example:2222/team/app"
    _, options = mirror.pinned(url, ("192.0.32.8",))

    env = environment({"GIT_ALLOW_PROTOCOL": "ssh", "GIT_SSH_COMMAND": f"ssh{options}"})
    run(command(None, "ls-remote", url), env=env)

    asked = (tmp_path / "asked").read_text()
    assert "-oHostName=192.0.32.8 -oHostKeyAlias=[forge.example]:2222" in asked
    assert "-p 2222 git@forge.example" in asked


@pytest.mark.parametrize(
    ("url", "found", "config"),
    [
        ("https://a.example/x", ("192.0.32.8",), ("http.curloptResolve=a.example:443:192.0.32.8",)),
        ("https://a.example:8443/x", ("1.1.1.1", "2606::1"), ("http.curloptResolve=a.example:8443:1.1.1.1,[2606::1]",)),
        ("https://192.0.32.8/x", ("192.0.32.8",), ()),
        ("https://a.example/x", (), ()),
    ],
)
def test_names_are_bound_to_addresses_and_addresses_to_nothing(url, found, config):
    assert mirror.pinned(url, found)[0] == config


def test_a_redirect_that_only_adds_git_is_anticipated(forge, mirrors):
    revision = forge.commit("team/app", {"a.py": "one"})
    forward = f"http://{forge.host}"

    def answer(connection, request):
        path = request.split()[1]
        if "/app.git/" not in path:
            redirect_to("/".join((forward, "team/app.git/info/refs")))(connection, request)
            return
        with socket.create_connection(forge.host.rsplit(":", 1)) as upstream:
            upstream.sendall(request.replace("Connection: keep-alive", "Connection: close").encode())
            while data := upstream.recv(65536):
                connection.sendall(data)

    with answering(answer) as (host, requests):
        assert mirror.ls_remote(f"http://{host}/team/app", allow_hosts={host}) == revision

    assert [request.split()[1].partition("/info")[0] for request in requests[:2]] == ["/team/app", "/team/app.git"]


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest", "file:///etc/passwd", "http://u:hunter2@host/x.git"]
)
def test_a_redirect_is_not_followed_and_the_error_says_where_it_leads(mirrors, target):
    answer = redirect_to(f"{target}/info/refs?service=git-upload-pack")

    with (
        answering(answer) as (host, requests),
        pytest.raises(InvalidRequest, match=r"redirects to '.*', which is not followed") as raised,
    ):
        mirror.fetch(f"http://{host}/team/app", mirrors, allow_hosts={host})

    assert mirror.redact(target) in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert len(requests) <= 3


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n",
        ADVERTISEMENT + b"zzzz",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n001e#",
    ],
)
def test_a_server_that_talks_nonsense_is_unavailable_and_asks_nobody_for_a_password(mirrors, answer):
    with answering(lambda connection, _: connection.sendall(answer)) as (host, _):
        for ask in (lambda url: mirror.fetch(url, mirrors, allow_hosts={host}), asking_tip({host})):
            with pytest.raises(Unavailable, match="can't be fetched"):
                ask(f"http://{host}/team/app.git")

    assert [path.suffix for path in mirrors.iterdir()] == [".lock"]


def test_a_web_page_is_no_repository(mirrors):
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\nnot a git"

    with answering(lambda connection, _: connection.sendall(page)) as (host, _):
        with pytest.raises(InvalidRequest, match="what answers there is not git"):
            mirror.fetch(f"http://{host}/team/app.git", mirrors, allow_hosts={host})
        assert mirror.ls_remote(f"http://{host}/team/app.git", allow_hosts={host}) is None


def test_a_server_that_says_nothing_is_given_up_in_time(mirrors):
    ended = threading.Event()
    with answering(lambda *_: ended.wait(20)) as (host, _):
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"did not finish in 0\.5 s"):
            mirror.ls_remote(f"http://{host}/a.git", allow_hosts={host}, timeout_s=0.5)
        with pytest.raises(Unavailable, match=r"did not finish in 0\.5 s"):
            mirror.fetch(f"http://{host}/a.git", mirrors, allow_hosts={host}, timeout_s=0.5)
        elapsed = time.monotonic() - started
        ended.set()

    assert elapsed < 10


def test_a_list_of_refs_without_end_is_given_up(mirrors):
    lines = b"".join(b"003e" + b"%040d" % n + b" refs/heads/%06d\n" % n for n in range(1000))

    def answer(connection, _):
        connection.sendall(ADVERTISEMENT)
        while True:
            connection.sendall(lines)

    with answering(answer) as (host, _), pytest.raises(Unavailable, match="can't be fetched"):
        mirror.ls_remote(f"http://{host}/a.git", allow_hosts={host}, timeout_s=1.5)


def test_a_pack_without_end_is_given_up_and_leaves_nothing(mirrors):
    tip = b"a" * 40
    ref = tip + b" HEAD\0shallow ofs-delta\n"
    # One blob of 2^46 bytes, whose zlib stream goes on in stored blocks.
    pack = b"PACK\0\0\0\2\0\0\0\1" + b"\xb0\x80\x80\x80\x80\x80\x10" + b"\x78\x01"
    block = b"\x00\xff\xff\x00\x00" + bytes(65535)
    sent = []

    def answer(connection, request):
        if request.startswith("GET"):
            connection.sendall(ADVERTISEMENT + b"%04x%b0000" % (len(ref) + 4, ref))
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-result\r\n\r\n")
        connection.sendall(b"0034shallow " + tip + b"0000")
        if "done" not in request:
            return
        connection.sendall(b"0008NAK\n" + pack)
        while True:
            connection.sendall(block)
            sent.append(len(block))

    with answering(answer) as (host, _), pytest.raises(Unavailable, match=r"did not finish in 2 s"):
        mirror.fetch(f"http://{host}/a.git", mirrors, allow_hosts={host}, timeout_s=2)

    assert sum(sent) > 1 << 20
    assert [path.suffix for path in mirrors.iterdir()] == [".lock"]


def test_a_shallow_repository_is_mirrored(server, mirrors, tmp_path):
    path, url = server
    tip = commit(path, {"b.py": b"two"})
    call(tmp_path, "clone", "-q", "--bare", "--depth=1", url, str(tmp_path / "shallow.git"))

    repo, revision = mirror.fetch(f"file://{tmp_path}/shallow.git", mirrors, allow_protocols=LOCAL)

    assert revision == tip
    assert sorted(contents(repo, revision)[0]) == ["a.py", "b.py"]


@pytest.mark.parametrize("ref", ["", "main", "refs/heads/main", "heads/main", "v1", "refs/tags/v1", "light"])
def test_the_tip_is_the_commit_that_a_fetch_would_bring(forge, mirrors, ref):
    revision = forge.commit("app", {"a.py": "one"})
    forge.git("app", "-c", "user.name=x", "-c", "user.email=x@x", "tag", "-a", "v1", "-m", "v1", revision)
    forge.git("app", "tag", "light", revision)
    forge.commit("app", {"b.py": "two"}, branch="feature/main")
    forge.commit("app", {"b.py": "two"}, branch="zz/v1")

    tip = mirror.ls_remote(forge.url("app"), ref, allow_hosts={forge.host})

    assert tip == revision == mirror.fetch(forge.url("app"), mirrors, ref, allow_hosts={forge.host})[1]


def test_a_tag_wins_over_a_branch_of_its_name_as_in_a_fetch(forge, mirrors):
    forge.git("app", "tag", "both", forge.commit("app", {"a.py": "one"}))
    forge.commit("app", {"b.py": "two"}, branch="both")

    tip = mirror.ls_remote(forge.url("app"), "both", allow_hosts={forge.host})

    assert tip == mirror.fetch(forge.url("app"), mirrors, "both", allow_hosts={forge.host})[1]


def test_there_may_be_no_tip(forge):
    forge.commit("app", {"a.py": "one"})
    forge.git("app", "symbolic-ref", "HEAD", "refs/heads/unborn")

    for ref in ("", "nope", "mai", "refs/heads"):
        assert mirror.ls_remote(forge.url("app"), ref, allow_hosts={forge.host}) is None


def test_a_commit_id_is_its_own_tip_and_no_server_is_asked():
    for commit_id in ("a" * 40, "0" * 64):
        assert mirror.ls_remote("http://127.0.0.1:1/a", commit_id, allow_hosts={"127.0.0.1"}) == commit_id


def test_a_push_a_deletion_and_a_new_default_branch_are_seen(forge):
    url, seen = forge.url("app"), {forge.host}
    forge.commit("app", {"a.py": "one"})

    pushed = forge.commit("app", {"a.py": "two"})
    assert mirror.ls_remote(url, allow_hosts=seen) == pushed
    forced = forge.commit("app", {"c.py": "three"}, fresh=True)
    assert mirror.ls_remote(url, "main", allow_hosts=seen) == forced
    trunk = forge.commit("app", {"d.py": "four"}, branch="trunk")
    forge.git("app", "symbolic-ref", "HEAD", "refs/heads/trunk")
    assert mirror.ls_remote(url, allow_hosts=seen) == trunk
    forge.git("app", "branch", "-D", "main")
    assert mirror.ls_remote(url, "main", allow_hosts=seen) is None


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


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("https://example.com/team/quarry.git", "quarry"),
        ("https://example.com/team/quarry/", "quarry"),
        ("git@example.com:team/quarry.git", "quarry"),
        ("git@example.com:quarry", "quarry"),
        ("ssh://git@example.com:2222/team/quarry", "quarry"),
    ],
)
def test_an_address_is_named_by_its_last_part(location, name):
    assert describe(location) == ("url", location, name)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("https://10.0.0.5/team/app", "not a public address"),
        ("git@10.0.0.1:x", "not a public address"),
        ("https://127.1/x", "short form"),
        ("http://forge.example/x", "use https or ssh"),
        ("https://user:hunter2@10.0.0.5/x", "holds a password"),
    ],
)
def test_hosts_of_addresses_can_be_checked(location, message):
    with pytest.raises(InvalidRequest, match=message) as raised:
        describe(location, allow_local=False, check_hosts=True)

    assert "hunter2" not in str(raised.value)


def test_a_host_on_the_list_passes_every_check():
    url = "http://10.0.0.5:3000/team/app"

    assert describe(url, allow_local=False, allow_hosts={"10.0.0.5:3000"}, check_hosts=True) == ("url", url, "app")
    assert mirror.protocols_for(url, {"10.0.0.5:3000"}) == ("https", "ssh", "http")
    assert mirror.protocols_for(url, ()) == mirror.PROTOCOLS


def test_paths_are_described_by_what_they_are(tmp_path, monkeypatch):
    commit(tmp_path / "my repo", {"sub/a.py": b"x"})
    call(tmp_path, "clone", "-q", "--bare", str(tmp_path / "my repo"), str(tmp_path / "bare.git"))
    (tmp_path / "link").symlink_to(tmp_path / "my repo")
    (tmp_path / "git@host:x").mkdir()
    monkeypatch.chdir(tmp_path)

    assert describe("my repo") == ("git", str(tmp_path / "my repo"), "my-repo")
    assert describe("my repo/.git") == ("git", str(tmp_path / "my repo/.git"), "my-repo")
    assert describe("my repo/sub") == ("directory", str(tmp_path / "my repo/sub"), "sub")
    assert describe("link") == ("git", str(tmp_path / "my repo"), "my-repo")
    assert describe(f"file://{tmp_path}/bare.git") == ("git", str(tmp_path / "bare.git"), "bare")
    assert describe("git@host:x") == ("directory", str(tmp_path / "git@host:x"), "git-host-x")
    assert describe(".") == ("directory", str(tmp_path), default_name(tmp_path.name))
    assert describe("/")[2] == ""


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("missing", "can't be read: No such file"),
        ("file.py", "is a file; index the directory"),
        ("a\0b", "can't be read"),
        ("loop", "can't be read"),
        ("\udcff", "is not UTF-8"),
        ("~nobody-of-that-name/x", "can't be read"),
        ("https://user:hunter2@example.com/x", r"'https://\*\*\*@example.com/x' holds a password"),
        ("https://token@example.com/x", "holds a password"),
        ("ext::sh -c true", "white space"),
    ],
)
def test_what_can_not_be_a_source_says_why(tmp_path, monkeypatch, location, message):
    (tmp_path / "file.py").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "\udcff").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InvalidRequest, match=message) as raised:
        describe(location)

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("location", ["/etc", "file:///etc", ".", "~", "git@host:x"])
def test_paths_can_be_refused(tmp_path, monkeypatch, location):
    (tmp_path / "git@host:x").mkdir()
    monkeypatch.chdir(tmp_path)

    if location == "git@host:x":
        assert describe(location, allow_local=False)[0] == "url"
    else:
        with pytest.raises(InvalidRequest, match="not an https or ssh address"):
            describe(location, allow_local=False)


@pytest.mark.parametrize("name", ["a", "team/repo-1.x_y", ".github", "a" * 200])
def test_names_of_letters_digits_and_separators_are_valid(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/../b", "/a", "a/", "a//b", "a b", "a\n", "ä", "<img>", "a" * 201, ";rm"]
)
def test_other_names_are_refused(name):
    with pytest.raises(InvalidRequest, match=r"--name|is not valid"):
        check_name(name)


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
