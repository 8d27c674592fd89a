"""Latency of warm searches as a client sees it: one `quarry serve`, one connection, one request at a time."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.speed.measure import MeasurementError
from benchmarks.speed.quarry import COMMAND
from benchmarks.speed.queries import Query
from benchmarks.speed.records import percentile
from benchmarks.speed.supervise import descendants, memory_of

_START_LIMIT_S = 60.0
_ANSWER_LIMIT_S = 30.0
_HIT_FIELDS = {"repo", "path", "start_line", "end_line", "language", "symbol", "score", "text", "revision", "url"}
# A filter may leave a query without a hit; without any filter a corpus answers its own words.
LEAST_SHARE_WITH_HITS = 0.9


@contextmanager
def serving(home: Path) -> Iterator[tuple[int, int]]:
    """Run `quarry serve` on a data directory, yield (port, process id) once it is ready, and stop it.

    Raises:
        MeasurementError: it does not become ready.
    """
    port = _free_port()
    env = {**os.environ, "QUARRY_HOME": str(home)}
    log_path = home.with_name(home.name + ".log")
    with log_path.open("wb") as log:
        process = subprocess.Popen([COMMAND, "serve", "--port", str(port)], env=env, stdout=log, stderr=log)
    try:
        _await_ready(process, port, log_path)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask_all(
    port: int, queries: list[Query], mode: str = "hybrid", least_share: float = LEAST_SHARE_WITH_HITS
) -> dict[str, Any]:
    """Send every query, check every answer, and return the latencies' percentiles in milliseconds.

    Raises:
        MeasurementError: an answer is not what the API promises, or less than `least_share` of them have hits.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_LIMIT_S)
    latencies_ms, with_hits = [], 0
    try:
        for query in queries:
            target = "/v1/search?" + urlencode({"q": query.text, "mode": mode, "limit": 10, **query.filters})
            started = time.perf_counter()
            connection.request("GET", target)
            response = connection.getresponse()
            body = response.read()
            latencies_ms.append((time.perf_counter() - started) * 1e3)
            with_hits += _check(query, response.status, body)
    finally:
        connection.close()
    if with_hits < least_share * len(queries):
        raise MeasurementError(f"only {with_hits} of {len(queries)} queries found anything in mode {mode!r}")
    percentiles = {f"p{p}_ms": round(percentile(latencies_ms, p), 2) for p in (50, 95, 99)}
    return {"queries": len(queries), "with_hits": with_hits, **percentiles, "max_ms": round(max(latencies_ms), 2)}


def server_memory_mb(pid: int) -> float:
    """Return the PSS of a server and its children, in 10^6 bytes."""
    readings = [memory_of(each) for each in [pid, *descendants(pid)]]
    return round(sum(reading[0] for reading in readings if reading) / 1e6, 1)


def _check(query: Query, status: int, body: bytes) -> bool:
    if status != 200:
        raise MeasurementError(f"query {query.text!r} with {query.filters} answered {status}: {body[:300]!r}")
    answer = json.loads(body)
    missing = {"query", "took_ms", "hits"} - answer.keys()
    for hit in answer["hits"]:
        missing |= _HIT_FIELDS - hit.keys()
    if missing or len(answer["hits"]) > 10:
        raise MeasurementError(f"the answer to {query.text!r} lacks {sorted(missing)} or is too long")
    return bool(answer["hits"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _await_ready(process: "subprocess.Popen[bytes]", port: int, log_path: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise MeasurementError(f"quarry serve is not ready after {_START_LIMIT_S:.0f} s: {log_path.read_text()[-1000:]}")
