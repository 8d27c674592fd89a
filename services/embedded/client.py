"""A client of the owner's socket: the same HTTP API, for processes that do not own the data directory."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from services.core.errors import ERRORS, QuarryError, Unavailable

_TIMEOUT_S = 60.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class OwnerClient:
    """The owner of a data directory, seen from another process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, route: str, **query: Any) -> dict[str, Any]:
        """Return the answer to a GET.

        Raises:
            ConnectionError: nobody listens.
            QuarryError: the owner refused, with its reason.
        """
        pairs = [(key, item) for key, value in query.items() for item in _items(value)]
        return self._ask("GET", f"{route}?{urlencode(pairs)}" if pairs else route)

    def post(self, route: str, document: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a POST of `document`; raises as `get` does."""
        return self._ask("POST", route, json.dumps(document))

    def delete(self, route: str) -> dict[str, Any]:
        """Return the answer to a DELETE; raises as `get` does."""
        return self._ask("DELETE", route)

    def _ask(self, method: str, route: str, body: str | None = None) -> dict[str, Any]:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, route, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            data = response.read()
        except FileNotFoundError as error:
            raise ConnectionRefusedError(str(error)) from error
        except TimeoutError as error:
            raise Unavailable(f"the owner of the data directory did not answer in {_TIMEOUT_S:.0f} s") from error
        finally:
            connection.close()
        document: dict[str, Any] = json.loads(data) if data else {}
        if response.status >= 400:
            problem = document.get("error", {})
            raise ERRORS.get(problem.get("code", ""), QuarryError)(problem.get("message", f"HTTP {response.status}"))
        return document


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
