"""Answers within a time limit."""

import threading

import pytest

from services.api.deadline import within
from services.core.errors import NotFound, Unavailable


def test_work_that_is_done_in_time_is_done():
    done = []

    within(5.0, lambda: done.append(1))

    assert done == [1]


def test_what_work_raises_is_raised():
    def work():
        raise NotFound("gone")

    with pytest.raises(NotFound, match="gone"):
        within(5.0, work)


def test_work_that_hangs_is_not_waited_for():
    release = threading.Event()

    with pytest.raises(Unavailable, match="within"):
        within(0.05, release.wait)

    release.set()
