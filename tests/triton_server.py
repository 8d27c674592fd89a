"""A real Triton server without a container: the one in the wheel of `nvidia-pytriton`, in an environment of its own.

That wheel has the Python backend only, whose stub is an interpreter of its own: it takes its packages from the
environment whose `python3` comes first on the PATH, needs libpython, and NumPy below 2.
"""

import contextlib
import fcntl
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from models.triton.build import build
from models.triton.config import Deployment
from services.core.model_files import ModelFiles
from tests.servers import NotToBeHad, Server, free_port

ROOT = Path(__file__).resolve().parents[1]
STACK = ROOT / ".stack" / "triton"
LOCK = ROOT / "requirements" / "triton.txt"
# NumPy 1.26 has wheels up to Python 3.12.
_PYTHONS = ((3, 11), (3, 12))
_INSTALL_LIMIT_S = 900.0
# The largest batch of every length runs before the server is ready: a few seconds on two idle cores.
_START_LIMIT_S = 120.0
_SHARED_MEMORY = Path("/dev/shm")


@dataclass
class TritonServer(Server):
    """A running Triton: `url` is host:port of gRPC, `http_url` and `metrics_url` are what their names say."""

    http_url: str = ""
    metrics_url: str = ""
    memory_prefix: str = ""

    def end(self, number: signal.Signals) -> None:
        """Send it a signal that ends it, and remove what a killed one leaves: its stub and their shared memory."""
        super().end(number)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for region in _SHARED_MEMORY.glob(f"{self.memory_prefix}*"):
            region.unlink(missing_ok=True)

    def metrics(self) -> dict[str, float]:
        """Return the counters of the model, summed over their labels."""
        with urllib.request.urlopen(self.metrics_url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found: dict[str, float] = {}
        for line in lines:
            if line.startswith("nv_inference_"):
                name, value = line.split("{")[0], float(line.rsplit(" ", 1)[1])
                found[name] = found.get(name, 0.0) + value
        return found


def triton_server(folder: Path, repository: Path, *, port: int = 0) -> TritonServer:
    """Start Triton on a model repository, its log in `folder`, and return once the model is ready.

    Raises:
        NotToBeHad: the wheel does not run here, or can't be installed.
    """
    environment = installed()
    grpc, http, metrics = port or free_port(), free_port(), free_port()
    prefix = f"quarry-triton-{secrets.token_hex(4)}-"
    log = folder / "triton.log"
    with open(log, "ab") as output:
        process = subprocess.Popen(
            _command(environment, repository, (grpc, http, metrics), prefix), cwd=folder, env=_variables(environment),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    server = TritonServer(
        f"127.0.0.1:{grpc}", process, log, http_url=f"http://127.0.0.1:{http}",
        metrics_url=f"http://127.0.0.1:{metrics}/metrics", memory_prefix=prefix,
    )  # fmt: skip
    return _ready(server)


def minilm_repository(folder: Path, files: ModelFiles, *, max_texts: int = 16, max_queue: int = 32) -> Path:
    """Make the model repository of MiniLM for a server on CPU and return it."""
    build(files, folder, Deployment("python", "cpu", max_texts, max_queue=max_queue))
    return folder


def installed(stack: Path = STACK) -> Path:
    """Return the environment with the server, made at the first call: 0.3 GB, ten seconds and the download.

    Raises:
        NotToBeHad: the wheel does not run here, or can't be installed.
    """
    if reason := _unsupported():
        raise NotToBeHad(f"Triton's wheel does not run here: {reason}")
    environment = stack / f"python{_version()}-{sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    stack.mkdir(parents=True, exist_ok=True)
    with open(stack / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (environment / ".complete").exists():
            _install(environment)
    return environment


def _unsupported() -> str | None:
    if sys.platform != "linux" or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        return "it needs Linux with glibc on x86-64"
    if sys.version_info[:2] not in _PYTHONS:
        return f"it needs NumPy below 2, and so Python 3.11 or 3.12, not {platform.python_version()}"
    if not (_library_folder() / str(sysconfig.get_config_var("INSTSONAME"))).exists():
        return f"its Python backend needs {sysconfig.get_config_var('INSTSONAME')} (apt install libpython3-dev)"
    return None


def _library_folder() -> Path:
    return Path(str(sysconfig.get_config_var("LIBDIR")))


def _install(environment: Path) -> None:
    shutil.rmtree(environment, ignore_errors=True)
    venv.create(environment, with_pip=False, symlinks=True)
    python = str(environment / "bin" / "python3")
    command = [sys.executable, "-m", "pip", "--python", python, "--quiet", "install"]
    # Without the client, the shells and NumPy's wheel for another interpreter that it would bring.
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(LOCK)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=_INSTALL_LIMIT_S, check=False)
    if done.returncode:
        raise NotToBeHad(f"Triton's wheel can't be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    home = _server_folder(environment)
    stub = home / "python_backend_stubs" / _version() / "triton_python_backend_stub"
    shutil.copy(stub, home / "backends" / "python")
    (environment / ".complete").touch()


def _version() -> str:
    return ".".join(map(str, sys.version_info[:2]))


def _server_folder(environment: Path) -> Path:
    return environment / "lib" / f"python{_version()}" / "site-packages" / "pytriton" / "tritonserver"


def _variables(environment: Path) -> dict[str, str]:
    folders = [str(_library_folder()), os.environ.get("LD_LIBRARY_PATH", "")]
    return {
        "PATH": f"{environment / 'bin'}:/usr/bin:/bin",
        "HOME": str(environment),
        "LD_LIBRARY_PATH": ":".join(folder for folder in folders if folder),
    }


def _command(environment: Path, repository: Path, ports: tuple[int, int, int], prefix: str) -> list[str]:
    home = _server_folder(environment)
    grpc, http, metrics = map(str, ports)
    # What nobody needs from outside is closed: Triton has no authentication of its own.
    closed = f"model-repository,shared-memory,trace,logging:quarry-admin={secrets.token_hex(16)}"
    options = {
        "model-repository": repository, "model-control-mode": "none", "backend-directory": home / "backends",
        "grpc-address": "127.0.0.1", "grpc-port": grpc, "grpc-restricted-protocol": closed,
        "http-address": "127.0.0.1", "http-port": http, "http-restricted-api": closed,
        "metrics-address": "127.0.0.1", "metrics-port": metrics, "allow-gpu-metrics": "false",
        "backend-config": f"python,shm-region-prefix-name={prefix}", "exit-timeout-secs": "10",
    }  # fmt: skip
    return [str(home / "bin" / "tritonserver"), *(f"--{name}={value}" for name, value in options.items())]


def _ready(server: TritonServer) -> TritonServer:
    deadline = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < deadline and server.process.poll() is None:
        if _answers(f"{server.http_url}/v2/health/ready"):
            return server
        time.sleep(0.05)
    server.stop()
    raise RuntimeError(f"Triton did not get ready:\n{server.log.read_text(errors='replace')[-3000:]}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return int(answer.status) == 200
    except OSError:
        return False
