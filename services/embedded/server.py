"""HTTP servers of the owner: the API and page for people, and a socket for other processes of the same user."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import waitress
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer

from services.core.errors import InvalidRequest, QuarryError, Unavailable
from services.embedded.home import check_private

if TYPE_CHECKING:
    from services.embedded.jobs import JobRunner
    from services.embedded.owner import Owner

log = logging.getLogger(__name__)

# Searches wait for each other anyway (the engine holds the GIL); more threads only hold streams open.
_THREADS = 8
# A webhook may take 25 MB, the application refuses anything else much earlier; waitress would take 1 GB.
_MAX_BODY_BYTES = 26 << 20
# An idle connection costs a file descriptor; at 100, waitress's default, a hundred open pages lock everybody out.
_CONNECTIONS = 800
_LOOK_S = 1.0
# Enough to answer a search; an event stream would go on for as long as its job.
_GRACE_S = 2.0
# A search of the longest kind ends within QUARRY_SCAN_TIMEOUT_S, 10 s by default.
_THREADS_END_S = 15.0


class HttpServer:
    """A bound waitress server, whose loop can be ended from any thread."""

    def __init__(self, app: Any, **address: Any) -> None:
        self._map: dict[int, Any] = {}
        self._stopping = False
        self._ended = False
        limits = {
            "threads": _THREADS,
            "max_request_body_size": _MAX_BODY_BYTES,
            "connection_limit": _CONNECTIONS,
            "ident": "quarry",
        }
        try:
            self._server: Any = waitress.create_server(app, map=self._map, **limits, **address)
        except BaseException:
            wasyncore.close_all(self._map, ignore_all=True)
            raise

    @property
    def port(self) -> int:
        """The port; of a name with several addresses, that of the first."""
        if isinstance(self._server, BaseWSGIServer):
            return int(self._server.effective_port)
        return int(self._server.effective_listen[0][1])

    def run(self) -> None:
        """Answer until `stop` is called; requests under way get two seconds more."""
        try:
            while not self._stopping:
                wasyncore.loop(timeout=_LOOK_S, use_poll=True, map=self._map, count=1)
        finally:
            self.close()

    def stop(self) -> None:
        """Have `run` return soon; may be called from another thread."""
        self._stopping = True
        if not self._ended:
            self._listeners()[0].pull_trigger()

    def close(self) -> None:
        """Stop answering; only the thread that runs the server may do so."""
        if self._ended:
            return
        self._ended = True
        for listener in self._listeners():
            listener.accepting = False
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline and any(c.requests or c.total_outbufs_len for c in self._channels()):
            wasyncore.loop(timeout=0.05, use_poll=True, map=self._map, count=1)
        for channel in self._channels():
            channel.handle_close()
        dispatcher = self._server.task_dispatcher
        dispatcher.shutdown(timeout=_THREADS_END_S)
        # A thread that is still there will pull the trigger, whose number might be another file's by then.
        if not dispatcher.threads:
            wasyncore.close_all(self._map, ignore_all=True)

    def _channels(self) -> list[Any]:
        return [entry for entry in list(self._map.values()) if isinstance(entry, HTTPChannel)]

    def _listeners(self) -> list[Any]:
        return [entry for entry in list(self._map.values()) if isinstance(entry, BaseWSGIServer)]


def listen(app: Any, host: str, port: int) -> HttpServer:
    """Return a server of `app` bound to host and port, not yet running.

    Raises:
        InvalidRequest: the address can't be bound.
    """
    try:
        if not 0 <= port <= 0xFFFF:
            raise ValueError("ports go from 0 to 65535")  # 99999 would be taken for 34463
        return HttpServer(app, host=host, port=port)
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"can't listen on {host}:{port}: {error}; choose another with --host and --port"
        ) from error


class SocketServer:
    """Serves `app` on a socket that only the same user can open, in a thread.

    Raises:
        Unavailable: the socket can't be made, or others could replace it.
    """

    def __init__(self, app: Any, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(path.parent)
            path.unlink(missing_ok=True)  # whoever owns the data directory owns the name
            self._server = HttpServer(app, unix_socket=str(path), unix_socket_perms="600")
        except OSError as error:
            raise Unavailable(f"socket {str(path)!r} can't be made: {error}; set TMPDIR") from error
        self._thread = threading.Thread(target=self._server.run, name="socket", daemon=True)

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering; returns once the requests under way have ended."""
        self._path.unlink(missing_ok=True)
        self._server.stop()
        self._thread.join()


class Later:
    """A WSGI application that is made when the first request comes; one that can't be made says why."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        with self._lock:
            try:
                self._made = self._made or self._make()
            except QuarryError as error:
                log.warning("application_not_made", extra={"error": str(error)})
                start_response(f"{error.http_status} {error.code}", [("Content-Type", "application/json")])
                return [json.dumps({"error": {"code": error.code, "message": str(error)}}).encode()]
        answer: Iterable[bytes] = self._made(environ, start_response)
        return answer


def open_socket(owner: "Owner", runner: "JobRunner") -> SocketServer:
    """Start answering on the owner's socket."""

    def make() -> Any:
        # Few indexes are asked anything; loading the API takes them a seventh of a second.
        from services.embedded.serving import socket_app

        return socket_app(owner, runner)

    server = SocketServer(Later(make), owner.home.socket)
    server.start()
    return server
