"""The web application over an owned data directory, and the owner's socket."""

import ipaddress
from typing import Any

from services.api.app import create_app
from services.api.jobs import Jobs
from services.embedded.jobs import JobRunner
from services.embedded.owner import Owner
from services.embedded.server import SocketServer

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class AddressesOnly:
    """The jobs of an owner for people on other machines: they may not have its files indexed."""

    def __init__(self, runner: JobRunner) -> None:
        self._runner = runner
        self.remove = runner.remove

    def submit(self, location: str, name: str | None = None, ref: str | None = None) -> int:
        """Queue a job for a git address; as `JobRunner.submit`, but a path is an `InvalidRequest`."""
        return self._runner.submit(location, name, ref, allow_local=False)


def web_app(owner: Owner, runner: JobRunner, host: str) -> Any:
    """Return the WSGI application to serve on `host`."""
    if is_loopback(host):
        # Names are checked, or any web page could reach it under a name of its own (DNS rebinding).
        return _app(owner, runner, allowed_hosts=_LOOPBACK_NAMES)
    return _app(owner, AddressesOnly(runner), allowed_hosts=None)


def open_socket(owner: Owner, runner: JobRunner) -> SocketServer:
    """Start answering on the owner's socket."""
    server = SocketServer(_app(owner, runner, allowed_hosts=None), owner.home.socket)
    server.start()
    return server


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _app(owner: Owner, jobs: Jobs, allowed_hosts: tuple[str, ...] | None) -> Any:
    return create_app(
        owner.searcher, jobs=jobs, catalog=owner.catalog, ledger=owner.ledger, allowed_hosts=allowed_hosts
    )
