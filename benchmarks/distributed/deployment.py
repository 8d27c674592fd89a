"""The stack under measurement: every real server, on loopback, asked over its HTTP API as a client asks it."""

import http.client
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from benchmarks.distributed.cpu import cpu_s, difference
from benchmarks.speed.measure import MeasurementError
from loadtest.forge import Forge
from tests.servers import NotToBeHad
from tests.stack import Stack

ANSWER_LIMIT_S = 30.0
_JOB_LIMIT_S = 600.0
# Each look at a job costs the API a few milliseconds of the CPU time that is being measured.
_POLL_S = 0.5
# What is done after the answer, a store merging its files for instance, is part of the cost.
_SETTLE_LIMIT_S = 30.0
_SETTLE_SPAN_S = 2.0
# Share of a core above the idle one that counts as rest.
_SETTLED_SHARE = 0.05


class NoStack(Exception):
    """The stack can't be started on this machine; the message says why."""


class Deployment:
    """A stack with a forge beside it, both new; they end with the block."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder = folder
        self.forge = Forge(folder / "forge")
        self._stack = Stack(folder)
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> "Deployment":
        try:
            self._stack.start()
        except NotToBeHad as reason:
            self.forge.close()
            raise NoStack(str(reason)) from None
        if "qdrant" in self._stack.stood_in:
            self.__exit__(None, None, None)
            raise NoStack(self._stack.stood_in["qdrant"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
        self._stack.stop()
        self.forge.close()

    @property
    def url(self) -> str:
        """The address of the API."""
        return self._stack.url

    @property
    def secret(self) -> str:
        """What webhooks are signed with."""
        return self._stack.environment["QUARRY_WEBHOOK_SECRET"]

    @property
    def roots(self) -> dict[str, int]:
        """The process ids of workers, sweeper, API and servers, by name."""
        processes = {name: process.popen.pid for name, process in self._stack.processes.items()}
        return processes | {name: server.pid for name, server in self._stack.servers.items()}

    def describe(self) -> dict[str, str]:
        """Return what stood in for which server."""
        return dict(self._stack.stood_in)

    def send(
        self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a request over the one connection of this client and return the answer.

        Raises:
            MeasurementError: it is an error.
        """
        if self._connection is None:
            self._connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=ANSWER_LIMIT_S)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        self._connection.request(method, target, data, {"Content-Type": "application/json", **(headers or {})})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status not in (200, 202):
            raise MeasurementError(f"{method} {target} answered {response.status}: {answer[:300]!r}")
        return dict(json.loads(answer))

    def index(self, repo: str, source: str) -> dict[str, Any]:
        """Have a repository indexed and return its job, once that is done.

        Raises:
            MeasurementError: it failed, or took too long.
        """
        job = self.send("POST", "/v1/repos", {"source": source, "name": repo})["job"]
        give_up = time.monotonic() + _JOB_LIMIT_S
        while job["state"] != "done":
            if job["state"] not in ("queued", "running") or time.monotonic() > give_up:
                raise MeasurementError(f"the index of {repo} is {job['state']}: {job['error']}")
            time.sleep(_POLL_S)
            job = self.send("GET", f"/v1/jobs/{job['id']}")
        return dict(job)

    def idle(self, seconds: float) -> dict[str, float]:
        """Return what share of a core each process uses while nothing is asked of it."""
        before = cpu_s(self.roots)
        time.sleep(seconds)
        return {name: used / seconds for name, used in difference(before, cpu_s(self.roots)).items()}

    def settle(self, idle: Mapping[str, float]) -> None:
        """Return once the stack uses no more than when idle, or after half a minute."""
        give_up = time.monotonic() + _SETTLE_LIMIT_S
        rest = sum(idle.values()) + _SETTLED_SHARE
        while sum(self.idle(_SETTLE_SPAN_S).values()) > rest and time.monotonic() < give_up:
            continue
