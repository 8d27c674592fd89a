"""The sweeper: finds rows of the ledger that nobody works on any more and sends them again.

Messages get lost; rows do not. Several sweepers do no harm, none at all only delays.
Run as ``python -m services.distributed.sweeper``.
"""

import logging
import math
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from time import monotonic

from services.core import log as logs
from services.core.database import open_database
from services.core.deliveries import Deliveries
from services.core.desk import Desk
from services.core.errors import InvalidRequest, QuarryError, Unavailable
from services.core.leases import Priority, Waiting
from services.core.ledger import OPEN_STATES
from services.core.model import Message
from services.core.settings import Settings
from services.core.wiring import check_queue, required
from services.distributed.heartbeat import STALE_S, beat
from services.distributed.queue import CeleryQueue

log = logging.getLogger(__name__)

_AT_ONCE = 1000
_LOST = "its worker was lost, or stood still for longer than its lease"
# What ended long ago is not looked at any more, and its rows are most of the database.
_KEEP_DONE_S = 24 * 3600.0
_KEEP_FAILED_S = 7 * 24 * 3600.0
_KEEP_DELIVERIES_S = 14 * 24 * 3600.0
_PRUNE_EVERY_S = 600.0


class Sweeper:
    """One round after the other."""

    def __init__(self, desk: Desk, backlog: Callable[[str, Priority], int]) -> None:
        self._settings = desk.settings
        self._desk = desk
        self._backlog = backlog
        self._removals_sent: dict[str, float] = {}
        self._pruned_at = 0.0

    def round(self) -> None:
        """Do everything that is due now.

        Raises:
            Unavailable: the database does not answer.
        """
        self._free_lost()
        self._send_waiting()
        self._send_cleaning()
        self._send_looks()
        self._prune()

    def _free_lost(self) -> None:
        desk = self._desk
        for batch_id in desk.leases.overdue():
            if desk.leases.take_back_batch(batch_id):
                priority = Priority(desk.ledger.job(desk.ledger.batch(batch_id).job).priority)
                log.warning("batch_lost", extra={"batch": batch_id})
                desk.fail_batch(batch_id, _LOST, priority, holder="")
        for batch_id in desk.leases.doomed():
            batch = desk.ledger.batch(batch_id)
            desk.give_up(batch, Priority(desk.ledger.job(batch.job).priority))
        for job_id in desk.leases.overdue_jobs():
            attempts = desk.leases.take_back_job(job_id, _LOST)
            if attempts is None:
                continue
            log.warning("job_lost", extra={"job": job_id, "attempts": attempts})
            if attempts >= self._settings.max_attempts:
                error = QuarryError(f"it was begun {attempts} times: {_LOST}")
                desk.fail_job(job_id, error, Priority(desk.ledger.job(job_id).priority), holder="")

    def _send_waiting(self) -> None:
        groups: dict[tuple[str, Priority], list[Waiting]] = defaultdict(list)
        for row in self._desk.leases.waiting(_AT_ONCE):
            groups[row.stage, row.priority].append(row)
        for (stage, priority), rows in groups.items():
            # With as many messages in the queue as rows wait, none is missing: they are only slow to come.
            missing = len(rows) - self._backlog(stage, priority)
            if missing > 0:
                log.info("sent_again", extra={"stage": stage, "priority": priority.value, "rows": len(rows)})
                self._desk.sender.send([Message(stage, row.key) for row in rows], priority)

    def _send_cleaning(self) -> None:
        desk = self._desk
        for job_id in desk.leases.to_clean(self._settings.search_grace_s):
            desk.send("clean", job_id, Priority.BULK)
        now, removing = monotonic(), {repo.name for repo in desk.catalog.removing()}
        self._removals_sent = {name: at for name, at in self._removals_sent.items() if name in removing}
        for name in removing:
            if now - self._removals_sent.get(name, -math.inf) > self._settings.resend_s:
                self._removals_sent[name] = now
                desk.send("remove", name, Priority.BULK)

    def _send_looks(self) -> None:
        due = self._desk.catalog.due(self._settings.poll_s) if self._settings.poll_s else []
        # While nobody takes them, there is no use in more of them.
        if not due or self._backlog("look", Priority.BULK) > _AT_ONCE:
            return
        busy = {job.repo for job in self._desk.ledger.jobs(states=OPEN_STATES)}
        for repo in due:
            if repo.name not in busy:
                self._desk.catalog.looked_at(repo.name)
                self._desk.send("look", repo.name, Priority.BULK)

    def _prune(self) -> None:
        if monotonic() - self._pruned_at < _PRUNE_EVERY_S:
            return
        self._pruned_at = monotonic()
        self._desk.leases.prune(done_s=_KEEP_DONE_S, failed_s=_KEEP_FAILED_S)
        Deliveries(self._desk.engine).forget(_KEEP_DELIVERIES_S)


def main() -> int:
    """Sweep until told to stop; return the exit status."""
    logs.configure(verbose=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = Settings.from_env()
    try:
        required(settings, "database_url", "broker_url")
        _sweep(settings, stop)
    except InvalidRequest as error:
        print(f"quarry: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _sweep(settings: Settings, stop: threading.Event) -> None:
    queue = CeleryQueue(settings)
    sweeper = Sweeper(Desk(settings, queue), queue.backlog)
    last_round = monotonic()
    beat(settings.heartbeat, lambda: monotonic() - last_round < STALE_S)
    checked = False
    while not stop.is_set():
        last_round = monotonic()
        if not checked:
            checked = _check(settings)
        if checked:
            try:
                sweeper.round()
            except Exception as error:  # a server that does not answer now; the next round asks again
                log.warning("round_failed", extra={"error": f"{type(error).__name__}: {error}"})
        stop.wait(settings.sweep_s)


def _check(settings: Settings) -> bool:
    """Tell whether broker and database answer; what is wrong with them for good is raised."""
    try:
        check_queue(settings)
        open_database(settings.database_url).dispose()
    except Unavailable as error:
        log.warning("waiting", extra={"for": str(error)})
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
