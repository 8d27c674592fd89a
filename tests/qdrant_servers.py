"""Qdrant for the tests: a real server where there is one, else the stand-in over the real engine.

A server is at ``QUARRY_TEST_QDRANT_URL`` and ``QUARRY_TEST_QDRANT_GRPC_PORT``, or is started from a ``qdrant`` on
the search path.
"""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from services.core.adapters.qdrant_server import QdrantServer
from services.core.errors import Unavailable
from tests.servers import ROOT, Server, free_port

GIVEN_URL = os.environ.get("QUARRY_TEST_QDRANT_URL", "")
GIVEN_GRPC_PORT = int(os.environ.get("QUARRY_TEST_QDRANT_GRPC_PORT", "0"))
BINARY = shutil.which("qdrant")
HAS_GRPC = bool(GIVEN_GRPC_PORT if GIVEN_URL else BINARY)
# In the ids of tests: a report says what they ran on.
KIND = "qdrant" if GIVEN_URL or BINARY else "qdrant-stand-in"
OWN_KIND = "qdrant" if BINARY else "qdrant-stand-in"
_START_LIMIT_S = 60.0


def shared_url() -> str:
    """Return the address of a server for all tests of this process, which leave nothing in it."""
    return _shared()[0]


def shared_grpc_port() -> int:
    """Return the port of its gRPC, 0 if that is not known."""
    return _shared()[1]


@cache
def _shared() -> tuple[str, int]:
    if GIVEN_URL:
        return GIVEN_URL, GIVEN_GRPC_PORT
    folder = Path(tempfile.mkdtemp(prefix="quarry-qdrant-"))
    server = qdrant_server(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.end, signal.SIGKILL)
    return server.url, grpc_port(folder)


def qdrant_server(folder: Path, *, port: int = 0) -> Server:
    """Start Qdrant, or the stand-in, with its data in `folder` and return it when it answers."""
    port = port or free_port()
    log = folder / "qdrant.log"
    server = Server(f"http://127.0.0.1:{port}", _start(folder, port, log), log)
    connection = QdrantServer(server.url)
    deadline = time.monotonic() + _START_LIMIT_S
    try:
        while not _answers(connection):
            if server.process.poll() is not None or time.monotonic() > deadline:
                server.stop()
                raise RuntimeError(f"Qdrant did not get ready:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
    finally:
        connection.close()
    return server


def grpc_port(folder: Path) -> int:
    """Return the port of the gRPC of the server with its data in `folder`, the same whenever it starts; 0 for none."""
    if not BINARY:
        return 0
    file = folder / "grpc-port"
    if not file.exists():
        file.write_text(str(free_port()))
    return int(file.read_text())


def _start(folder: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    standin = [sys.executable, "-m", "tests.qdrant_standin", "--port", str(port), "--path", str(folder)]
    settings = {
        "QDRANT__SERVICE__HOST": "127.0.0.1",
        "QDRANT__SERVICE__HTTP_PORT": str(port),
        "QDRANT__SERVICE__GRPC_PORT": str(grpc_port(folder)),
        "QDRANT__STORAGE__STORAGE_PATH": str(folder / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),
        "QDRANT__TELEMETRY_DISABLED": "true",
        "PYTHONPATH": str(ROOT),
    }
    with open(log, "ab") as output:
        # A session of its own: an interrupt at the terminal is for the tests.
        return subprocess.Popen(
            [BINARY] if BINARY else standin,
            cwd=folder,
            env=os.environ | settings,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _answers(connection: QdrantServer) -> bool:
    try:
        connection.check()
    except Unavailable:
        return False
    return True
