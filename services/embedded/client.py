"""A client of the owner's socket: the same HTTP API, for processes that do not own the data directory."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from services.core.errors import ERRORS, InvalidRequest, QuarryError, Unavailable

TIMEOUT_S = 60.0


class OwnerGone(ConnectionError):
    """Nobody listens, or whoever did ended before the answer; a plain `BrokenPipeError` means standard output."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class OwnerClient:
    """The owner of a data directory, seen from another process."""

    who = "the owner of the data directory"

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

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection that is not opened yet."""
        return _UnixConnection(self._path)

    def _ask(self, method: str, route: str, body: str | None = None) -> dict[str, Any]:
        return answer_of(*self._exchange(method, route, body))

    def _exchange(self, method: str, route: str, body: str | None) -> tuple[int, bytes]:
        connection = self.connection()
        try:
            connection.request(method, route, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            raise Unavailable(f"{self.who} did not answer in {TIMEOUT_S:.0f} s") from error
        except PermissionError as error:
            raise Unavailable(f"{self.who} can't be reached: {error.strerror}") from error
        except (OSError, http.client.HTTPException) as error:
            raise OwnerGone(str(error) or type(error).__name__) from error
        finally:
            connection.close()


def answer_of(status: int, data: bytes) -> dict[str, Any]:
    """Return the document of an answer.

    Raises:
        OwnerGone: it is none.
        QuarryError: it is a refusal, with its reason.
    """
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


def _refusal(status: int, problem: dict[str, str]) -> QuarryError:
    kind = ERRORS.get(problem.get("code", ""), InvalidRequest if status < 500 else QuarryError)
    return kind(problem.get("message") or f"HTTP {status}")


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, bool):
        return [str(value).lower()]
    return list(value) if isinstance(value, list | tuple) else [value]
