"""A client of the owner's socket: the same HTTP API, for processes that do not own the data directory."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from services.core.errors import ERRORS, InvalidRequest, QuarryError, Unavailable

_TIMEOUT_S = 60.0


class OwnerGone(ConnectionError):
    """Nobody listens, or whoever did ended before the answer; a plain `BrokenPipeError` means standard output."""


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
            OwnerGone: nobody listens, or not until the end.
            QuarryError: the owner refused, with its reason.
        """
        pairs = [(key, item) for key, value in query.items() for item in _items(value)]
        return self._ask("GET", f"{route}?{urlencode(pairs, errors='surrogateescape')}" if pairs else route)

    def post(self, route: str, document: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a POST of `document`; raises as `get` does."""
        return self._ask("POST", route, json.dumps(document))

    def delete(self, route: str) -> dict[str, Any]:
        """Return the answer to a DELETE; raises as `get` does."""
        return self._ask("DELETE", route)

    def _ask(self, method: str, route: str, body: str | None = None) -> dict[str, Any]:
        status, data = self._exchange(method, route, body)
        try:
            document: dict[str, Any] = json.loads(data) if data else {}
        except ValueError as error:
            if status >= 400:
                # The server's own words, for what did not get as far as the API: too long, say.
                raise _refusal(status, {"message": data.decode(errors="replace").partition("\n")[0]}) from error
            raise OwnerGone(f"the answer is no JSON: {error}") from error
        if status >= 400:
            raise _refusal(status, document.get("error", {}))
        return document

    def _exchange(self, method: str, route: str, body: str | None) -> tuple[int, bytes]:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, route, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            raise Unavailable(f"the owner of the data directory did not answer in {_TIMEOUT_S:.0f} s") from error
        except PermissionError as error:
            raise Unavailable(f"the owner's socket {str(self._path)!r} can't be opened: {error.strerror}") from error
        except (OSError, http.client.HTTPException) as error:
            raise OwnerGone(f"{str(self._path)!r}: {error}") from error
        finally:
            connection.close()


def _refusal(status: int, problem: dict[str, str]) -> QuarryError:
    kind = ERRORS.get(problem.get("code", ""), InvalidRequest if status < 500 else QuarryError)
    return kind(problem.get("message") or f"HTTP {status}")


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
