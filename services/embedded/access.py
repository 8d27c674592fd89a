"""Access to a data directory: own it if it is free, else speak to the process that does."""

import time

from services.core.errors import Unavailable
from services.core.settings import Settings
from services.embedded.client import OwnerClient
from services.embedded.home import Home
from services.embedded.owner import Owner

# Long enough for another command's start or a search; an owner that indexes opens its socket within a second.
_PATIENCE_S = 30.0
_RETRY_S = 0.02


def reach(settings: Settings, role: str) -> Owner | OwnerClient:
    """Return the data directory opened as its owner, or a client of the process that owns it.

    Raises:
        InvalidRequest: the directory can't be created or written.
        Unavailable: its owner neither answers nor ends within 30 s.
    """
    home = Home(settings.home)
    home.prepare()
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if home.try_own(role):
            return open_owner(settings, home)
        client = OwnerClient(home.socket)
        try:
            client.get("/healthz")
        except ConnectionError:
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
