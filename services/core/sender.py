"""Sending messages to the next stage: noted in the ledger first, and never worth an error."""

import logging
from collections.abc import Callable, Iterable, Sequence

from services.core.leases import Leases, Priority, Waiting
from services.core.model import Message
from services.core.ports import Emit

log = logging.getLogger(__name__)

# Puts a message into a queue, or raises whatever prevents it.
Publish = Callable[[Message, Priority], None]

# Their keys are rows of the ledger, which says when to send them again.
_OF_ROWS = ("plan", "chunk", "embed", "index", "commit", "clean")


class Sender:
    """Sends messages; one that can't be sent is logged, and left to the sweeper."""

    def __init__(self, publish: Publish, leases: Leases, patience_s: float) -> None:
        self._publish = publish
        self._leases = leases
        self._patience_s = patience_s

    def emit(self, priority: Priority) -> Emit:
        """Return the `Emit` of a stage that works for a job of this class."""
        return lambda message: self.send([message], priority)

    def send(self, messages: Iterable[Message], priority: Priority) -> None:
        """Send messages, after noting in the ledger that they are under way."""
        messages = list(messages)
        self._leases.sent(_rows(messages, priority), self._patience_s)
        for number, message in enumerate(messages):
            try:
                self._publish(message, priority)
            except Exception as error:  # the exceptions of a queue and its transport share no base
                log.warning("message_not_sent", extra={"stage": message.stage, "key": message.key, "error": str(error)})
                # The sweeper need not be patient with these.
                self._leases.sent(_rows(messages[number:], priority), 0.0)
                return


def _rows(messages: Sequence[Message], priority: Priority) -> list[Waiting]:
    return [Waiting(each.stage, int(each.key), priority) for each in messages if each.stage in _OF_ROWS]
