"""A pool of worker processes that may crash, hang or be killed without harm.

Each worker has at most two orders, so that it never waits for the next. One
that dies or parses a single file for too long is replaced; the file it was
parsing is named in the outcome, so that the next attempt can leave it unparsed.
"""

import json
import os
import selectors
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.core.errors import Unavailable
from services.core.model import ParseNote
from services.core.settings import Settings
from services.embedded.launcher import Launcher, Process
from services.embedded.mark import Mark

_ORDERS_PER_WORKER = 2
_TICK_S = 0.2


@dataclass(frozen=True, slots=True)
class Order:
    """A batch to work on and where its files come from."""

    batch: int
    kind: str
    location: str
    revision: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order: `error` is empty when it went well.

    `fatal` says that trying again is useless until somebody acts (a full disk, say).
    `suspects` maps the locator of the file that ended the worker to the reason.
    """

    order: Order
    error: str = ""
    fatal: bool = False
    suspects: dict[str, str] = field(default_factory=dict)


class WorkerPool:
    """Up to `settings.worker_count` workers, started when there is work for them."""

    def __init__(self, settings: Settings, run: Path, launcher: Launcher) -> None:
        self._settings = settings
        self._run = run
        self._launcher = launcher
        self._workers: list[_Worker] = []
        self._stopping = False

    def warm(self) -> None:
        """Get ready: orders will come soon."""
        if not self._workers:
            self._launcher.warm()

    def stop(self) -> None:
        """End `outcomes` soon; may be called from another thread."""
        self._stopping = True

    def outcomes(self, waiting: deque[Order]) -> Iterator[Outcome]:
        """Carry out the waiting orders and yield what became of each, in the order they finish.

        More may be added to `waiting` between two outcomes.

        Raises:
            Unavailable: `stop` was called, or no worker can be started.
        """
        try:
            while waiting or any(worker.orders for worker in self._workers):
                if self._stopping:
                    raise Unavailable("stopped; the job goes on when it is started again")
                self._hand_out(waiting)
                for worker in self._ready():
                    yield from self._collect(worker, waiting)
                for worker in self._overdue():
                    yield self._bury(worker, waiting, ParseNote.TIMED_OUT)
        finally:
            # Left early: nobody may get the answers of this run in the next.
            for worker in [worker for worker in self._workers if worker.orders]:
                self._dismiss(worker)

    def close(self) -> None:
        """End every worker at once; what they were doing is done again when it is needed."""
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    def _hand_out(self, waiting: deque[Order]) -> None:
        for depth in range(1, _ORDERS_PER_WORKER + 1):
            for worker in self._workers:
                if waiting and len(worker.orders) < depth:
                    worker.send(waiting.popleft())
            while depth == 1 and waiting and len(self._workers) < self._settings.worker_count:
                self._workers.append(self._start())
                self._workers[-1].send(waiting.popleft())

    def _start(self) -> "_Worker":
        path = self._free_mark()
        try:
            return _Worker(Mark(path), self._launcher.launch(), self._settings, path)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise Unavailable(f"worker processes can't be started: {str(path)!r}: {error.strerror}") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _free_mark(self) -> Path:
        taken = {worker.mark_path for worker in self._workers}
        names = (self._run / f"{os.getpid()}-{number}.mark" for number in range(len(taken) + 1))
        return next(path for path in names if path not in taken)

    def _ready(self) -> list["_Worker"]:
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.output, selectors.EVENT_READ, worker)
            return [key.data for key, _ in selector.select(_TICK_S)]

    def _overdue(self) -> list["_Worker"]:
        return [w for w in self._workers if w.orders and w.parsing_s() > self._settings.parse_timeout_s]

    def _collect(self, worker: "_Worker", waiting: deque[Order]) -> Iterator[Outcome]:
        answers = worker.answers()
        if answers is None:
            if worker.orders:
                yield self._bury(worker, waiting, ParseNote.CRASHED)
            else:
                self._dismiss(worker)
            return
        for answer in answers:
            yield Outcome(worker.orders.popleft(), error=answer["error"], fatal=answer["fatal"])

    def _bury(self, worker: "_Worker", waiting: deque[Order], reason: ParseNote) -> Outcome:
        parsing = worker.mark.get()
        end = self._dismiss(worker)
        order = worker.orders.popleft()
        waiting.extendleft(reversed(worker.orders))
        if parsing is None:
            return Outcome(order, error=f"a worker ended unexpectedly ({end})")
        return Outcome(order, error=f"{reason.value} on {parsing[0]!r}", suspects={parsing[0]: reason.value})

    def _dismiss(self, worker: "_Worker") -> str:
        self._workers.remove(worker)
        return worker.kill()


class _Worker:
    """One process, its unanswered orders in the order they were sent, and its mark."""

    def __init__(self, mark: Mark, process: Process, settings: Settings, mark_path: Path) -> None:
        self.orders: deque[Order] = deque()
        self.mark, self.mark_path = mark, mark_path
        self.mark.set(None)
        self.process = process
        self.output = process.stdout.fileno()
        self._buffer = b""
        self._write({"settings": settings.to_json(), "mark": str(mark_path)})

    def send(self, order: Order) -> None:
        """Give the worker an order; a worker that is gone answers by its end of file."""
        self.orders.append(order)
        self._write({name: getattr(order, name) for name in Order.__dataclass_fields__})

    def answers(self) -> list[dict[str, Any]] | None:
        """Return the answers that have arrived, None once the process is gone."""
        data = os.read(self.output, 1 << 16)
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def parsing_s(self) -> float:
        """Return for how long the current file has been parsed."""
        parsing = self.mark.get()
        return parsing[1] if parsing else 0.0

    def kill(self) -> str:
        """End the process, remove its mark and say how it ended."""
        code = self.process.kill()
        self.mark_path.unlink(missing_ok=True)
        return f"signal {-code}" if code < 0 else f"status {code}"

    def _write(self, document: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(document).encode() + b"\n")
            self.process.stdin.flush()
