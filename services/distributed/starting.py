"""What a server answers before it can: that it lives, and what it waits for."""

import json
from collections.abc import Callable, Iterable
from typing import Any

_StartResponse = Callable[..., Any]
_RETRY_S = "2"


class Starting:
    """A WSGI application in front of one that is still being made. `waits_for` may be set at any time."""

    def __init__(self) -> None:
        self.app: Any = None
        self.waits_for = "its servers"

    def __call__(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if self.app is not None:
            answer: Iterable[bytes] = self.app(environ, start_response)
            return answer
        kind = ("Content-Type", "application/json")
        if environ.get("PATH_INFO") == "/healthz":
            start_response("200 OK", [kind])
            return [b'{"status":"ok"}']
        start_response("503 Service Unavailable", [kind, ("Retry-After", _RETRY_S)])
        message = f"Quarry is starting and waits for {self.waits_for}"
        return [json.dumps({"error": {"code": "unavailable", "message": message}}).encode()]
