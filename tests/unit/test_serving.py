"""Claims about the application as it is served: who may ask under which name, and for what."""

import socket
from types import SimpleNamespace

import pytest

from services.core.errors import InvalidRequest, NotFound
from services.core.ledger import JobState
from services.core.settings import Settings
from services.embedded.jobs import JobRunner, request_job
from services.embedded.launcher import Interpreters
from services.embedded.serving import AddressesOnly, is_loopback, web_app
from tests.fakes_search import Index

URL = "https://example.org/team/app.git"


class Runner:
    """Queues jobs as the real one does, and runs none."""

    def __init__(self, owner):
        self.owner = owner
        self.remove = owner.catalog.remove

    def submit(self, location, name=None, ref=None, *, allow_local=True):
        return request_job(self.owner, location, name, ref, allow_local=allow_local).id


@pytest.fixture
def serve(tmp_path):
    index = Index(tmp_path)

    def client(host, allowed_hosts=""):
        # On the list, so that no name server is asked.
        settings = Settings(allowed_hosts=allowed_hosts, git_allow="example.org,github.com")
        parts = {"searcher": index.searcher, "catalog": index.catalog, "ledger": index.ledger, "engine": index.engine}
        owner = SimpleNamespace(**parts, settings=settings)
        return web_app(owner, Runner(owner), host).test_client()

    return client


def submit(client, source, **fields):
    return client.post("/v1/repos", json={"source": source, **fields}, headers={"Host": "localhost"})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.5", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host, expected):
    assert is_loopback(host) is expected


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "0.0.0.0"])
@pytest.mark.parametrize("asked", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil", ""])
def test_a_foreign_name_is_refused_wherever_it_listens(serve, host, asked):
    response = serve(host).get("/v1/search?q=x", headers={"Host": asked})

    assert (response.status_code, response.json["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "0.0.0.0"])
@pytest.mark.parametrize(
    "asked", ["localhost", "127.0.0.1:8080", "127.0.0.2:8080", "192.168.1.5", "[::1]:8080", "[fd00::1]"]
)
def test_addresses_and_localhost_are_taken_wherever_it_listens(serve, host, asked):
    assert serve(host).get("/v1/search?q=x", headers={"Host": asked}).status_code == 200


def test_the_machine_and_the_given_host_are_known_by_name(serve):
    client = serve("box.example.org")

    for name in ("box.example.org:8080", "BOX.example.org", socket.gethostname()):
        assert client.get("/v1/search?q=x", headers={"Host": name}).status_code == 200


def test_a_proxys_name_is_taken_once_it_is_set(serve):
    client = serve("127.0.0.1", allowed_hosts="Code.example.org, other.example.org")

    assert client.get("/v1/search?q=x", headers={"Host": "code.example.org"}).status_code == 200
    assert client.get("/v1/search?q=x", headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(("host", "allowed"), [("0.0.0.0", ""), ("192.168.1.5", ""), ("127.0.0.1", "code.example.org")])
def test_a_path_is_refused_where_others_can_ask(serve, tmp_path, host, allowed):
    client = serve(host, allowed)

    for source in (str(tmp_path), f"file://{tmp_path}"):
        response = submit(client, source)
        assert (response.status_code, response.json["error"]["code"]) == (400, "invalid_request")
    assert submit(client, URL).status_code == 202


def test_a_path_is_taken_where_only_this_machine_can_ask(serve, tmp_path):
    assert submit(serve("127.0.0.1"), str(tmp_path), name="here").status_code == 202


@pytest.mark.parametrize("name", ["app", None])
def test_a_taken_name_does_not_tell_where_its_repository_lies(serve, tmp_path, name):
    submit(serve("127.0.0.1"), str(tmp_path), name="app")

    response = submit(serve("0.0.0.0"), URL, name=name)

    assert response.status_code == 400
    assert "'app' is taken" in response.json["error"]["message"]
    assert str(tmp_path) not in response.text


def test_the_same_address_again_keeps_its_name(serve):
    client = serve("0.0.0.0")

    first, second = (submit(client, URL) for _ in range(2))

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json["job"]["id"] == second.json["job"]["id"]


@pytest.mark.parametrize("source", ["https://10.0.0.5/team/app", "https://127.1/team/app", "git@127.0.0.1:team/app"])
def test_a_private_host_is_refused_where_others_can_ask(serve, source):
    response = submit(serve("0.0.0.0"), source)

    assert (response.status_code, response.json["error"]["code"]) == (400, "invalid_request")
    assert submit(serve("127.0.0.1"), "https://10.0.0.5/team/app").status_code == 202


def test_a_host_on_the_list_is_taken_by_plain_http(serve):
    assert submit(serve("0.0.0.0"), "http://example.org/team/app").status_code == 202
    assert submit(serve("127.0.0.1"), "http://example.net/team/app", name="other").status_code == 400


@pytest.mark.parametrize("only_addresses", [True, False])
def test_a_known_repository_is_looked_at_and_a_failed_job_retried_whatever_its_source(tmp_path, only_addresses):
    index = Index(tmp_path)
    home = SimpleNamespace(run=tmp_path)
    owner = SimpleNamespace(catalog=index.catalog, ledger=index.ledger, settings=Settings(), home=home)
    runner = JobRunner(owner, Interpreters())
    jobs = AddressesOnly(runner, index.catalog) if only_addresses else runner
    (tmp_path / "project").mkdir()
    index.catalog.add("here", "directory", str(tmp_path / "project"), "")

    first = jobs.look("here")
    assert jobs.look("here") == first
    with pytest.raises(InvalidRequest, match="only a failed one can be retried"):
        jobs.retry(first)
    index.ledger.finish_job(first, JobState.FAILED, error="no such host")
    again = jobs.retry(first)

    assert index.ledger.job(again).state is JobState.QUEUED
    assert index.ledger.job(again).repo == "here"
    with pytest.raises(NotFound):
        jobs.look("nope")
