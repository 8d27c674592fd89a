import pytest

from services.api.app import create_app
from services.core.errors import Unavailable
from tests.fakes_search import Index


@pytest.fixture
def index(tmp_path):
    index = Index(tmp_path)
    index.add("app", {"a.py": "x = 1\n"})
    return index


@pytest.fixture
def app(index):
    return create_app(
        index.searcher,
        jobs=index.jobs,
        catalog=index.catalog,
        ledger=index.ledger,
        allowed_hosts=("localhost", "127.0.0.1", "[::1]"),
    )


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_can_not_change_anything(client, index, headers):
    for method, address in (("POST", "/v1/repos"), ("DELETE", "/v1/repos/app"), ("POST", "/v1/search")):
        response = client.open(address, method=method, json={"source": "/x"}, headers=headers)
        assert (response.status_code, response.json["error"]["code"]) == (403, "forbidden")
    assert index.catalog.get("app")


def test_the_own_page_and_programs_may(client):
    for headers in ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, {}):
        assert client.post("/v1/search", json={"q": "x"}, headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "", "localhost.evil.example"])
def test_a_name_that_is_not_ours_is_refused_even_for_reading(client, host):
    assert client.get("/v1/search?q=x", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST"])
def test_our_own_names_are_taken(client, host):
    assert client.get("/v1/search?q=x", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "address", ["/", "/?q=x", "/v1/search?q=x", "/nowhere", "/repos", "/docs", "/static/quarry.js"]
)
def test_every_answer_carries_the_security_headers(client, address):
    with client.get(address) as response:
        headers = response.headers

    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("method", "address", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/search/", 404, "not_found"),
        ("GET", "/v1/%2e%2e/%2e%2e/etc/passwd", 404, "not_found"),
        ("GET", "/static/../app.py", 404, "not_found"),
        ("PUT", "/v1/search", 405, "method_not_allowed"),
        ("DELETE", "/v1/repos", 405, "method_not_allowed"),
        ("BREW", "/v1/repos", 405, "method_not_allowed"),
    ],
)
def test_every_error_has_the_one_shape(client, method, address, status, code):
    response = client.open(address, method=method)

    assert (response.status_code, response.json["error"]["code"]) == (status, code)
    assert response.json.keys() == {"error"}
    if status == 405:
        assert response.headers["Allow"]


def test_a_bug_is_a_500_that_tells_nothing(client, index, caplog):
    def crash(*_):
        raise RuntimeError("secret detail")

    index.catalog.list = crash
    response = client.get("/v1/repos")

    assert (response.status_code, response.json["error"]["code"]) == (500, "internal")
    assert "secret" not in response.text
    assert "request_crashed" in caplog.messages


def test_what_does_not_answer_now_is_a_503_to_retry(client, index):
    def down(*_):
        raise Unavailable("vectors did not answer in 2 s")

    index.vectors.count = down
    response = client.get("/readyz")

    assert (response.status_code, response.json["error"]["code"]) == (503, "unavailable")
    assert response.headers["Retry-After"]
    assert client.get("/healthz").json == {"status": "ok"}


def test_people_get_a_page_for_an_error_and_programs_json(client):
    page = client.get("/nowhere", headers={"Accept": "text/html,*/*;q=0.8"})

    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert client.get("/v1/nowhere", headers={"Accept": "text/html"}).mimetype == "application/json"
