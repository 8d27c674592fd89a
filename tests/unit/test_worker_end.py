"""How a worker of the distributed mode ends: told to, or by itself."""

import pytest
from celery.signals import worker_shutting_down

from services.core.errors import Unavailable
from services.distributed.worker import work_until_told


class Loop:
    """Celery's main loop as far as its end goes: by a signal, or because it gives up."""

    def __init__(self, *, signalled):
        self._signalled = signalled

    def worker_main(self, words):
        if self._signalled:
            worker_shutting_down.send(sender=words[0], sig="TERM", how="Warm", exitcode=0)


def test_a_worker_that_was_told_to_stop_has_ended_well():
    work_until_told(Loop(signalled=True), ["worker"])


def test_a_worker_that_gives_up_by_itself_says_so_for_whoever_starts_it_again():
    with pytest.raises(Unavailable, match="ended by itself"):
        work_until_told(Loop(signalled=False), ["worker"])
