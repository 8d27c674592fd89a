import pytest

from services.api.app import create_app
from tests.fakes_search import Index


@pytest.fixture
def client(tmp_path):
    index = Index(tmp_path)
    index.add("app", {"src/a.py": "".join(f"line_{i} = {i}\n" for i in range(1, 21)) + "class Shiny:\n    pass\n"})
    return create_app(index.searcher, jobs=index.jobs, catalog=index.catalog, ledger=index.ledger).test_client()


def rpc(client, method, params=None, *, identity=1, headers=None):
    message = {"jsonrpc": "2.0", "method": method, "id": identity} | ({"params": params} if params is not None else {})
    return client.post("/mcp", json=message, headers=headers)


def call(client, name, **arguments):
    return rpc(client, "tools/call", {"name": name, "arguments": arguments}).json["result"]


def test_a_client_is_welcomed_in_the_version_it_speaks(client):
    result = rpc(client, "initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}}).json[
        "result"
    ]

    assert result["protocolVersion"] == "2025-06-18"
    assert "tools" in result["capabilities"]


def test_a_client_of_an_unknown_version_is_offered_one_that_is_spoken(client):
    result = rpc(client, "initialize", {"protocolVersion": "1999-01-01"}).json["result"]

    assert result["protocolVersion"] == "2025-11-25"


def test_notifications_and_answers_are_taken_without_a_word(client):
    for message in ({"method": "notifications/initialized"}, {"id": 1, "result": {}}):
        response = client.post("/mcp", json={"jsonrpc": "2.0"} | message)
        assert (response.status_code, response.data) == (202, b"")


def test_a_ping_is_answered(client):
    assert rpc(client, "ping", identity="x").json == {"jsonrpc": "2.0", "id": "x", "result": {}}


def test_every_tool_says_what_it_takes(client):
    tools = rpc(client, "tools/list").json["result"]["tools"]

    assert [tool["name"] for tool in tools] == ["search", "read_file_lines", "list_repos"]
    assert all(tool["inputSchema"]["type"] == "object" and tool["description"] for tool in tools)


def test_search_gives_places_and_text(client):
    result = call(client, "search", query="Shiny", limit=1)

    assert not result["isError"]
    assert "app/src/a.py:17-22" in result["content"][0]["text"]
    assert result["structuredContent"]["hits"][0]["path"] == "src/a.py"


def test_lines_of_a_file_are_read_with_their_numbers(client):
    result = call(client, "read_file_lines", repo="app", path="src/a.py", start_line=3, end_line=4)

    assert result["content"][0]["text"] == "3\tline_3 = 3\n4\tline_4 = 4"
    assert result["structuredContent"]["lines"] == 22


def test_repositories_are_listed(client):
    assert call(client, "list_repos")["structuredContent"]["repos"][0]["name"] == "app"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search", {}),
        ("search", {"query": "x", "limit": 0}),
        ("search", {"query": "x", "colour": "red"}),
        ("search", {"query": "x", "repos": ["nope"]}),
        ("search", {"query": "(", "mode": "regex"}),
        ("read_file_lines", {"repo": "app"}),
        ("read_file_lines", {"repo": "app", "path": "nope"}),
        ("read_file_lines", {"repo": "nope", "path": "a"}),
        ("read_file_lines", {"repo": "app", "path": "src/a.py", "start_line": 99}),
        ("read_file_lines", {"repo": "app", "path": "src/a.py", "start_line": 0}),
        ("read_file_lines", {"repo": "app", "path": "src/a.py", "start_line": True}),
        ("list_repos", {"x": 1}),
    ],
)
def test_what_a_model_can_correct_is_told_as_a_result(client, tool, arguments):
    result = call(client, tool, **arguments)

    assert result["isError"]
    assert result["content"][0]["text"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "id": 2, "method": "ping"}', -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', -32600),
        (b'{"id": 1, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1}', -32600),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', -32600),
    ],
)
def test_what_is_no_message_is_refused(client, body, code):
    response = client.post("/mcp", data=body, content_type="application/json")

    assert (response.status_code, response.json["error"]["code"]) == (400, code)


def test_unknown_methods_and_tools_are_protocol_errors(client):
    assert rpc(client, "resources/list").json["error"]["code"] == -32601
    assert rpc(client, "tools/call", {"name": "rm"}).json["error"]["code"] == -32602
    assert rpc(client, "tools/call", {"name": ["rm"]}).json["error"]["code"] == -32602
    assert rpc(client, "tools/call", {"name": "search", "arguments": []}).json["error"]["code"] == -32602


def test_a_version_that_is_not_spoken_is_refused_after_the_welcome(client):
    assert rpc(client, "ping", headers={"MCP-Protocol-Version": "2025-06-18"}).status_code == 200
    assert rpc(client, "ping", headers={"MCP-Protocol-Version": "1999-01-01"}).status_code == 400


def test_there_is_no_stream_and_no_session(client):
    assert client.get("/mcp", headers={"Accept": "text/event-stream"}).status_code == 405
    assert client.delete("/mcp").status_code == 405


def test_a_page_of_another_site_gets_nothing(client):
    assert rpc(client, "ping", headers={"Origin": "https://evil.example"}).status_code == 403
    assert rpc(client, "ping", headers={"Origin": "http://localhost"}).status_code == 200
