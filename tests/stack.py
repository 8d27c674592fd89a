"""The whole distributed mode on loopback without containers: real servers, four workers, the sweeper and the API.

``python -m tests.stack up`` returns when all of it is ready and leaves its addresses in `.stack/env`;
``python -m tests.stack down`` ends it. Settings in the environment (``QUARRY_*``) reach every process.
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.core.errors import Unavailable
from services.core.model_files import model_files
from services.core.settings import Settings
from tests.qdrant_servers import GIVEN_URL, KIND, qdrant_server
from tests.servers import ROOT, NotToBeHad, Server, free_port, object_store, postgres_server, redis_server

FOLDER = ROOT / ".stack"
WORKERS = ("cloner", "chunker", "embedder", "indexer")
_START_LIMIT_S = 180.0
# A worker finishes what it has in hand, and takes up to 32 s to notice that there is nothing more.
_STOP_LIMIT_S = 90.0


@dataclass
class Stack:
    """Servers and processes by name; `environment` is what the processes were given."""

    folder: Path
    url: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    stood_in: dict[str, str] = field(default_factory=dict)

    def start(self, extra: Mapping[str, str] | None = None, *, triton: bool = False) -> "Stack":
        """Start everything and return when the API is ready.

        Raises:
            NotToBeHad: a server is neither here nor to be had.
        """
        try:
            self._start_servers(triton=triton)
            self.environment = self._settings(dict(extra or {}))
            for name in (*WORKERS, "sweeper", "web"):
                self.run(name)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def run(self, name: str) -> None:
        """Start a process of the stack, or start it again."""
        module = name if name in ("sweeper", "web") else "worker"
        words = [sys.executable, "-m", f"services.distributed.{module}", *([name] if name in WORKERS else [])]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                words,
                cwd=self.folder,
                env=self._clean() | self.environment | {"QUARRY_HEARTBEAT": str(self.folder / f"{name}.beat")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """End a process and its children as a crash would."""
        process = self.processes[name]
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """End all of it: processes first, servers last."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                _signal_group(process.pid, signal.SIGKILL)
                process.wait()
        for server in reversed(self.servers.values()):
            server.stop()

    def pids(self) -> list[int]:
        """Return the process ids, in the order they are to be ended."""
        return [*(p.pid for p in self.processes.values()), *(s.pid for s in reversed(self.servers.values()))]

    def _start_servers(self, *, triton: bool) -> None:
        starts: dict[str, Callable[[Path], Server]] = {
            "postgres": postgres_server,
            "broker": lambda folder: redis_server(folder, appendonly=True),
            "cache": lambda folder: redis_server(folder, maxmemory="1gb", policy="allkeys-lru"),
            "objects": object_store,
        }
        if not GIVEN_URL:
            starts["qdrant"] = qdrant_server
        if triton:
            starts["triton"] = _triton
        for name, start in starts.items():
            folder = self.folder / name
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self.servers[name] = start(folder)
            except (NotToBeHad, Unavailable) as reason:
                if name != "triton":
                    raise
                self.stood_in["triton"] = f"not started: {reason}"
        if KIND != "qdrant":
            self.stood_in["qdrant"] = "a stand-in over the engine: no `qdrant` on PATH, no QUARRY_TEST_QDRANT_URL"
        if (store := self.servers["objects"]).name != "minio":  # type: ignore[attr-defined]
            self.stood_in["minio"] = f"{store.name}: MinIO could not be built"  # type: ignore[attr-defined]

    def _settings(self, extra: dict[str, str]) -> dict[str, str]:
        bucket = self.servers["objects"].bucket("quarry")  # type: ignore[attr-defined]
        settings = {
            "QUARRY_DATABASE_URL": self.servers["postgres"].url,
            "QUARRY_BROKER_URL": self.servers["broker"].url,
            "QUARRY_CACHE_URL": self.servers["cache"].url,
            "QUARRY_S3_URL": bucket.url,
            "QUARRY_S3_ACCESS_KEY": bucket.access_key,
            "QUARRY_S3_SECRET_KEY": bucket.secret_key,
            "QUARRY_QDRANT_URL": GIVEN_URL or self.servers["qdrant"].url,
            "QUARRY_HOME": str(self.folder / "home"),
            "QUARRY_PORT": str(free_port()),
            "QUARRY_GIT_ALLOW": "127.0.0.1,localhost",
            "QUARRY_WEBHOOK_SECRET": secrets.token_hex(16),
            "PYTHONPATH": str(ROOT),
        }
        if "triton" in self.servers:
            settings["QUARRY_TRITON_URL"] = self.servers["triton"].url
        given = {name: value for name, value in os.environ.items() if name.startswith("QUARRY_")}
        settings |= given | extra
        self.url = f"http://127.0.0.1:{settings['QUARRY_PORT']}"
        return settings

    def _clean(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("QUARRY_")}

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        waiting = {name: self.folder / f"{name}.beat" for name in (*WORKERS, "sweeper")}
        while waiting or not _answers(f"{self.url}/readyz"):
            waiting = {name: beat for name, beat in waiting.items() if not _is_ready(self.folder / f"{name}.log", name)}
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                name = (ended or [*waiting, "web"])[0]
                text = (self.folder / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"{name} did not get ready:\n{text[-3000:]}")
            time.sleep(0.1)


def up() -> None:
    """Start the stack of `.stack`, or say that it runs."""
    if (FOLDER / "pids").exists():
        raise SystemExit(f"the stack runs already, see {FOLDER / 'env'}; end it with 'make stack-down'")
    FOLDER.mkdir(exist_ok=True)
    folder = FOLDER / "data"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        stack = Stack(folder).start(triton=True)
    except NotToBeHad as reason:
        raise SystemExit(f"the stack can't be started: {reason}") from None
    _write_environment(stack)
    (FOLDER / "pids").write_text(json.dumps([[pid, _started_at(pid)] for pid in stack.pids()]))
    for name, what in stack.stood_in.items():
        print(f"{name}: {what}")
    print(f"Quarry answers on {stack.url}; addresses are in {FOLDER / 'env'}, logs in {folder}")


def down() -> None:
    """End what `up` started; its data stays until the next start."""
    try:
        processes = json.loads((FOLDER / "pids").read_text())
    except FileNotFoundError:
        print("no stack runs")
        return
    for pid, started_at in processes:
        # Never a process that has the number by now.
        if _started_at(pid) == started_at:
            _end(pid)
    (FOLDER / "pids").unlink()
    (FOLDER / "env").unlink(missing_ok=True)
    print("the stack is down")


def _write_environment(stack: Stack) -> None:
    values = {"QUARRY_URL": stack.url, **stack.environment}
    del values["PYTHONPATH"]
    file = FOLDER / "env"
    file.touch(mode=0o600)
    file.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))


def _triton(folder: Path) -> Server:
    from tests.triton_server import minilm_repository, triton_server

    repository = minilm_repository(folder / "repository", model_files(Settings()))
    return triton_server(folder, repository)


def _is_ready(log: Path, name: str) -> bool:
    return name == "sweeper" or (log.exists() and "worker_ready" in log.read_text(errors="replace"))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _started_at(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_LIMIT_S
    while _started_at(pid) and not _is_zombie(pid):
        if time.monotonic() > deadline:
            _signal_group(pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    {"up": up, "down": down}[sys.argv[1]]()
