"""The queue of the distributed mode: Celery on Redis, which may lose any message.

A message names a stage and a row of the ledger. It carries nothing else, so losing one costs time and nothing more:
the sweeper finds the row and sends it again.
"""

import time

from celery import Celery
from kombu.entity import Exchange, Queue

from services.core.errors import Unavailable
from services.core.leases import Priority
from services.core.model import Message
from services.core.settings import Settings

# Which stages each kind of worker takes.
STAGES = {
    "cloner": ("plan", "look"),
    "chunker": ("chunk",),
    "embedder": ("embed",),
    "indexer": ("index", "commit", "clean", "remove"),
}
_WORKER = {stage: worker for worker, stages in STAGES.items() for stage in stages}

# No task may take longer; what it has done by then is kept, and its rows are free again.
TASK_TIME_LIMIT_S = 3600
# Redis gives a message to another worker when nobody has acknowledged it for so long.
_VISIBILITY_S = TASK_TIME_LIMIT_S + 300

# Of what puts messages: with a worker's limits and attempts a webhook waited 100 s for a Redis that stood still.
_IMPATIENT = {
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    "health_check_interval": 15,
    "max_retries": 0,
}
# After a failure that took so long nothing is put for a while. A connection that is refused costs nothing.
_SLOW_S = 0.5
_REST_S = 5.0


def queue_names(worker: str) -> list[str]:
    """Return the queues of a kind of worker, the most urgent first."""
    return [f"{worker}.{priority}" for priority in Priority]


def queue_of(stage: str, priority: Priority) -> str:
    """Return the queue that the messages for a stage go to."""
    return f"{_WORKER[stage]}.{priority}"


def make_app(settings: Settings) -> Celery:
    """Return the Celery application; the reason for each setting is in docs/operations.md."""
    app = Celery("quarry", broker=settings.broker_url)
    transport = {
        "visibility_timeout": _VISIBILITY_S,
        "queue_order_strategy": "priority",
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry_on_timeout": True,
    }
    if settings.broker_url.startswith("redis://"):
        # Not with TLS: Kombu knows by the name of its own transport that there is to be any.
        app.conf.broker_transport = "services.distributed.transport:Transport"
    app.conf.update(
        broker_transport_options=transport,
        visibility_timeout=_VISIBILITY_S,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_queues=_queues(),
        task_default_exchange_type="direct",
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=TASK_TIME_LIMIT_S,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1},
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=30,
        worker_enable_soft_shutdown_on_idle=True,
        # They hold leases: whoever gets the same message meanwhile passes it over.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_max_tasks_per_child=2000,
    )
    return app


def _queues() -> list[Queue]:
    exchange = Exchange("quarry", type="direct")  # type: ignore[no-untyped-call]
    names = [name for worker in STAGES for name in queue_names(worker)]
    # The key is the name: with Celery's default key every queue would get every message.
    return [Queue(name, exchange=exchange, routing_key=name) for name in names]  # type: ignore[no-untyped-call]


class CeleryQueue:
    """Where messages are put; opened by the process that uses it.

    Messages are hints, so nobody waits long for a broker that stands still, and others not at all for a while.
    """

    def __init__(self, settings: Settings) -> None:
        # Beside the application of a worker, whose connections are patient.
        self._app = Celery("quarry-sender", broker=settings.broker_url, set_as_current=False)
        self._app.conf.update(
            broker_transport_options=_IMPATIENT,
            task_queues=_queues(),
            task_default_exchange_type="direct",
            task_create_missing_queues=False,
            task_serializer="json",
            task_ignore_result=True,
            task_publish_retry=False,
        )
        self._rests_until = 0.0

    def __call__(self, message: Message, priority: Priority) -> None:
        """Put a message into the queue of its stage and class; whatever prevents it is raised."""
        started = time.monotonic()
        if started < self._rests_until:
            raise Unavailable(f"the broker stood still less than {_REST_S} s ago")
        arguments = (message.key, priority.value)
        try:
            self._app.send_task(f"quarry.{message.stage}", args=arguments, queue=queue_of(message.stage, priority))
        except Exception:
            if time.monotonic() - started > _SLOW_S:
                self._rests_until = time.monotonic() + _REST_S
            raise

    def backlog(self, stage: str, priority: Priority) -> int:
        """Return how many messages wait for a stage."""
        with self._app.connection_for_read() as connection, connection.channel() as channel:
            return int(channel.client.llen(queue_of(stage, priority)))
