"""The web application over an owned data directory, and the owner's socket."""

from typing import Any

from services.api.app import create_app
from services.embedded.jobs import JobRunner
from services.embedded.owner import Owner
from services.embedded.server import SocketServer


def web_app(owner: Owner, runner: JobRunner) -> Any:
    """Return the WSGI application."""
    return create_app(owner.searcher, jobs=runner, catalog=owner.catalog, ledger=owner.ledger, blobs=owner.blobs)


def open_socket(owner: Owner, runner: JobRunner) -> SocketServer:
    """Start answering on the owner's socket."""
    server = SocketServer(web_app(owner, runner), owner.home.socket)
    server.start()
    return server
