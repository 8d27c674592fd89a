"""The web application over an owned data directory."""

import ipaddress
from collections.abc import Collection
from typing import Any

from services.api.app import create_app
from services.api.guard import own_names
from services.api.jobs import Jobs
from services.chunker.source import describe
from services.core.catalog import Catalog
from services.core.deliveries import Deliveries
from services.core.errors import InvalidRequest
from services.embedded.jobs import JobRunner
from services.embedded.owner import Owner


class AddressesOnly:
    """The jobs of an owner for people on other machines: they may not have its files indexed, nor learn their paths."""

    def __init__(self, runner: JobRunner, catalog: Catalog, allow_hosts: Collection[str] = ()) -> None:
        self._runner = runner
        self._catalog = catalog
        self._allow_hosts = allow_hosts
        self.remove = runner.remove

    def submit(self, location: str, name: str | None = None, ref: str | None = None) -> int:
        """Queue a job for a git address; as `JobRunner.submit`, but a path or a private address is refused."""
        kind, source, default_name = describe(
            location, allow_local=False, allow_hosts=self._allow_hosts, check_hosts=True
        )
        wanted = name or default_name
        if any(repo.name == wanted and (repo.kind, repo.source) != (kind, source) for repo in self._catalog.list()):
            raise InvalidRequest(f"name {wanted!r} is taken by another repository; give another 'name'")
        return self._runner.submit(location, name, ref, allow_local=False)

    def look(self, name: str) -> int:
        """Queue a job for a known repository, whatever its source is."""
        return self._runner.look(name)

    def retry(self, job_id: int) -> int:
        """Queue a failed job again, whatever its source is."""
        return self._runner.retry(job_id)


def web_app(owner: Owner, runner: JobRunner, host: str) -> Any:
    """Return the WSGI application to serve on `host`.

    Where others can reach it, by its address or by a name set for a proxy, paths are refused.
    """
    configured = owner.settings.allowed_hosts
    private = is_loopback(host) and not configured.strip()
    jobs: Jobs = runner if private else AddressesOnly(runner, owner.catalog, owner.settings.allowed_git_hosts)
    return _app(owner, jobs, allowed_hosts=own_names(host, configured))


def socket_app(owner: Owner, runner: JobRunner) -> Any:
    """Return the WSGI application for other processes of the same user."""
    return _app(owner, runner, allowed_hosts=None)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _app(owner: Owner, jobs: Jobs, allowed_hosts: frozenset[str] | None) -> Any:
    return create_app(
        owner.searcher,
        jobs=jobs,
        catalog=owner.catalog,
        ledger=owner.ledger,
        allowed_hosts=allowed_hosts,
        deliveries=Deliveries(owner.engine),
        webhook_secret=owner.settings.webhook_secret,
    )
