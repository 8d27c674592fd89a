"""Errors as the caller gets them: one JSON shape for programs, a page for people."""

import logging
from typing import Any

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from services.core.errors import QuarryError, QueueFull, Unavailable

log = logging.getLogger(__name__)

_RETRY_S = 1
# A queue that is full takes that long to get noticeably shorter.
_RETRY_QUEUE_S = 30

_CODES = {
    400: "invalid_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}
_MESSAGES = {
    404: "there is nothing at this address; /docs lists what there is",
    405: "this address does not take that method",
    413: "the body is too large",
    415: "the body must be JSON, sent as 'Content-Type: application/json'",
}


def answer_errors(app: Flask) -> None:
    """Make `app` answer every error in one shape."""

    @app.errorhandler(QuarryError)
    def on_purpose(error: QuarryError) -> Response:
        if error.http_status >= 500:
            log.error("request_failed", extra={"path": request.path, "code": error.code, "error": str(error)})
        response = _response(error.http_status, error.code, str(error))
        if isinstance(error, Unavailable):
            response.headers["Retry-After"] = str(_RETRY_QUEUE_S if isinstance(error, QueueFull) else _RETRY_S)
        return response

    @app.errorhandler(HTTPException)
    def by_framework(error: HTTPException) -> Any:
        status = error.code or 500
        if status < 400:
            return error
        code = _CODES.get(status, "internal" if status >= 500 else "invalid_request")
        response = _response(status, code, _MESSAGES.get(status, error.description or error.name))
        if status == 405 and (allowed := getattr(error, "valid_methods", None)):
            response.headers["Allow"] = ", ".join(sorted(allowed))
        return response

    @app.errorhandler(Exception)
    def by_mistake(error: Exception) -> Response:
        log.exception("request_crashed", extra={"path": request.path})
        return _response(500, "internal", "internal error; the server's log has it")


def _response(status: int, code: str, message: str) -> Response:
    if _for_people():
        response = Response(render_template("error.html", status=status, message=message), mimetype="text/html")
    else:
        response = jsonify({"error": {"code": code, "message": message}})
    response.status_code = status
    return response


def _for_people() -> bool:
    if request.path.startswith(("/v1/", "/mcp")):
        return False
    best = request.accept_mimetypes.best_match(["application/json", "text/html"])
    return best == "text/html"
