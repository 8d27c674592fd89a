"""Access to a data directory: own it if it is free, else speak to the process that does."""

import time
from collections.abc import Callable
from typing import TypeVar

from services.core.errors import Unavailable
from services.core.settings import Settings
from services.embedded.client import OwnerClient, OwnerGone
from services.embedded.home import Home, check_private
from services.embedded.owner import Owner

T = TypeVar("T")

# Long enough for another command's start or a search; an owner that indexes opens its socket within a second.
_PATIENCE_S = 30.0
_RETRY_S = 0.02
# An owner may end for good reasons; one that ends so often does because of what it is asked.
_MAX_ENDS = 20


def persist(request: Callable[[], T]) -> T:
    """Return what `request` does, which begins with `reach`; again if the owner it reached ended meanwhile.

    Raises:
        Unavailable: that happened 20 times.
    """
    for _ in range(_MAX_ENDS):
        try:
            return request()
        except OwnerGone:
            time.sleep(_RETRY_S)
    raise Unavailable(f"the owner of the data directory ended {_MAX_ENDS} times before it answered; see its log")


def reach(settings: Settings, role: str) -> Owner | OwnerClient:
    """Return the data directory opened as its owner, or a client of the process that owns it.

    Raises:
        InvalidRequest: the directory can't be created or written.
        Unavailable: its owner neither answers nor ends within 30 s, or its disk is full.
    """
    home = Home(settings.home)
    home.prepare()
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if home.try_own(role):
            return open_owner(settings, home)
        socket = home.socket
        check_private(socket.parent)
        client = OwnerClient(socket)
        try:
            client.get("/healthz")
        except OwnerGone:
            time.sleep(_RETRY_S)
        else:
            return client
    owner = home.owner()
    raise Unavailable(
        f"data directory {str(home.root)!r} is owned by process {owner.get('pid')} ({owner.get('role')}), "
        f"which did not answer for {_PATIENCE_S:.0f} s"
    )


def own(settings: Settings, role: str) -> Owner:
    """Return the data directory opened as its owner.

    Raises:
        InvalidRequest: the directory can't be created or written.
        Unavailable: another process owns it.
    """
    home = Home(settings.home)
    home.prepare()
    home.own(role)
    return open_owner(settings, home)


def open_owner(settings: Settings, home: Home) -> Owner:
    """Open an owned data directory, giving it back if that fails."""
    try:
        return Owner(settings, home)
    except BaseException:
        home.release()
        raise
