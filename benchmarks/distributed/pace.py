"""Requests at a constant rate, whatever the answers take: who waits for a late answer has asked when it was due."""

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.distributed.deployment import ANSWER_LIMIT_S
from benchmarks.speed.measure import MeasurementError

# More at a time than this are a server that can't keep up.
_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What came, and how long after the request was due."""

    took_ms: float
    status: int
    body: bytes


def paced(url: str, targets: Sequence[str], per_s: float) -> list[Answer]:
    """GET every target, one after the other at `per_s`, and return the answers in order.

    Raises:
        MeasurementError: a connection failed.
    """
    answers: list[Answer | None] = [None] * len(targets)
    failures: list[Exception] = []
    numbers, lock, started = iter(range(len(targets))), threading.Lock(), time.perf_counter() + 0.1

    def take() -> int | None:
        with lock:
            return next(numbers, None)

    def run() -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_LIMIT_S)
        try:
            while (number := take()) is not None:
                answers[number] = _ask(connection, targets[number], started + number / per_s)
        except (OSError, http.client.HTTPException) as error:
            failures.append(error)
        finally:
            connection.close()

    _all_at_once(run)
    if failures:
        raise MeasurementError(f"{len(failures)} connections failed, the first with {failures[0]!r}")
    return [answer for answer in answers if answer is not None]


def _ask(connection: http.client.HTTPConnection, target: str, due: float) -> Answer:
    time.sleep(max(0.0, due - time.perf_counter()))
    connection.request("GET", target)
    response = connection.getresponse()
    body = response.read()
    return Answer((time.perf_counter() - due) * 1e3, response.status, body)


def _all_at_once(run: Callable[[], None]) -> None:
    threads = [threading.Thread(target=run) for _ in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
