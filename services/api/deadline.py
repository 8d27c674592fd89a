"""An answer within a time limit, for work that may hang for longer than its caller waits."""

import queue
import threading
from collections.abc import Callable

from services.core.errors import Unavailable


def within(limit_s: float, work: Callable[[], object]) -> None:
    """Return when `work` is done; it goes on in its own thread if that takes too long.

    Raises:
        Unavailable: it is not done after `limit_s`.
        Exception: whatever `work` raised.
    """
    done: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            work()
        except Exception as error:
            done.put(error)
        else:
            done.put(None)

    threading.Thread(target=run, daemon=True).start()
    try:
        error = done.get(timeout=limit_s)
    except queue.Empty:
        raise Unavailable(f"what is needed to answer did not answer within {limit_s:g} s") from None
    if error is not None:
        raise error
