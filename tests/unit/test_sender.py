"""What becomes of messages that can't be sent: their rows are there for the sweeper at once."""

from services.core.database import open_database
from services.core.leases import Leases, Priority
from services.core.ledger import Ledger
from services.core.model import FileRef, Message
from services.core.sender import Sender

REFS = [FileRef("a.py", "a.py", "git:1", 5)]
PATIENCE_S = 3600.0


class Queue:
    """A queue that takes so many messages and then breaks."""

    def __init__(self, takes):
        self.taken, self._takes = [], takes

    def __call__(self, message, _priority):
        if len(self.taken) == self._takes:
            raise ConnectionError("refused")
        self.taken.append(message.key)


def batches(engine, count):
    ledger = Ledger(engine)
    job = ledger.create_job("r")
    ledger.start_job(job.id, revision="1", schema="s", plan="p", first=False, batches=[REFS] * count)
    return [batch.id for batch in ledger.batches(job.id)]


def test_rows_whose_message_was_not_sent_wait_for_nothing(tmp_path):
    engine = open_database(tmp_path / "catalog.db")
    leases, queue = Leases(engine), Queue(takes=2)
    rows = batches(engine, 5)

    Sender(queue, leases, PATIENCE_S).send([Message("chunk", row) for row in rows], Priority.PUSH)

    assert queue.taken == rows[:2]
    assert [each.key for each in leases.waiting(10)] == rows[2:]
    engine.dispose()


def test_rows_whose_message_was_sent_are_given_time(tmp_path):
    engine = open_database(tmp_path / "catalog.db")
    leases, queue = Leases(engine), Queue(takes=10)
    rows = batches(engine, 3)

    Sender(queue, leases, PATIENCE_S).send([Message("chunk", row) for row in rows], Priority.PUSH)

    assert leases.waiting(10) == []
    engine.dispose()
