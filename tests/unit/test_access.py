import socket
import threading
from contextlib import contextmanager

import pytest

from services.core.errors import InvalidRequest, NotFound, QuarryError, Unavailable
from services.core.settings import Settings
from services.embedded.access import own, persist, reach
from services.embedded.client import OwnerClient, OwnerGone
from services.embedded.home import Home

pytestmark = pytest.mark.enable_socket


@contextmanager
def answering(path, data):
    """Answer one request on the socket at `path` with `data`."""

    def answer():
        connection, _ = listener.accept()
        connection.recv(1 << 16)
        connection.sendall(data)
        connection.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=answer)
        thread.start()
        yield OwnerClient(path)
        thread.join()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
    ],
)
def test_an_owner_that_ends_in_its_answer_is_gone(tmp_path, data):
    with answering(tmp_path / "s", data) as client, pytest.raises(OwnerGone):
        client.get("/v1/search", q="x")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b'HTTP/1.1 404 N\r\n\r\n{"error": {"code": "not_found", "message": "none"}}', NotFound, "none"),
        (b"HTTP/1.1 413 T\r\n\r\nRequest Entity Too Large\n\nmore", InvalidRequest, "^Request Entity Too Large$"),
        (b"HTTP/1.1 500 E\r\n\r\n", QuarryError, "HTTP 500"),
    ],
)
def test_a_refusal_is_the_error_it_names(tmp_path, data, error, message):
    with answering(tmp_path / "s", data) as client, pytest.raises(error, match=message) as caught:
        client.delete("/v1/repos/x")

    assert type(caught.value) is error


def test_a_query_that_is_no_text_is_sent_as_its_bytes(tmp_path):
    with answering(tmp_path / "s", b"HTTP/1.1 200 OK\r\n\r\n{}") as client:
        assert client.get("/v1/search", q="odd \udcff") == {}


def test_a_request_whose_owner_ended_is_made_again():
    outcomes = iter([OwnerGone(), OwnerGone(), "answer"])

    def request():
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert persist(request) == "answer"


@pytest.mark.parametrize(("raised", "seen"), [(BrokenPipeError, BrokenPipeError), (OwnerGone, Unavailable)])
def test_another_broken_pipe_or_owners_that_always_end_are_not_retried_for_ever(raised, seen):
    def request():
        raise raised("x")

    with pytest.raises(seen):
        persist(request)


def test_a_free_directory_is_opened_as_its_owner_and_given_back(tmp_path):
    settings = Settings(home=tmp_path / "home")

    owner = reach(settings, "search")

    with pytest.raises(Unavailable, match="in use by 'search'"):
        own(settings, "serve")
    owner.close()
    own(settings, "serve").close()


def test_an_owner_that_cannot_be_opened_gives_the_directory_back(tmp_path):
    settings = Settings(home=tmp_path / "home")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "catalog.db").write_bytes(b"no database" * 100)

    with pytest.raises(QuarryError):
        own(settings, "serve")

    assert Home(settings.home).try_own("serve")
