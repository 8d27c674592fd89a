"""What is attacked: a server that has indexed the corpus, and is left as it was found.

`embedded` starts its own `quarry serve` on a new data directory. `stack` uses servers that run already,
and adds repositories that it removes in the end.
"""

import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from loadtest.attack import ROOT
from loadtest.forge import Forge, Repositories
from loadtest.levels import Profile
from loadtest.moving import first_files
from loadtest.plan import SECRET_VARIABLE, Plan

STACK_ENVIRONMENT = ROOT / ".stack" / "env"
_ANSWER_LIMIT_S = 60.0
_INDEX_LIMIT_S = 600.0
_STOP_LIMIT_S = 60.0
_POLL_S = 0.1


class SetupError(Exception):
    """There is nothing to attack: a server, or a repository in it, could not be had."""


@contextmanager
def embedded(profile: Profile, folder: Path) -> Iterator[Plan]:
    """Index the corpus with `quarry index`, run `quarry serve` on it, and stop it in the end."""
    repositories = Repositories(folder / "repositories")
    plan = _plan(profile, folder, "load", str(repositories.folder / "{name}.git"))
    _fill(repositories, plan)
    command = [sys.executable, "-m", "services.cli"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QUARRY_")}
    environment |= {"QUARRY_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    for name in _names(plan):
        index = [*command, "index", plan.source(name), "--name", name]
        done = subprocess.run(index, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SetupError(f"quarry index failed for {name}: {done.stderr.strip()[-1000:]}")
    log_path = folder / "serve.log"
    with log_path.open("w") as log:
        serve = [*command, "serve", "--port", "0"]
        server = subprocess.Popen(serve, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        yield _at(plan, _address(server, log_path))
    finally:
        _stop(server)


@contextmanager
def stack(profile: Profile, folder: Path, url: str) -> Iterator[Plan]:
    """Have the servers at `url` index the corpus from a forge on loopback; remove it from them in the end.

    The stack fetches from loopback only if QUARRY_GIT_ALLOW names 127.0.0.1.
    """
    others = _send(url, "GET", "/v1/repos")["repos"]
    with Forge(folder / "repositories") as forge:
        # Names of their own, so that runs that were cut off, or run side by side, do not meet.
        plan = _plan(profile, folder, f"load-{secrets.token_hex(4)}", forge.url("{name}"))
        _fill(forge, plan)
        try:
            _index_all(url, plan)
            yield _at(plan, url, scoped=bool(others))
        finally:
            for name in _names(plan):
                with suppress(SetupError):
                    _send(url, "DELETE", f"/v1/repos/{quote(name)}")


def stack_environment(path: Path = STACK_ENVIRONMENT) -> dict[str, str]:
    """Return the shell assignments that `make stack` left, {} if it did not run."""
    if not path.exists():
        return {}
    words = shlex.split(path.read_text(), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)


def webhook_secret(environment: Mapping[str, str]) -> str:
    """Return what pushes are signed with, "" if that is not known."""
    if path := environment.get(f"{SECRET_VARIABLE}_FILE"):
        return Path(path).read_text().strip()
    return environment.get(SECRET_VARIABLE, "")


def _plan(profile: Profile, folder: Path, prefix: str, address: str) -> Plan:
    return Plan(profile, "", prefix, str(folder / "repositories"), address, str(folder / "samples.json"))


def _at(plan: Plan, url: str, *, scoped: bool = False) -> Plan:
    return Plan(plan.profile, url, plan.prefix, plan.repositories, plan.address, plan.result, scoped)


def _names(plan: Plan) -> list[str]:
    return [*(f"{plan.prefix}-{number}" for number in range(plan.profile.corpus.repos)), *plan.moving()]


def _fill(repositories: Repositories, plan: Plan) -> None:
    for name, files in plan.corpus().repos.items():
        repositories.commit(name, files)
    for name in plan.moving():
        repositories.commit(name, first_files(name))


def _address(server: "subprocess.Popen[str]", log_path: Path) -> str:
    assert server.stdout
    words = server.stdout.readline().split()
    if not words:
        raise SetupError(f"quarry serve did not start: {log_path.read_text()[-1000:]}")
    return words[-1]


def _stop(server: "subprocess.Popen[str]") -> None:
    server.send_signal(signal.SIGINT)
    try:
        server.communicate(timeout=_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.communicate()


def _index_all(url: str, plan: Plan) -> None:
    jobs = {
        name: _send(url, "POST", "/v1/repos", {"source": plan.source(name), "name": name})["job"]["id"]
        for name in _names(plan)
    }
    give_up = time.monotonic() + _INDEX_LIMIT_S
    for name, job in jobs.items():
        while (state := _send(url, "GET", f"/v1/jobs/{job}"))["state"] != "done":
            if state["state"] not in ("queued", "running"):
                raise SetupError(f"the index of {name} is {state['state']}: {state['error']}")
            if time.monotonic() > give_up:
                raise SetupError(f"the index of {name} did not end in {_INDEX_LIMIT_S:.0f} s")
            time.sleep(_POLL_S)


def _send(url: str, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = Request(url.rstrip("/") + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_ANSWER_LIMIT_S) as response:
            return dict(json.load(response))
    except HTTPError as error:
        with error:
            said = error.read(500).decode(errors="replace")
        raise SetupError(f"{method} {path} at {url} answered {error.code}: {said}") from error
    except (URLError, OSError, ValueError) as error:
        raise SetupError(f"{method} {path} at {url} failed: {error}") from error
