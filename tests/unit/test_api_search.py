import pytest

from services.api.app import create_app
from tests.fakes_search import Index


@pytest.fixture
def client(tmp_path):
    index = Index(tmp_path)
    index.add("app", {"src/a.py": "class Shiny:\n    pass\n", "lib/b.go": "package b // shiny\n"})
    index.add("team/other", {"src/a.py": "class Shiny:\n    pass\n"})
    return create_app(index.searcher, jobs=index.jobs, catalog=index.catalog, ledger=index.ledger).test_client()


def test_get_and_post_give_the_same_answer(client):
    got = client.get(
        "/v1/search?q=Shiny&repo=app&repo=team/other&lang=python&path=src/**&mode=symbol&limit=1&offset=1"
    ).json
    posted = client.post(
        "/v1/search",
        json={
            "q": "Shiny",
            "repo": ["app", "team/other"],
            "lang": "py",
            "path": "src/**",
            "mode": "symbol",
            "limit": 1,
            "offset": 1,
        },
    ).json

    assert got["hits"] == posted["hits"]
    assert got["hits"][0]["repo"] == "team/other"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "q=",
        "q=%20",
        "q=a&q=b",
        "q=a&limit=0",
        "q=a&limit=-1",
        "q=a&limit=1e9",
        "q=a&limit=1.5",
        "q=a&limit=",
        "q=a&limit=" + "9" * 5000,
        "q=a&offset=9223372036854775808",
        "q=a&mode=fuzzy",
        "q=a&lang=klingon",
        "q=a&path=%5Ba",
        "q=a&explain=maybe",
        "q=a&apikey=secret",
        "q=%00",
        "q=%ED%A0%80",
        "q=%FF",
        "q=(&mode=regex",
        "q=" + "a" * 1001,
        "q=a" + "&repo=x" * 600,
    ],
)
def test_a_bad_query_string_is_a_400_that_says_why(client, query):
    response = client.get(f"/v1/search?{query}")

    assert response.status_code == 400
    assert response.json["error"]["code"] == "invalid_request"
    assert response.json["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'"x"',
        b"5",
        b"null",
        b'{"q": "a", "q": "b"}',
        b'{"q": NaN}',
        b'{"q": "a", "limit": Infinity}',
        b'{"q": "a", "limit": 1e999}',
        b'{"q": "a", "limit": "5"}',
        b'{"q": "a", "limit": true}',
        b'{"q": "a", "limit": ' + b"9" * 5000 + b"}",
        b'{"q": "\\u0000"}',
        b'{"q": "\\ud800"}',
        b'{"q": "a", "repo": {"$ne": 1}}',
        b'{"\\ud800": 1}',
        b'{"q": "\xff"}',
        b'{"q": ' + b"[" * 60_000,
        b'{"a":' * 20_000,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_bad_body_is_a_400_that_says_why(client, body):
    response = client.post("/v1/search", data=body, content_type="application/json")

    assert response.status_code == 400
    assert response.json["error"]["code"] == "invalid_request"


def test_a_body_of_another_type_is_a_415(client):
    for content_type in ("text/plain", "application/x-www-form-urlencoded", None):
        response = client.post("/v1/search", data=b'{"q": "a"}', content_type=content_type)
        assert (response.status_code, response.json["error"]["code"]) == (415, "unsupported_media_type")


def test_a_body_that_is_too_large_is_a_413(client):
    response = client.post("/v1/search", data=b" " * 200_000, content_type="application/json")

    assert (response.status_code, response.json["error"]["code"]) == (413, "too_large")


def test_an_unknown_repository_is_a_404(client):
    response = client.get("/v1/search?q=a&repo=nope")

    assert (response.status_code, response.json["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "query", ["🦀", "' OR 1=1 --", "<script>alert(1)</script>", "../../etc/passwd", "\u202eabc", "a" * 1000]
)
def test_strange_queries_are_answered(client, query):
    response = client.get("/v1/search", query_string={"q": query})

    assert response.status_code == 200
    assert response.json["query"] == query


def test_searches_are_counted_by_mode(client):
    client.get("/v1/search?q=a&mode=lexical")

    text = client.get("/metrics").text
    assert 'quarry_searches_total{mode="lexical"} 1.0' in text
    assert "quarry_points 3.0" in text
    assert 'quarry_http_requests_total{method="GET",route="/v1/search",status="200"} 1.0' in text
