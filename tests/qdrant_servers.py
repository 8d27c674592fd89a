"""Qdrant for the tests: a real server where there is one, else the stand-in over the real engine."""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from services.core.adapters.qdrant_server import QdrantServer
from services.core.errors import Unavailable

ROOT = Path(__file__).resolve().parents[1]
GIVEN_URL = os.environ.get("QUARRY_TEST_QDRANT_URL", "")
BINARY = shutil.which("qdrant")
# For the ids of tests: the report says what they ran on.
KIND = "qdrant" if GIVEN_URL or BINARY else "qdrant-stand-in"
_START_S = 60


@dataclass
class Running:
    """A server of one's own on a free port; its data are in `folder` and outlive it."""

    folder: Path
    url: str
    process: subprocess.Popen

    def kill(self):
        """End it as a power cut ends a process."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """End it in order."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(timeout=60)


@cache
def shared_url():
    """Return the address of a server for all tests of this process."""
    if GIVEN_URL:
        return GIVEN_URL
    folder = tempfile.TemporaryDirectory(prefix="quarry-test-qdrant-")
    server = start(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(server.kill)
    return server.url


def start(folder, port=0):
    """Start a server on `folder`, the real one if its program is there, and return it when it answers."""
    port = port or _free_port()
    process = _start_binary(folder, port) if BINARY else _start_standin(folder, port)
    running = Running(folder, f"http://127.0.0.1:{port}", process)
    _wait_for(running)
    return running


def _start_binary(folder, port):
    settings = {
        "QDRANT__SERVICE__HOST": "127.0.0.1",
        "QDRANT__SERVICE__HTTP_PORT": str(port),
        "QDRANT__SERVICE__GRPC_PORT": str(_free_port()),
        "QDRANT__STORAGE__STORAGE_PATH": str(folder / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),
        "QDRANT__TELEMETRY_DISABLED": "true",
    }
    with (folder / "qdrant.log").open("ab") as log:
        return subprocess.Popen([BINARY], cwd=folder, env=os.environ | settings, stdout=log, stderr=log)


def _start_standin(folder, port):
    command = [sys.executable, "-m", "tests.qdrant_standin", "--port", str(port), "--path", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def _wait_for(running):
    server = QdrantServer(running.url)
    deadline = time.monotonic() + _START_S
    while True:
        try:
            server.check()
            break
        except Unavailable as error:
            if running.process.poll() is not None or time.monotonic() > deadline:
                running.process.kill()
                raise RuntimeError(f"no Qdrant at {running.url}") from error
            time.sleep(0.02)
    server.close()


def _free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
