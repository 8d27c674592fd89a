"""A job's progress as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from services.api.jobs import job_document
from services.core.ledger import JobState, Ledger

_ENDED = (JobState.DONE, JobState.FAILED, JobState.INTERRUPTED)
# Proxies close connections that are silent for a minute.
_HEARTBEAT_S = 15.0
# A browser reconnects by itself; a stream that nobody reads must not hold a thread for ever.
_LONGEST_S = 900.0


def job_events(ledger: Ledger, job_id: int, *, poll_s: float) -> Iterator[str]:
    """Yield a `progress` event whenever the job has changed, and `end` with its last state."""
    waiting = threading.Event()
    started = said = time.monotonic()
    last: dict[str, Any] | None = None
    while time.monotonic() - started < _LONGEST_S:
        job = ledger.job(job_id)
        document = job_document(job, ledger.progress(job_id))
        if job.state in _ENDED:
            yield _event("end", document)
            return
        if document != last:
            last, said = document, time.monotonic()
            yield _event("progress", document)
        elif time.monotonic() - said > _HEARTBEAT_S:
            said = time.monotonic()
            yield ": still here\n\n"
        waiting.wait(poll_s)


def _event(name: str, document: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(document)}\n\n"
