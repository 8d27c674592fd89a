"""Putting messages into a real broker that is there, stands still, or is gone."""

import os
import signal
import time

import pytest
from kombu.exceptions import OperationalError

from services.core.errors import Unavailable
from services.core.leases import Priority
from services.core.model import Message
from services.core.settings import Settings
from services.distributed.queue import CeleryQueue

MESSAGE = Message("plan", 1)


def test_messages_wait_in_the_queue_of_their_stage_and_class(redis_url):
    queue = CeleryQueue(Settings(broker_url=redis_url))

    queue(MESSAGE, Priority.PUSH)
    queue(Message("look", "some/repo"), Priority.PUSH)
    queue(Message("chunk", 2), Priority.BULK)

    assert queue.backlog("plan", Priority.PUSH) == 2
    assert queue.backlog("chunk", Priority.BULK) == 1
    assert queue.backlog("chunk", Priority.PUSH) == 0


def test_a_broker_that_stands_still_holds_up_one_message_and_not_for_long(own_redis):
    queue = CeleryQueue(Settings(broker_url=own_redis.url))
    queue(MESSAGE, Priority.PUSH)
    os.kill(own_redis.pid, signal.SIGSTOP)

    started = time.monotonic()
    with pytest.raises(OperationalError):
        queue(MESSAGE, Priority.PUSH)
    assert time.monotonic() - started < 8
    for _ in range(100):
        with pytest.raises(Unavailable, match="stood still"):
            queue(MESSAGE, Priority.PUSH)
    assert time.monotonic() - started < 10


def test_a_broker_that_is_gone_is_asked_every_time_and_holds_nobody_up(own_redis):
    queue = CeleryQueue(Settings(broker_url=own_redis.url))
    queue(MESSAGE, Priority.PUSH)
    own_redis.end(signal.SIGKILL)

    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(OperationalError):
            queue(MESSAGE, Priority.PUSH)
    assert time.monotonic() - started < 3
