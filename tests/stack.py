"""The whole distributed mode on loopback without containers: real servers, four workers, the sweeper and the API.

``python -m tests.stack up`` returns when all of it is ready and leaves its addresses in `.stack/env`;
``python -m tests.stack down`` ends it. Settings in the environment (``QUARRY_*``) reach every process.
Tests end its parts one by one and start them again.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.core.errors import Unavailable
from services.core.model_files import model_files
from services.core.settings import Settings
from tests.qdrant_servers import GIVEN_GRPC_PORT, GIVEN_URL, KIND, grpc_port, qdrant_server
from tests.servers import ROOT, NotToBeHad, Server, free_port, object_store, postgres_server, redis_server

FOLDER = ROOT / ".stack"
WORKERS = ("cloner", "chunker", "embedder", "indexer")
PROCESSES = (*WORKERS, "sweeper", "web")
_START_LIMIT_S = 180.0
# A worker finishes what it has in hand, and takes up to 32 s to notice that there is nothing more.
_STOP_LIMIT_S = 90.0
_LOG_TAIL_CHARS = 3000


@dataclass(frozen=True)
class Started:
    """A running process: what it does, the address it answers at if it is an API, and where its log begins."""

    popen: subprocess.Popen[bytes]
    kind: str
    url: str
    log_start: int


@dataclass
class Stack:
    """Servers and processes by name; `environment` is what the processes were given."""

    folder: Path
    url: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    processes: dict[str, Started] = field(default_factory=dict)
    stood_in: dict[str, str] = field(default_factory=dict)

    def start(self, extra: Mapping[str, str] | None = None, *, triton: bool = False) -> "Stack":
        """Start everything and return when the API is ready.

        Raises:
            NotToBeHad: a server is neither here nor to be had.
        """
        try:
            self._start_servers(triton=triton)
            self.environment = self._settings(dict(extra or {}))
            for name in PROCESSES:
                self.run(name)
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def run(self, name: str, extra: Mapping[str, str] | None = None, *, kind: str = "") -> None:
        """Start a process of the stack, or start it again; with another `kind` it is one more of that kind."""
        kind = kind or name
        module = kind if kind in ("sweeper", "web") else "worker"
        words = [sys.executable, "-m", f"services.distributed.{module}", *([kind] if kind in WORKERS else [])]
        settings = self.environment | {"QUARRY_HEARTBEAT": str(self.folder / f"{name}.beat")} | dict(extra or {})
        with self._log_file(name).open("ab") as log:
            popen = subprocess.Popen(
                words,
                cwd=self.folder,
                env=self._clean() | settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            url = f"http://127.0.0.1:{settings['QUARRY_PORT']}"
            self.processes[name] = Started(popen, kind, url, log.tell())

    def kill(self, name: str) -> None:
        """End a process and its children as a crash would."""
        process = self.processes[name].popen
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()

    def kill_child(self, name: str) -> bool:
        """End one child of a worker's pool as a crash would; False if it has none now."""
        children = self.children(name)
        if not children:
            return False
        try:
            os.kill(children[0], signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Keep a process and its children from running, as long as the block takes."""
        with _stopped(self.processes[name].popen.pid):
            yield

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Keep a server from answering as long as the block takes; its connections stay."""
        with _stopped(self.servers[name].pid):
            yield

    def children(self, name: str) -> list[int]:
        """Return the ids of the processes in a worker's pool."""
        pid = self.processes[name].popen.pid
        return [int(each) for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()]

    def terminate(self, name: str) -> float:
        """Ask a process to stop and return the seconds that took.

        Raises:
            subprocess.TimeoutExpired: it took longer than the grace time of a deployment.
        """
        started = time.monotonic()
        self.processes[name].popen.terminate()
        self.processes[name].popen.wait(_STOP_LIMIT_S)
        return time.monotonic() - started

    def restart_server(self, name: str, number: signal.Signals = signal.SIGKILL, *, pause_s: float = 0.0) -> None:
        """End a server by a signal and start it again on its data and port."""
        self.stop_server(name, number)
        time.sleep(pause_s)
        self.start_server(name)

    def stop_server(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a server by a signal."""
        self.servers[name].end(number)

    def start_server(self, name: str) -> None:
        """Start a server that was stopped, on its data and port."""
        port = int(self.servers[name].url.rpartition(":")[2].partition("/")[0])
        deadline = time.monotonic() + _START_LIMIT_S
        while True:
            try:
                self.servers[name] = _STARTS[name](self.folder / name, port)
                return
            except RuntimeError:
                # What a killed PostgreSQL leaves behind takes a moment to end, and the port with it.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def wait_until_ready(self, *names: str) -> None:
        """Return when these processes do their work, all of them if none is named.

        Raises:
            RuntimeError: one has ended or takes too long; its log is in the message.
        """
        deadline = time.monotonic() + _START_LIMIT_S
        waiting = list(names or self.processes)
        while waiting := [name for name in waiting if not self._is_ready(name)]:
            ended = [name for name in waiting if self.processes[name].popen.poll() is not None]
            if ended or time.monotonic() > deadline:
                name = (ended or waiting)[0]
                raise RuntimeError(f"{name} did not get ready:\n{self.log(name)[-_LOG_TAIL_CHARS:]}")
            time.sleep(0.1)

    def revive(self) -> list[str]:
        """Start what has ended by itself, as Compose and Kubernetes do, and return its names."""
        ended = [name for name, process in self.processes.items() if process.popen.poll() is not None]
        for name in ended:
            self.run(name)
        return ended

    def log(self, name: str) -> str:
        """Return what a process has logged since it was last started."""
        with self._log_file(name).open("rb") as log:
            log.seek(self.processes[name].log_start)
            return log.read().decode(errors="replace")

    def log_tails(self) -> str:
        """Return the end of every log, for the message of a test that failed."""
        logs = {name: self.log(name) for name in self.processes}
        return "\n".join(f"== {name}\n{text[-_LOG_TAIL_CHARS:]}" for name, text in logs.items())

    def stop(self) -> None:
        """End all of it: processes first, servers last."""
        popens = [process.popen for process in self.processes.values()]
        for popen in popens:
            popen.terminate()
        for popen in popens:
            try:
                popen.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                _signal_group(popen.pid, signal.SIGKILL)
                popen.wait()
        for server in reversed(self.servers.values()):
            server.stop()

    def pids(self) -> list[int]:
        """Return the process ids, in the order they are to be ended."""
        return [*(p.popen.pid for p in self.processes.values()), *(s.pid for s in reversed(self.servers.values()))]

    def _start_servers(self, *, triton: bool) -> None:
        names = [name for name in _STARTS if (name != "qdrant" or not GIVEN_URL) and (name != "triton" or triton)]
        for name in names:
            folder = self.folder / name
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self.servers[name] = _STARTS[name](folder, 0)
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
            "QUARRY_QDRANT_GRPC_PORT": str(GIVEN_GRPC_PORT if GIVEN_URL else grpc_port(self.folder / "qdrant")),
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

    def _log_file(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _is_ready(self, name: str) -> bool:
        process = self.processes[name]
        if process.popen.poll() is not None:
            return False
        if process.kind == "web":
            return _answers(f"{process.url}/readyz")
        return process.kind == "sweeper" or "worker_ready" in self.log(name)


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
    (FOLDER / "env").touch(mode=0o600)
    write_environment(stack, FOLDER / "env")
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


def write_environment(stack: Stack, file: Path) -> None:
    """Write the addresses of a stack as shell assignments."""
    values = {"QUARRY_URL": stack.url, **stack.environment}
    del values["PYTHONPATH"]
    file.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))


def _triton(folder: Path, port: int) -> Server:
    from tests.triton_server import minilm_repository, triton_server

    repository = minilm_repository(folder / "repository", model_files(Settings()))
    return triton_server(folder, repository, port=port)


# In the order they start; each in a folder of its own, on a port, 0 for a free one.
_STARTS: dict[str, Callable[[Path, int], Server]] = {
    "postgres": lambda folder, port: postgres_server(folder, port=port),
    "broker": lambda folder, port: redis_server(folder, appendonly=True, port=port),
    "cache": lambda folder, port: redis_server(folder, maxmemory="1gb", policy="allkeys-lru", port=port),
    "objects": lambda folder, port: object_store(folder, port=port),
    "qdrant": lambda folder, port: qdrant_server(folder, port=port),
    "triton": _triton,
}


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


@contextmanager
def _stopped(group: int) -> Iterator[None]:
    _signal_group(group, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal_group(group, signal.SIGCONT)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    {"up": up, "down": down}[sys.argv[1]]()
