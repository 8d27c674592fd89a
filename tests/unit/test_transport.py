"""A worker's connection to Redis that is lost with messages on it."""

import signal

from kombu import Connection, Queue

from services.core.settings import Settings
from services.distributed.queue import make_app


def held_message(connection):
    """Return a channel that has a message it has not acknowledged."""
    channel = connection.default_channel
    queue = Queue("some", channel=channel)
    queue.declare()
    connection.Producer(channel).publish({}, routing_key="some", declare=[queue])
    assert queue.get()
    return channel


def test_closing_a_lost_connection_with_messages_on_it_ends_no_worker(own_redis):
    connection = make_app(Settings(broker_url=own_redis.url)).connection_for_read()
    channel = held_message(connection)
    own_redis.end(signal.SIGKILL)

    # A worker that notices closes its channels twice: with the connection, and by themselves.
    connection.collect(socket_timeout=1)
    channel.qos.restore_unacked_once()
    connection.close()


def test_messages_are_given_back_over_a_connection_that_works(own_redis):
    connection = make_app(Settings(broker_url=own_redis.url)).connection_for_read()
    held_message(connection).close()

    with Connection(own_redis.url) as other:
        assert Queue("some", channel=other.default_channel).get()
    connection.release()


def test_a_broker_with_tls_keeps_its_transport():
    assert make_app(Settings(broker_url="rediss://localhost/0")).connection_for_read().ssl
