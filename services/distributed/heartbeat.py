"""A sign of life that does not depend on any other server: a file that is touched as long as the process works."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

_EVERY_S = 5.0
# A warm stop or a broker that is gone may keep a main loop busy for half of this.
STALE_S = 60.0


def beat(path: Path, alive: Callable[[], bool] = lambda: True) -> threading.Event:
    """Touch `path` from a thread as long as `alive` says so; set the event to stop."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            if alive():
                path.touch()
            stop.wait(_EVERY_S)

    threading.Thread(target=run, name="heartbeat", daemon=True).start()
    return stop


def age_s(path: Path) -> float:
    """Return the seconds since the last sign of life, infinity if there was none."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")
