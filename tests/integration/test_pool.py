import os
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest

from services.core.errors import Unavailable
from services.core.settings import Settings
from services.embedded.launcher import Interpreters
from services.embedded.mark import Mark
from services.embedded.pool import Order, WorkerPool

SCRIPT = [sys.executable, str(Path(__file__).parents[1] / "scripted_worker.py")]


@pytest.fixture
def pool(tmp_path):
    pool = WorkerPool(Settings(home=tmp_path, workers=2, parse_timeout_s=0.5), tmp_path, Interpreters(SCRIPT))
    yield pool
    pool.close()


def orders(*deeds):
    return deque(Order(number, "git", deed, "r") for number, deed in enumerate(deeds))


def test_every_order_has_one_outcome(pool):
    outcomes = list(pool.outcomes(orders(*["work"] * 9)))

    assert sorted(outcome.order.batch for outcome in outcomes) == list(range(9))
    assert not any(outcome.error for outcome in outcomes)


@pytest.mark.parametrize(
    ("deed", "locator", "reason"),
    [("crash", "killer.py", "parser_crashed"), ("hang", "endless.py", "parser_timed_out")],
)
def test_the_file_that_ends_a_worker_is_named_and_the_rest_is_done(pool, deed, locator, reason):
    outcomes = {o.order.batch: o for o in pool.outcomes(orders("work", deed, "work", "work", "work"))}

    assert outcomes[1].suspects == {locator: reason}
    assert [outcomes[i].error for i in (0, 2, 3, 4)] == [""] * 4


def test_a_worker_that_just_ends_is_replaced_and_reported(pool):
    outcomes = {o.order.batch: o for o in pool.outcomes(orders("die", "work", "work"))}

    assert "status 7" in outcomes[0].error
    assert not outcomes[0].suspects
    assert not outcomes[2].error


def test_errors_are_told_apart_from_those_that_need_somebody_to_act(pool):
    outcomes = {o.order.location: o for o in pool.outcomes(orders("fail", "full"))}

    assert (outcomes["fail"].error, outcomes["fail"].fatal) == ("boom", False)
    assert outcomes["full"].fatal


def test_orders_added_between_outcomes_are_carried_out(pool):
    waiting = orders("fail")
    seen = []

    for outcome in pool.outcomes(waiting):
        seen.append(outcome.order.location)
        if outcome.error:
            waiting.append(replace(outcome.order, location="work"))

    assert seen == ["fail", "work"]


def test_a_stopped_pool_says_so(pool):
    pool.stop()

    with pytest.raises(Unavailable):
        list(pool.outcomes(orders("work")))


def test_a_run_left_early_does_not_answer_in_the_next(pool):
    first = pool.outcomes(orders("work", "work", "work", "work"))
    next(first)
    first.close()

    assert [o.order.location for o in pool.outcomes(orders("fail"))] == ["fail"]


def test_a_disk_too_full_for_a_mark_is_no_signal_but_an_error(pool, tmp_path):
    (tmp_path / f"{os.getpid()}-0.mark").symlink_to("/dev/full")

    with pytest.raises(Unavailable, match="No space left"):
        list(pool.outcomes(orders("work")))


def test_a_mark_has_all_of_its_room_on_the_disk(tmp_path):
    Mark(tmp_path / "m")

    assert (tmp_path / "m").read_bytes() == bytes(8192)
    assert (tmp_path / "m").stat().st_blocks * 512 >= 8192


def test_closing_leaves_no_process_and_no_file(pool, tmp_path):
    list(pool.outcomes(orders("work", "work")))
    pids = [worker.process.pid for worker in pool._workers]

    pool.close()

    assert pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert list(tmp_path.glob("*.mark")) == []


def test_a_mark_is_seen_from_the_other_side_with_any_name(tmp_path):
    writer, reader = Mark(tmp_path / "m"), Mark(tmp_path / "m")
    assert reader.get() is None

    writer.set("odd\n\udcff name")

    locator, seconds = reader.get()
    assert (locator, seconds < 5) == ("odd\n\udcff name", True)
    writer.set(None)
    assert reader.get() is None
    assert os.path.getsize(tmp_path / "m") < 10_000
