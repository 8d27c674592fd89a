import http.client
import socket
import threading
from contextlib import contextmanager

import pytest

from services.core.errors import CorruptData, InvalidRequest, Unavailable
from services.embedded.client import OwnerClient, OwnerGone
from services.embedded.server import Later, SocketServer, listen

pytestmark = pytest.mark.enable_socket


def app(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"ok": true}']


class SlowApp:
    """Answers when it is allowed to."""

    def __init__(self):
        self.asked, self.go_on = threading.Event(), threading.Event()

    def __call__(self, environ, start_response):
        self.asked.set()
        assert self.go_on.wait(20)
        return app(environ, start_response)


@contextmanager
def running(server):
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def test_a_busy_port_is_a_clear_error():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        with pytest.raises(InvalidRequest, match="in use"):
            listen(app, "127.0.0.1", other.getsockname()[1])


@pytest.mark.parametrize(("host", "port"), [("no such host", 80), ("127.0.0.1", 99_999), ("127.0.0.1", -1)])
def test_an_impossible_address_is_a_clear_error(host, port):
    with pytest.raises(InvalidRequest, match="can't listen on"):
        listen(app, host, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_port_that_was_found_is_the_one_that_answers(host):
    with running(listen(app, host, 0)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()


def test_a_body_over_the_limit_is_refused():
    with running(listen(app, "127.0.0.1", 0)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", str(30 << 20))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()


def test_a_request_under_way_is_answered_when_the_server_stops(tmp_path):
    slow, answers = SlowApp(), []
    path = tmp_path / "s" / "sock"
    server = SocketServer(slow, path)
    server.start()
    client = threading.Thread(target=lambda: answers.append(OwnerClient(path).get("/")))
    client.start()
    assert slow.asked.wait(20)
    threading.Timer(0.1, slow.go_on.set).start()

    server.stop()
    client.join()

    assert answers == [{"ok": True}]
    with pytest.raises(OwnerGone):
        OwnerClient(path).get("/")


def test_a_stopped_server_leaves_no_thread_and_says_nothing(tmp_path, caplog):
    before = set(threading.enumerate())

    for _ in range(10):
        server = SocketServer(app, tmp_path / "s" / "sock")
        server.start()
        assert OwnerClient(tmp_path / "s" / "sock").get("/") == {"ok": True}
        server.stop()

    # Those that answer have left their loop; they may still be on their way out.
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
        assert not thread.is_alive()
    assert caplog.records == []


def test_a_socket_is_not_made_where_others_may_replace_it(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s").chmod(0o777)

    with pytest.raises(Unavailable, match="mode 700"):
        SocketServer(app, tmp_path / "s" / "sock")


def test_a_socket_path_that_is_too_long_is_a_clear_error(tmp_path):
    with pytest.raises(Unavailable, match="TMPDIR"):
        SocketServer(app, tmp_path / "s" / ("x" * 120))


def test_an_application_is_made_when_it_is_asked_and_once(tmp_path):
    made = []

    def make():
        made.append(app)
        return app

    server = SocketServer(Later(make), tmp_path / "s" / "sock")
    server.start()
    assert made == []

    client = OwnerClient(tmp_path / "s" / "sock")
    assert [client.get("/"), client.get("/")] == [{"ok": True}] * 2
    server.stop()
    assert made == [app]


def test_an_application_that_can_not_be_made_says_why(tmp_path):
    reasons = [CorruptData("the store is damaged")]

    def make():
        if reasons:
            raise reasons.pop()
        return app

    server = SocketServer(Later(make), tmp_path / "s" / "sock")
    server.start()
    client = OwnerClient(tmp_path / "s" / "sock")
    with pytest.raises(CorruptData, match="the store is damaged"):
        client.get("/")
    assert client.get("/") == {"ok": True}
    server.stop()
