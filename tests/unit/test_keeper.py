"""Claims about keeping a lease while its holder works."""

import threading

import pytest

from services.core.errors import Unavailable
from services.core.keeper import Hold, kept

SOON_S = 0.003


class Renewals:
    """Answers renewals in turn, the last one for ever; `reached` is set once there were as many."""

    def __init__(self, *answers):
        self.answers, self.asked, self.reached = answers, 0, threading.Event()

    def __call__(self):
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if self.asked >= len(self.answers):
            self.reached.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("services.core.keeper.monotonic", lambda: now[0])
    return now


def test_a_lease_is_renewed_again_and_again_until_the_work_ends():
    renewals = Renewals(True, True, True, True)

    with kept(renewals, SOON_S) as hold:
        assert renewals.reached.wait(10)
        hold.renew(renewals)
        hold.check()
    asked = renewals.asked

    assert not any(thread.name == "lease" for thread in threading.enumerate())
    assert renewals.asked == asked


def test_a_renewal_that_fails_is_tried_again():
    renewals = Renewals(Unavailable("no database now"), Unavailable("still none"), True)

    with kept(renewals, SOON_S):
        assert renewals.reached.wait(10)


def test_nothing_is_renewed_once_the_lease_is_anothers():
    renewals = Renewals(True, False)

    with kept(renewals, SOON_S) as hold:
        assert renewals.reached.wait(10)
        for thread in threading.enumerate():
            if thread.name == "lease":
                thread.join(10)
        with pytest.raises(Unavailable, match="somebody else goes on"):
            hold.check()

    assert renewals.asked == 2


def test_what_the_work_raises_is_raised_and_the_renewals_end():
    with pytest.raises(KeyError), kept(Renewals(True), SOON_S):
        raise KeyError

    assert not any(thread.name == "lease" for thread in threading.enumerate())


def test_a_hold_may_be_relied_on_as_long_as_the_lease_and_no_longer(clock):
    hold = Hold(30.0)
    clock[0] += 30.0
    hold.check()

    clock[0] += 0.1

    with pytest.raises(Unavailable, match=r"lease of 30\.0 s"):
        hold.check()


def test_a_renewal_counts_from_when_it_was_asked_for(clock):
    hold = Hold(30.0)

    def slow():
        clock[0] += 20.0
        return True

    assert hold.renew(slow)
    clock[0] += 10.0
    hold.check()
    clock[0] += 0.1

    with pytest.raises(Unavailable):
        hold.check()
