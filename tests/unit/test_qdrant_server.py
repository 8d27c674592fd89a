"""Every way in which a Qdrant server can fail to answer becomes an error of Quarry's that says what to do."""

import json
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.core.adapters.qdrant_server import QdrantServer
from services.core.errors import InvalidRequest, Unavailable


class CannedServer(ThreadingHTTPServer):
    """Gives the answers it is told, one after the other, the last again and again; None cuts the connection."""

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), CannedHandler)
        self.answers = list(answers)
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class CannedHandler(BaseHTTPRequestHandler):
    """Answers from the server's list."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, dict(self.headers), body))
        answers = self.server.answers
        given = answers.pop(0) if len(answers) > 1 else answers[0]
        if given is None:
            self.close_connection = True
            return
        status, content = given
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = answer  # noqa: N815

    def log_message(self, *_args):
        pass


@contextmanager
def canned(*answers, **options):
    """A canned server and a connection to it."""
    server = CannedServer(answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    connection = QdrantServer(server.url, **options)
    try:
        yield server, connection
    finally:
        connection.close()
        server.shutdown()
        thread.join()
        server.server_close()


def refusal(text):
    return json.dumps({"status": {"error": text}, "time": 0.0}).encode()


OK = (200, b'{"result": {"count": 3}, "status": "ok"}')


def test_the_result_of_a_request_is_returned():
    with canned(OK) as (server, connection):
        assert connection.read("/collections/c/points/count", {"exact": True}) == {"count": 3}

        method, path, headers, body = server.asked[0]

    assert (method, path, json.loads(body)) == ("POST", "/collections/c/points/count", {"exact": True})
    assert headers["Content-Type"] == "application/json"


def test_answers_are_asked_for_uncompressed():
    with canned(OK) as (server, connection):
        connection.read("/collections")

        assert server.asked[0][2]["Accept-Encoding"] == "identity"


def test_the_api_key_goes_with_every_request():
    with canned(OK, api_key="secret") as (server, connection):
        connection.read("/collections")

        assert server.asked[0][2]["api-key"] == "secret"


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (400, InvalidRequest, "wrong filter"),
        (409, InvalidRequest, "wrong filter"),
        (401, Unavailable, "QUARRY_QDRANT_API_KEY"),
        (403, Unavailable, "QUARRY_QDRANT_API_KEY"),
        (404, Unavailable, "start an indexer or run 'quarry rebuild'"),
        (408, Unavailable, "status 408"),
        (429, Unavailable, "status 429"),
        (500, Unavailable, "status 500: wrong filter; see its log"),
        (503, Unavailable, "status 503"),
    ],
)
def test_a_refusal_says_what_the_server_said_and_what_to_do(status, error, said):
    with canned((status, refusal("wrong filter"))) as (server, connection):
        with pytest.raises(error, match=said) as failure:
            connection.read("/collections/c/points/count", {})

        assert type(failure.value) is error
        assert server.url in str(failure.value)
        assert "wrong filter" in str(failure.value)
        assert len(server.asked) == 1


@pytest.mark.parametrize("answer", [(200, b"<html>"), (200, b'{"status": "ok"}'), (200, b"[1]"), (502, b"<html>bad")])
def test_an_answer_that_is_not_qdrants_is_unavailable(answer):
    with canned(answer) as (server, connection), pytest.raises(Unavailable, match=server.url):
        connection.read("/collections")


def test_a_connection_that_is_cut_once_is_no_failure():
    with canned(None, OK) as (server, connection):
        assert connection.write("POST", "/collections/c/points/delete", {"filter": {}}) == {"count": 3}
        assert len(server.asked) == 2


def test_a_connection_that_is_cut_twice_is_unavailable():
    with canned(None) as (server, connection):
        with pytest.raises(Unavailable, match="did not answer GET /collections"):
            connection.read("/collections")

        assert len(server.asked) == 2


def test_a_server_that_accepts_and_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = QdrantServer(f"http://127.0.0.1:{listener.getsockname()[1]}", read_timeout_s=0.2)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="timed out"):
            connection.read("/collections")
        connection.close()

    assert time.monotonic() - began < 2


def test_nobody_at_the_address_is_unavailable_with_the_setting_to_look_at():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        connection = QdrantServer(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(Unavailable, match="QUARRY_QDRANT_URL"):
            connection.check()
        connection.close()


@pytest.mark.parametrize("version", ["1.18.3", "1.9.0", "0.11.1", "", "dev"])
def test_a_server_that_is_too_old_is_refused(version):
    answer = (200, json.dumps({"version": version}).encode())

    with canned(answer) as (_server, connection), pytest.raises(Unavailable, match=r"needs 1\.19 or newer"):
        connection.check()


@pytest.mark.parametrize("version", ["1.19.0", "1.20.0-dev", "2.0.0"])
def test_a_server_that_is_new_enough_is_accepted(version):
    with canned((200, json.dumps({"version": version}).encode())) as (_server, connection):
        assert connection.check() == version


@pytest.mark.parametrize("url", ["ftp://host", "redis://host:1"])
def test_an_address_of_another_kind_is_refused(url):
    with pytest.raises(InvalidRequest, match="http://HOST:PORT"):
        QdrantServer(url)
