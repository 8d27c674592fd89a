"""Model Context Protocol over streamable HTTP, stateless: one JSON-RPC message in, one out.

Specification: https://modelcontextprotocol.io/specification/2025-06-18/basic/transports. There
are no sessions and nothing the server would say unasked, so GET is not offered.
"""

from typing import Any

from flask import Blueprint, Response, jsonify, request

from services.api.mcp_tools import TOOLS, call_tool
from services.api.services import Services
from services.api.strict_json import parse_json
from services.core.errors import InvalidRequest, QuarryError

_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
# What a client speaks that doesn't say: the version before the header was introduced.
_UNSAID_VERSION = "2025-03-26"

_PARSE_ERROR, _INVALID_REQUEST, _NO_METHOD, _INVALID_PARAMS = -32700, -32600, -32601, -32602

_INSTRUCTIONS = (
    "Search the team's indexed source code. `search` takes words, an identifier or a pattern and returns "
    "chunks with repository, path and lines; `read_file_lines` shows more of a file; `list_repos` says what is indexed."
)


class _RpcError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def mcp_views(services: Services) -> Blueprint:
    """Return the route."""
    views = Blueprint("mcp", __name__)

    @views.post("/mcp")
    def message() -> Response | tuple[Response, int]:
        try:
            document = parse_json(request.get_data())
        except InvalidRequest as error:
            return _failure(None, _PARSE_ERROR, str(error)), 400
        try:
            identity, method, parameters = _read(document)
        except _RpcError as error:
            return _failure(None, error.code, str(error)), 400
        if identity is None:
            return Response(status=202)
        if method != "initialize" and _spoken() not in _VERSIONS:
            message = f"protocol version {_spoken()[:40]!r} is not spoken here; use one of {', '.join(_VERSIONS)}"
            return _failure(identity, _INVALID_REQUEST, message), 400
        try:
            return jsonify({"jsonrpc": "2.0", "id": identity, "result": _answer(services, method, parameters)})
        except _RpcError as error:
            return _failure(identity, error.code, str(error))

    return views


def _read(document: Any) -> tuple[str | int | None, str, dict[str, Any]]:
    """Return id (None for notifications and answers), method and parameters of a message."""
    if not isinstance(document, dict) or document.get("jsonrpc") != "2.0":
        raise _RpcError(_INVALID_REQUEST, 'a message is one JSON object with "jsonrpc": "2.0"; batches are not taken')
    identity, method = document.get("id"), document.get("method")
    if method is None and ("result" in document or "error" in document):
        return None, "", {}
    if not isinstance(method, str):
        raise _RpcError(_INVALID_REQUEST, "method must be a string")
    if "id" in document and (isinstance(identity, bool) or not isinstance(identity, str | int)):
        raise _RpcError(_INVALID_REQUEST, "id must be a string or an integer")
    parameters = document.get("params", {})
    if not isinstance(parameters, dict):
        raise _RpcError(_INVALID_REQUEST, "params must be an object")
    return identity, method, parameters


def _answer(services: Services, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        return _initialize(parameters)
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        return _call(services, parameters)
    raise _RpcError(_NO_METHOD, f"method {method[:60]!r} is not offered")


def _initialize(parameters: dict[str, Any]) -> dict[str, Any]:
    asked = parameters.get("protocolVersion")
    return {
        "protocolVersion": asked if asked in _VERSIONS else _VERSIONS[0],
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": "quarry", "title": "Quarry code search", "version": "1"},
        "instructions": _INSTRUCTIONS,
    }


def _call(services: Services, parameters: dict[str, Any]) -> dict[str, Any]:
    name, arguments = parameters.get("name"), parameters.get("arguments", {})
    if not isinstance(name, str) or name not in [tool["name"] for tool in TOOLS]:
        raise _RpcError(_INVALID_PARAMS, f"tool {str(name)[:60]!r} is unknown; tools/list names them")
    if not isinstance(arguments, dict):
        raise _RpcError(_INVALID_PARAMS, "arguments must be an object")
    try:
        text, structured = call_tool(services, name, arguments)
    except QuarryError as error:
        # The protocol wants what a model can correct as a result, not as a protocol error.
        return {"content": [{"type": "text", "text": str(error)}], "isError": True}
    return {"content": [{"type": "text", "text": text}], "structuredContent": structured, "isError": False}


def _spoken() -> str:
    return request.headers.get("MCP-Protocol-Version", _UNSAID_VERSION)


def _failure(identity: str | int | None, code: int, message: str) -> Response:
    return jsonify({"jsonrpc": "2.0", "id": identity, "error": {"code": code, "message": message}})
