"""Keeping leases alive while their holder works: a process that dies lets them pass within seconds."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from services.core.errors import Unavailable

# How often a lease is renewed in its time: one renewal may fail.
_RENEWALS = 3


class Hold:
    """A lease that is being kept, as far as its holder knows."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._until = monotonic() + lease_s
        self._lost = False

    def check(self) -> None:
        """Return if nobody else can have the row; to be asked before what can't be taken back.

        Raises:
            Unavailable: it is another's, or the lease may have passed.
        """
        if self._lost or monotonic() > self._until:
            raise Unavailable(f"the lease of {self._lease_s} s has passed (QUARRY_LEASE_S); somebody else goes on")

    def renew(self, renew: Callable[[], bool]) -> bool:
        """Renew it once; False if it is lost."""
        asked_at = monotonic()
        self._lost = not renew()
        self._until = asked_at + self._lease_s
        return not self._lost


@contextmanager
def kept(renew: Callable[[], bool], lease_s: float) -> Iterator[Hold]:
    """Renew a lease of that length, which `renew` does unless it returns False, until the block ends."""
    hold, done = Hold(lease_s), threading.Event()

    def keep() -> None:
        while not done.wait(lease_s / _RENEWALS):
            try:
                if not hold.renew(renew):
                    return
            except Exception:
                # A database that is restarting; the next renewal may still be in time.
                continue

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield hold
    finally:
        done.set()
        thread.join()
