"""A Qdrant server: requests over REST, and whatever goes wrong there as Quarry's errors.

Bodies are made here and not of the client's models: a point of 256 dimensions and 40
terms takes 30 µs to send so, and encoding models alone takes 50 µs (Qdrant 1.19.0, two-core machine).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pydantic_core
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from services.core.errors import InvalidRequest, QuarryError, Unavailable

# The first with prefix matching on keyword fields and placement of each part in memory.
OLDEST = (1, 19)
# A server that is up accepts a connection at once; one that is unreachable must not hold a search.
_CONNECT_S = 0.5
# The server closes idle connections after 5 s; a request on one that is just being closed fails.
_KEEP_IDLE_S = 3.0
# The server sends what it compresses in pieces that wait for each other's acknowledgement: of 100 candidates
# a search took 48 ms instead of 3 (Qdrant 1.19.0, Linux).
_PLAIN = {"Accept-Encoding": "identity"}
# A connection may be cut in the moment of a restart. All requests made here may be repeated.
_CUT = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class QdrantServer:
    """The server at `url`; threads may share it, a forked process may not. Opening it connects to nothing.

    A request that reads is given up after `read_timeout_s`, one that writes after `write_timeout_s`.
    """

    def __init__(
        self, url: str, api_key: str = "", *, read_timeout_s: float = 1.5, write_timeout_s: float = 60.0
    ) -> None:
        self.url = url
        self._read_timeout_s = read_timeout_s
        self._write_timeout_s = write_timeout_s
        self._closed = False
        # As a header: the client warns of an API key on plain HTTP, which is what a private network speaks.
        headers = _PLAIN | ({"api-key": api_key} if api_key else {})
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=_KEEP_IDLE_S)
        try:
            self._client = QdrantClient(url=url, headers=headers, check_compatibility=False, limits=limits)
        except ValueError as error:
            raise InvalidRequest(f"Qdrant address {url!r} is not one ({error}); use http://HOST:PORT") from error
        self._rest = self._client.http.client

    def read(self, path: str, body: Any = None, *, timeout_s: float | None = None) -> Any:
        """Return the result of a request that changes nothing: POST `body`, or GET if there is none."""
        return self._call("GET" if body is None else "POST", path, body, timeout_s or self._read_timeout_s)

    def write(self, method: str, path: str, body: Any = None) -> Any:
        """Return the result of a request that changes something, which must bear being sent twice."""
        return self._call(method, path, body, self._write_timeout_s)

    def check(self) -> str:
        """Return the server's version.

        Raises:
            Unavailable: it does not answer, or it is too old.
        """
        with self._translated("GET /"):
            described = self._send("GET", "/", b"", self._read_timeout_s)
        version = str(described.get("version", ""))
        if _parsed(version) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise Unavailable(f"Qdrant at {self.url!r} is version {version!r}, Quarry needs {oldest} or newer")
        return version

    def require_open(self) -> None:
        """Raise `Unavailable` if the connection was closed here."""
        if self._closed:
            raise Unavailable(f"connection to Qdrant at {self.url!r} is closed")

    def close(self) -> None:
        """Close the connections; requests raise `Unavailable` from now on."""
        self._closed = True
        self._client.close()

    def _call(self, method: str, path: str, body: Any, timeout_s: float) -> Any:
        self.require_open()
        with self._translated(f"{method} {path.partition('?')[0]}"):
            content = b"" if body is None else _encoded(body)
            try:
                return self._send(method, path, content, timeout_s)["result"]
            except ResponseHandlingException as error:
                if not isinstance(error.source, _CUT):
                    raise
                return self._send(method, path, content, timeout_s)["result"]

    def _send(self, method: str, path: str, content: bytes, timeout_s: float) -> dict[str, Any]:
        answer: dict[str, Any] = self._rest.request(
            type_=dict[str, Any],
            method=method,
            url=path,
            content=content,
            headers={"Content-Type": "application/json"},
            timeout=httpx.Timeout(timeout_s, connect=_CONNECT_S),
        )
        return answer

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except ResponseHandlingException as error:
            reason = str(error.source) or type(error.source).__name__
            raise Unavailable(
                f"Qdrant at {self.url!r} did not answer {what}: {reason}; is it running, is QUARRY_QDRANT_URL right?"
            ) from error
        except UnexpectedResponse as error:
            raise self._refusal(error, what) from error
        except (ApiException, QdrantException, KeyError, ValueError) as error:
            raise Unavailable(f"Qdrant at {self.url!r} failed at {what}: {error!r}") from error

    def _refusal(self, error: UnexpectedResponse, what: str) -> QuarryError:
        status, said = error.status_code or 0, _reason(error.content)
        if status in (401, 403):
            return Unavailable(f"Qdrant at {self.url!r} refuses the API key ({said}); set QUARRY_QDRANT_API_KEY")
        if status == 404:
            return Unavailable(
                f"Qdrant at {self.url!r} has nothing at {what} ({said}); start an indexer or run 'quarry rebuild'"
            )
        if 400 <= status < 500 and status not in (408, 429):
            return InvalidRequest(f"Qdrant at {self.url!r} refuses {what}: {said}")
        return Unavailable(f"Qdrant at {self.url!r} failed at {what} with status {status}: {said}; see its log")


def _encoded(body: Any) -> bytes:
    try:
        return pydantic_core.to_json(body)
    except pydantic_core.PydanticSerializationError as error:
        raise InvalidRequest(f"text that is not valid Unicode can't be stored or searched for ({error})") from error


def _reason(content: bytes) -> str:
    try:
        status = json.loads(content)["status"]
        return str(status["error"] if isinstance(status, dict) else status)[:300]
    except (ValueError, KeyError, TypeError):
        return " ".join(content[:300].decode(errors="replace").split())


def _parsed(version: str) -> tuple[int, ...]:
    parts = version.split("-")[0].split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()
