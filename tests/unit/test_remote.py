"""The command line against a server: addresses, refusals, and a job followed through streams that break off."""

import json
import threading
from argparse import Namespace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.cli import remote
from services.cli.arguments import parser
from services.core.errors import InvalidRequest, NotFound, Unavailable
from services.core.settings import Settings

DONE = {"id": 7, "state": "done", "revision": "abc", "progress": {"files": 2}, "error": "", "created_at": 10.0}
DONE |= {"finished_at": 14.0, "counts": {"files": 2, "changed": 2, "chunks": 5, "skipped": {}}}


def job(**changes):
    return DONE | {"state": "running", "finished_at": None, "counts": {}} | changes


class Scripted(BaseHTTPRequestHandler):
    """Answers each route with what it is told next, the last again and again: (status, body) or events."""

    def answer(self):
        route = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, json.loads(body) if body else None))
        answers = self.server.answers[self.command, route]
        status, document = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(document if isinstance(document, bytes) else json.dumps(document).encode())

    do_GET = do_POST = do_DELETE = answer  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    made = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    made.answers, made.asked = {}, []
    monkeypatch.setenv("QUARRY_URL", f"http://127.0.0.1:{made.server_port}/below/")
    monkeypatch.setattr(remote, "_POLL_S", 0.0)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def events(*documents):
    return b"".join(
        b"event: progress\ndata: " + json.dumps(each).encode() + b"\n\n: still here\n\n" for each in documents
    )


def index(capsys, **arguments):
    given = {"source": "https://example.org/r.git", "name": None, "ref": None, "json": True} | arguments
    status = remote.index(Namespace(**given), Settings())
    return status, json.loads(capsys.readouterr().out)


def submitted(number=7):
    return [(202, {"repo": "r", "job": job(id=number)})]


pytestmark = pytest.mark.enable_socket


def test_an_index_is_asked_for_and_followed_by_its_events(server, capsys):
    server.answers["POST", "/below/v1/repos"] = submitted()
    server.answers["GET", "/below/v1/jobs/7/events"] = [(200, events(job(), job(progress={"files": 1}), DONE))]

    status, figures = index(capsys, ref="main")

    assert status == 0
    assert figures == {"repo": "r", "revision": "abc", "seconds": 4.0, "files_per_s": 0.5} | DONE["counts"]
    assert server.asked[0] == ("POST", "/below/v1/repos", {"source": "https://example.org/r.git", "ref": "main"})
    assert len(server.asked) == 2


def test_a_job_is_followed_through_streams_that_break_off_and_servers_that_restart(server, capsys):
    down = (503, {"error": {"code": "unavailable", "message": "starting"}})
    server.answers["POST", "/below/v1/repos"] = submitted()
    server.answers["GET", "/below/v1/jobs/7/events"] = [
        (200, events(job())[:-30]),
        down,
        (200, b""),
        (200, events(DONE)),
    ]
    server.answers["GET", "/below/v1/jobs/7"] = [down, (200, job()), down, (200, job())]

    assert index(capsys)[0] == 0


def test_a_job_that_another_takes_the_place_of_is_followed_there(server, capsys):
    server.answers["POST", "/below/v1/repos"] = submitted()
    superseded = job(state="superseded", counts={"successor": 8})
    server.answers["GET", "/below/v1/jobs/7/events"] = [(200, events(superseded))]
    server.answers["GET", "/below/v1/jobs/8/events"] = [(200, events(DONE | {"id": 8}))]

    assert index(capsys)[0] == 0


def test_a_job_that_fails_is_the_error_it_failed_with(server, capsys):
    failed = job(state="failed", error="no ref 'x'", counts={"code": "not_found"})
    server.answers["POST", "/below/v1/repos"] = submitted()
    server.answers["GET", "/below/v1/jobs/7/events"] = [(200, events(failed))]

    with pytest.raises(NotFound, match="no ref 'x'"):
        index(capsys)


def test_a_server_that_stays_away_is_unavailable(server, capsys, monkeypatch):
    monkeypatch.setattr(remote, "_PATIENCE_S", 0.05)
    down = (503, {"error": {"code": "unavailable", "message": "starting"}})
    server.answers["POST", "/below/v1/repos"] = submitted()
    server.answers["GET", "/below/v1/jobs/7/events"] = [down]
    server.answers["GET", "/below/v1/jobs/7"] = [down]

    with pytest.raises(Unavailable, match="starting"):
        index(capsys)


def test_an_index_of_what_is_live_says_its_revision(server, capsys):
    server.answers["POST", "/below/v1/repos"] = submitted()
    server.answers["GET", "/below/v1/jobs/7/events"] = [(200, events(DONE | {"revision": ""}))]
    server.answers["GET", "/below/v1/repos/r"] = [(200, {"revision": "def"})]

    assert index(capsys)[1]["revision"] == "def"


def test_all_skipped_files_are_listed_page_by_page(server, capsys, monkeypatch):
    monkeypatch.setattr(remote, "_PAGE", 2)
    files = [{"path": f"{n}.bin", "reason": "binary", "explanation": "x", "detail": ""} for n in range(3)]
    repo = {"name": "a/b", "kind": "url", "source": "s", "ref": "", "revision": "", "files": 0, "job": {"id": 7}}
    repo |= {"skipped": {"binary": 3}, "skipped_total": 3}
    server.answers["GET", "/below/v1/repos/a%2Fb"] = [
        (200, repo | {"skipped_files": files[:2]}),
        (200, repo | {"skipped_files": files[2:]}),
    ]
    server.answers["GET", "/below/v1/jobs/7"] = [(200, job())]

    remote.status(Namespace(name="a/b", skipped=True, json=False), Settings())

    shown = capsys.readouterr().out
    assert all(file["path"] in shown for file in files)
    assert "job 7 on a/b: running" in shown


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://host", "http://", "http://user:secret@host", "http://h/?x=1"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InvalidRequest, match="not an address like"):
        remote.ServerClient(url)


def test_a_server_that_is_not_there_is_unavailable_and_says_where_it_should_be(monkeypatch):
    monkeypatch.setenv("QUARRY_URL", "http://127.0.0.1:9")

    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9.*is QUARRY_URL right"):
        remote.repos(Namespace(json=True), Settings())


def run(words, **settings):
    arguments = parser().parse_args(words)
    return arguments.run(arguments, Settings(**settings))


@pytest.mark.parametrize("words", [["search", "x"], ["index", "."], ["status"], ["repos"], ["remove", "x"]])
def test_the_settings_of_a_deployment_alone_do_not_lead_to_a_data_directory(monkeypatch, tmp_path, words):
    monkeypatch.delenv("QUARRY_URL", raising=False)

    with pytest.raises(InvalidRequest, match="set QUARRY_URL"):
        run(words, database_url="postgresql+psycopg://nowhere/x", home=tmp_path / "home")


@pytest.mark.parametrize("words", [["rebuild"], ["fsck"], ["doctor"], ["gc"]])
def test_the_address_of_a_server_alone_does_not_lead_to_a_data_directory(monkeypatch, tmp_path, words):
    monkeypatch.setenv("QUARRY_URL", "http://127.0.0.1:9")

    with pytest.raises(InvalidRequest, match="settings of the deployment"):
        run(words, home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("quarry")
