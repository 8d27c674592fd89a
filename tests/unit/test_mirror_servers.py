"""Claims about the servers that a mirror asks: which they may be, what they may answer, and which tip they name."""

import contextlib
import os
import re
import socket
import threading
import time

import pytest

from loadtest.forge import Forge
from services.chunker import mirror
from services.chunker.git_command import command, environment, run
from services.core.errors import InvalidRequest, Unavailable
from tests.repositories import contents

ADVERTISEMENT = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n"
    b"001e# service=git-upload-pack\n0000"
)


@pytest.fixture
def mirrors(tmp_path):
    return tmp_path / "mirrors"


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
