"""HTTP servers of the owner: the API and page for people, and a socket for other processes of the same user."""

import threading
from pathlib import Path
from typing import Any

import waitress
from waitress.server import BaseWSGIServer

from services.core.errors import InvalidRequest

# Searches wait for each other anyway (the engine holds the GIL); more threads only hold streams open.
_THREADS = 8


def listen(app: Any, host: str, port: int) -> BaseWSGIServer:
    """Return a server of `app` bound to host and port, not yet running.

    Raises:
        InvalidRequest: the address can't be bound.
    """
    try:
        return waitress.create_server(app, host=host, port=port, threads=_THREADS, ident="quarry")
    except (OSError, OverflowError) as error:
        raise InvalidRequest(
            f"can't listen on {host}:{port}: {error}; choose another with --host and --port"
        ) from error


class SocketServer:
    """Serves `app` on a socket that only the same user can open, in a thread."""

    def __init__(self, app: Any, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # whoever owns the data directory owns the name
        self._path = path
        self._server = waitress.create_server(
            app, unix_socket=str(path), unix_socket_perms="600", threads=_THREADS, ident="quarry"
        )
        self._thread = threading.Thread(target=self._server.run, name="socket", daemon=True)

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._path.unlink(missing_ok=True)
        self._server.close()
