"""Real servers on free loopback ports: Redis, PostgreSQL and an S3 store, each in a folder of its own.

They are started as plain processes and stopped by their process id. The object store is MinIO, or
VersityGW where MinIO can't be had; both are built once, by Go, into `.stack/bin`.
"""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from services.core.adapters.s3 import S3Bucket

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".stack" / "bin"
# The last patched release: its images were never published, its source was.
MINIO = ("minio", "github.com/minio/minio@RELEASE.2025-10-15T17-29-55Z")
VERSITYGW = ("versitygw", "github.com/versity/versitygw/cmd/versitygw@v1.8.0")
REGION = "us-east-1"
_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 15.0
_BUILD_LIMIT_S = 1200.0


class NotToBeHad(Exception):
    """A server that this machine doesn't have, with the reason."""


@dataclass
class Server:
    """A running server: its address, its process, and the file its output goes to."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def stop(self) -> None:
        """Stop it and wait for its end; one that has ended already is no error."""
        self.end(self.stop_signal)

    def end(self, number: signal.Signals) -> None:
        """Send it a signal that ends it, SIGKILL for instance, and wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass
class ObjectStore(Server):
    """A running S3 server with the keys of its owner."""

    name: str = ""
    access_key: str = "quarry-test"
    secret_key: str = field(default="", repr=False)

    def bucket(self, name: str) -> S3Bucket:
        """Return the address and keys of a bucket there."""
        return S3Bucket(f"{self.url}/{name}", self.access_key, self.secret_key, REGION)


def redis_server(
    folder: Path, *, maxmemory: str = "0", policy: str = "noeviction", appendonly: bool = False, port: int = 0
) -> Server:
    """Start Redis with its data in `folder`; `maxmemory` as Redis writes it, 0 for no limit.

    Raises:
        NotToBeHad: it is not installed.
    """
    program = _installed("redis-server", "apt install redis-server")
    port = port or free_port()
    options = {
        "bind": "127.0.0.1", "port": port, "dir": folder, "maxmemory": maxmemory, "maxmemory-policy": policy,
        "appendonly": "yes" if appendonly else "no", "save": "", "daemonize": "no",
    }  # fmt: skip
    command = [program, *(str(word) for name, value in options.items() for word in (f"--{name}", value))]
    server = Server(f"redis://127.0.0.1:{port}/0", _start(command, folder / "redis.log"), folder / "redis.log")
    return _ready(server, lambda: _redis_answers(port))


def postgres_server(folder: Path, *, port: int = 0) -> Server:
    """Start PostgreSQL with its data in `folder`, made if need be; user `quarry`, no password, loopback only.

    Run by root, it becomes the user `postgres`, who must be able to reach `folder`.

    Raises:
        NotToBeHad: it is not installed.
    """
    programs = _postgres_programs()
    port, data, log = port or free_port(), folder / "data", folder / "postgres.log"
    user = _unprivileged(folder)
    if not (data / "PG_VERSION").exists():
        made = [*user, programs / "initdb", "-D", data, "-U", "quarry", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        _run(made, folder)
    # A process that dies loses nothing without fsync; only a power cut would.
    settings = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off",
        "full_page_writes": "off", "max_connections": 200,
    }  # fmt: skip
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    process = _start([*user, programs / "postgres", "-D", data, *options], log, folder)
    # SIGINT is its fast shutdown: clients are cut off, not waited for.
    server = Server(f"postgresql+psycopg://quarry@127.0.0.1:{port}/postgres", process, log, signal.SIGINT)
    return _ready(server, lambda: _postgres_answers(server.url))


def object_store(folder: Path, *, port: int = 0) -> ObjectStore:
    """Start MinIO, or VersityGW where MinIO can't be had: what is there already goes before what must be built.

    Raises:
        NotToBeHad: neither is installed, and neither can be built.
    """
    starts = {MINIO: minio_server, VERSITYGW: versity_server}
    there = [kind for kind in starts if _found(kind[0])]
    reasons = []
    for kind in there or starts:
        try:
            return starts[kind](folder, port=port)
        except NotToBeHad as reason:
            reasons.append(str(reason))
    raise NotToBeHad("; ".join(reasons))


def minio_server(folder: Path, *, port: int = 0) -> ObjectStore:
    """Start MinIO with its data in `folder`.

    Raises:
        NotToBeHad: it is not installed and can't be built.
    """
    program, port, secret = _built(*MINIO), port or free_port(), _secret(folder)
    command = [program, "server", folder / "objects", "--address", f"127.0.0.1:{port}", "--quiet"]
    # No console on a second port, and no look for updates.
    environment = {
        "MINIO_ROOT_USER": "quarry-test", "MINIO_ROOT_PASSWORD": secret, "MINIO_BROWSER": "off", "MINIO_UPDATE": "off",
    }  # fmt: skip
    process = _start(command, folder / "minio.log", environment=environment)
    server = ObjectStore(
        f"http://127.0.0.1:{port}", process, folder / "minio.log", name="minio", secret_key=secret
    )  # fmt: skip
    return _ready(server, lambda: _http_status(f"{server.url}/minio/health/live") == 200)


def versity_server(folder: Path, *, port: int = 0) -> ObjectStore:
    """Start VersityGW with its data in `folder`: an S3 store on a file system.

    Raises:
        NotToBeHad: it is not installed and can't be built.
    """
    program, port, secret = _built(*VERSITYGW), port or free_port(), _secret(folder)
    for name in ("objects", "attributes"):
        (folder / name).mkdir(exist_ok=True)
    # Not among the words of the command, which every user of the machine can list.
    keys = {"ROOT_ACCESS_KEY_ID": "quarry-test", "ROOT_SECRET_ACCESS_KEY": secret}
    command = [program, "--region", REGION, "--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet"]
    # Not every file system has extended attributes: tmpfs got them in Linux 6.6.
    command += ["posix", "--sidecar", str(folder / "attributes"), str(folder / "objects")]
    process = _start(command, folder / "versitygw.log", environment=keys)
    server = ObjectStore(
        f"http://127.0.0.1:{port}", process, folder / "versitygw.log", name="versitygw", secret_key=secret
    )  # fmt: skip
    return _ready(server, lambda: _http_status(server.url) is not None)


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _found(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=BIN)


def _installed(name: str, how: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise NotToBeHad(f"{name} is not installed ({how})")
    return program


def _built(name: str, module: str) -> str:
    """Return the program: the one on the PATH, the one built before, or one built now, which takes minutes."""
    if not (go := shutil.which("go")) and not _found(name):
        raise NotToBeHad(f"{name} is not on the PATH, and there is no Go to build it with")
    BIN.mkdir(parents=True, exist_ok=True)
    with open(BIN / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if go and not _found(name):
            _build(["nice", "-n", "15", go, "install", module], name)
    return str(_found(name))


def _build(command: Sequence[str], name: str) -> None:
    environment = os.environ | {"GOBIN": str(BIN)}
    try:
        subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_BUILD_LIMIT_S, check=True)
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"{name} was not built within {_BUILD_LIMIT_S:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise NotToBeHad(f"{name} can't be built: {error.stderr.strip()[-300:]!r}") from None


def _postgres_programs() -> Path:
    # Debian keeps them off the PATH.
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).resolve().parent)
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise NotToBeHad("PostgreSQL's server is not installed (apt install postgresql)")


def _unprivileged(folder: Path) -> list[str]:
    """Return the words that make a command one of the user `postgres`; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    setpriv = _installed("setpriv", "apt install util-linux")
    shutil.chown(folder, "postgres", "postgres")
    return [setpriv, "--reuid=postgres", "--regid=postgres", "--clear-groups"]


def _secret(folder: Path) -> str:
    # Kept, so that the server can be started again with the same.
    file = folder / "secret"
    if not file.exists():
        file.write_text(secrets.token_hex(16))
        file.chmod(0o600)
    return file.read_text()


def _run(command: Sequence[object], folder: Path) -> None:
    done = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[-1]} failed: {done.stderr[-1000:]}")


def _start(
    command: Sequence[object], log: Path, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    with open(log, "ab") as output:
        # A session of its own: an interrupt at the terminal is for the tests, which then stop the server.
        return subprocess.Popen(
            [str(word) for word in command], cwd=folder or log.parent, env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


_Started = TypeVar("_Started", bound=Server)


def _ready(server: _Started, answers: Callable[[], bool]) -> _Started:
    deadline = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < deadline and server.process.poll() is None:
        if answers():
            return server
        time.sleep(0.02)
    server.stop()
    raise RuntimeError(f"{server.process.args!r} did not get ready:\n{server.log.read_text(errors='replace')[-2000:]}")


def _redis_answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def _postgres_answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url.replace("+psycopg", ""), connect_timeout=1).close()
    except psycopg.OperationalError:
        return False
    return True


def _http_status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code)
    except OSError:
        return None
