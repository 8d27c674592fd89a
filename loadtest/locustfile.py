"""The load generator: Locust runs this, `python -m loadtest.run` starts Locust.

It is told what to do by the plan that LOADTEST_PLAN names, and writes down every request for others to judge.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any

from locust import events

from loadtest import recorder
from loadtest.plan import VARIABLE, Plan
from loadtest.sla import Sample
from loadtest.users import IndexUser, PushUser, SearchUser, WebhookUser

__all__ = ["IndexUser", "PushUser", "SearchUser", "WebhookUser"]

if VARIABLE not in os.environ:
    raise SystemExit(f"{VARIABLE} is not set: start a load test with `python -m loadtest.run`")

_PLAN = Plan.read(Path(os.environ[VARIABLE]))
_RECORDER = recorder.Recorder(_PLAN.profile.warm_up_s, _PLAN.profile.window_s)
SearchUser.configure(_PLAN, _RECORDER, _PLAN.profile.search)
IndexUser.configure(_PLAN, _RECORDER, _PLAN.profile.index)
PushUser.configure(_PLAN, _RECORDER, _PLAN.profile.push)
WebhookUser.configure(_PLAN, _RECORDER, _PLAN.profile.webhook)
SearchUser.prepare(_PLAN)


def _begin(environment: Any, **_: Any) -> None:
    _RECORDER.begin()
    threading.Thread(target=_watch, args=(environment.runner,), daemon=True).start()


def _watch(runner: Any) -> None:
    """Note the processor time until the window is over, and have the users end what they are at."""
    # Not by --run-time, whose clock stands still while the corpus is generated.
    while time.time() < _RECORDER.end:
        _RECORDER.read_cpu()
        time.sleep(min(1.0, max(_RECORDER.end - time.time(), 0.0)))
    _RECORDER.read_cpu()
    runner.quit()


def _note(
    name: str, start_time: float, response_time: float, exception: BaseException | None, context: Any, **_: Any
) -> None:
    error = "" if exception is None else str(exception) or type(exception).__name__
    _RECORDER.samples.append(Sample(name, start_time, response_time, error, bool(context.get("missed"))))


def _end(environment: Any, **_: Any) -> None:
    recorder.write(_RECORDER.traffic(), Path(_PLAN.result))
    # Whether what was seen is good enough is for others to say.
    environment.process_exit_code = 0


def _note_defect(user_instance: Any, exception: BaseException, **_: Any) -> None:
    _RECORDER.samples.append(Sample(type(user_instance).__name__, time.time(), 0.0, repr(exception)))


# Locust's hooks have no types.
_EVENTS: Any = events
_EVENTS.test_start.add_listener(_begin)
_EVENTS.request.add_listener(_note)
_EVENTS.user_error.add_listener(_note_defect)
_EVENTS.quitting.add_listener(_end)
