"""Keeping leases alive while their holder works: a process that dies lets them pass within seconds."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def kept(renew: Callable[[], bool], every_s: float) -> Iterator[threading.Event]:
    """Call `renew` every so often until the block ends; the event is set once it returns False."""
    lost, done = threading.Event(), threading.Event()

    def keep() -> None:
        while not done.wait(every_s):
            try:
                if not renew():
                    lost.set()
                    return
            except Exception:
                continue

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        done.set()
        thread.join()
