"""Celery's transport on Redis, less one way to end a worker for good.

A channel whose connection is lost gives its unacknowledged messages back over that very connection, and what then
fails ends the process (https://github.com/celery/kombu/issues/582): one worker in twenty, when Redis was killed.
"""

import logging
from typing import Any

from kombu.transport import redis

log = logging.getLogger(__name__)


class _QoS(redis.QoS):
    def restore_unacked(self, client: Any = None) -> None:
        """Give back what was not acknowledged; what can't be is not lost, the ledger has its row."""
        try:
            super().restore_unacked(client)  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever a connection does that was taken apart
            log.warning("messages_not_given_back", extra={"messages": len(self._delivered), "error": repr(error)})
            self._delivered.clear()


class _Channel(redis.Channel):
    QoS = _QoS


class Transport(redis.Transport):
    """Kombu's, with such channels."""

    Channel = _Channel
