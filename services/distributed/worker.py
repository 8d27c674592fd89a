"""A worker of the distributed mode: ``python -m services.distributed.worker cloner|chunker|embedder|indexer``."""

import gc
import importlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps
from celery.apps.worker import Worker
from celery.signals import setup_logging, worker_ready, worker_shutting_down

from services.core import log as logs
from services.core.collector import collect_rarely
from services.core.desk import Desk, Tasks
from services.core.errors import InvalidRequest, QuarryError, Unavailable
from services.core.leases import Priority
from services.core.settings import Settings
from services.core.wiring import check_queue, required
from services.distributed.heartbeat import STALE_S, beat
from services.distributed.queue import STAGES, CeleryQueue, make_app, queue_names

log = logging.getLogger(__name__)

# Imported by name: an image holds what its own worker needs.
_MODULES = {
    "cloner": "services.chunker.tasks",
    "chunker": "services.chunker.tasks",
    "embedder": "services.embedder.tasks",
    "indexer": "services.indexer.tasks",
}
_RETRY_S = 2.0
# A model, a hostile pack or a leak may grow a process; it is replaced after the task.
_MAX_PROCESS_KB = 1_500_000


class _Pulse(bootsteps.StartStopStep):  # type: ignore[misc]
    """Notes that the main loop goes round."""

    requires = {"celery.worker.components:Timer"}  # noqa: RUF012 - Celery's interface
    at = time.monotonic()

    def start(self, worker: Worker) -> None:
        worker.timer.call_repeatedly(5.0, self.note)

    @classmethod
    def note(cls) -> None:
        cls.at = time.monotonic()


def main(arguments: list[str]) -> int:
    """Work until told to stop; return the exit status."""
    logs.configure(verbose=True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        worker = _kind(arguments)
        settings = Settings.from_env()
        required(settings, "database_url", "broker_url")
        _run(worker, settings)
    except QuarryError as error:
        print(f"quarry: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _kind(arguments: list[str]) -> str:
    if len(arguments) != 1 or arguments[0] not in STAGES:
        raise InvalidRequest(f"say which worker to run: {', '.join(STAGES)}")
    return arguments[0]


def _run(worker: str, settings: Settings) -> None:
    app = make_app(settings)
    module = importlib.import_module(_MODULES[worker])
    starting = beat(settings.heartbeat)
    _wait_for_servers(settings, Desk(settings, CeleryQueue(settings)), getattr(module, "prepare", None))
    starting.set()
    # Another desk: nothing that was opened here may be used after the fork.
    _register(app, getattr(module, f"{worker}_tasks")(Desk(settings, CeleryQueue(settings))))
    app.steps["worker"].add(_Pulse)
    _Pulse.note()
    beat(settings.heartbeat, lambda: time.monotonic() - _Pulse.at < STALE_S or not _broker_answers(settings))
    worker_ready.connect(_say_ready)
    setup_logging.connect(_keep_logging)
    collect_rarely()
    # What is loaded stays: its pages are shared by the processes forked off as long as nobody writes to them.
    gc.freeze()
    options = {
        "--hostname": f"{worker}@%h",
        "--queues": ",".join(queue_names(worker)),
        "--concurrency": str(settings.worker_count),
        "--max-memory-per-child": str(_MAX_PROCESS_KB),
    }
    words = [word for option in options.items() for word in option]
    work_until_told(app, ["--quiet", "worker", *words, "--without-gossip", "--without-mingle"])


def work_until_told(app: Celery, words: list[str]) -> None:
    """Run Celery's main loop until a signal ends it.

    Raises:
        Unavailable: it has given up by itself, as it does now and then when Redis is killed (kombu#582).
    """
    told = threading.Event()

    def note(**_: object) -> None:
        told.set()

    worker_shutting_down.connect(note)
    app.worker_main(words)
    if not told.is_set():
        raise Unavailable("the worker has ended by itself, its log says why; it must be started again")


def _register(app: Celery, tasks: Tasks) -> None:
    for stage, work in tasks.items():

        def run(key: int | str, priority: str, work: Callable[[Any, Priority], None] = work) -> None:
            work(key, Priority(priority))

        app.task(run, name=f"quarry.{stage}")


def _say_ready(**_: object) -> None:
    log.info("worker_ready")


def _keep_logging(**_: object) -> None:
    """Take the place of Celery's own set-up of logging."""


def _wait_for_servers(settings: Settings, desk: Desk, prepare: Callable[[Desk], None] | None) -> None:
    """Return once everything this worker needs answers; what is wrong for good is raised."""
    while True:
        try:
            check_queue(settings)
            desk.engine.connect().close()
            if prepare is not None:
                prepare(desk)
            desk.engine.dispose()
            return
        except Unavailable as error:
            log.warning("waiting", extra={"for": str(error)})
            time.sleep(_RETRY_S)


def _broker_answers(settings: Settings) -> bool:
    try:
        check_queue(settings)
    except QuarryError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
