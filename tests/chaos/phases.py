"""A phase of a chaos run: a load, a fault, and then the question whether everything is there."""

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.faults import Faults
from tests.chaos.team import Pushing, Watching
from tests.oracle import Oracle

_SETTLE_LIMIT_S = 300.0
_POLL_S = 0.2
# Of the workers' logs: what came twice or late, and what was lost with a worker.
_EVENTS = ("batch_passed_over", "job_passed_over", "batch_lost", "job_lost", "batch_failed", "message_not_sent")
_SENT_AGAIN = re.compile(r"sent_again .*rows=(\d+)")


@dataclass(frozen=True)
class Phase:
    """`every_s` 0 keeps every repository busy; `share` of its files change with each push."""

    name: str
    act: Callable[[Faults], None]
    every_s: float
    share: float


@dataclass
class Outcome:
    """What a phase did, and what was found when it was over.

    recovery_s: from the last fault and push until every push was live. sent_again: rows whose message the sweeper
    took for lost. wrong: answers to searches that were neither right nor a refusal.
    """

    phase: str
    seconds: float = 0.0
    recovery_s: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    stop_s: list[float] = field(default_factory=list)
    pushes: int = 0
    redelivered: int = 0
    fresh_s: list[float] = field(default_factory=list)
    searches: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    jobs: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    retried: int = 0
    sent_again: int = 0
    events: dict[str, int] = field(default_factory=dict)
    files: int = 0
    points: int = 0
    lost: int = 0
    problems: list[str] = field(default_factory=list)


def run_phase(phase: Phase, stack: Any, team: Any, api: Any) -> Outcome:
    """Run a phase and return what came of it."""
    oracle, faults, logs = Oracle(stack.environment), Faults(stack), _Logs(stack)
    failed = len(oracle.failures())
    started, redelivered, jobs = time.monotonic(), team.redelivered, oracle.jobs()
    with Watching(team, stack.url) as watching:
        with Pushing(team, api, every_s=phase.every_s, share=phase.share) as pushing:
            phase.act(faults)
        over = time.monotonic()
        retried = settle(faults, oracle, team)
        recovered = time.monotonic()
        _wait(faults, oracle, team, oracle.is_settled)
    findings = oracle.check(list(team.contents))
    ended = oracle.jobs()
    ended.subtract(jobs)
    return Outcome(
        phase=phase.name,
        seconds=recovered - started,
        recovery_s=recovered - over,
        faults=dict(faults.counts),
        stop_s=faults.stop_s,
        pushes=pushing.pushes,
        redelivered=team.redelivered - redelivered,
        fresh_s=watching.fresh_s,
        searches=dict(watching.statuses),
        wrong=watching.wrong,
        jobs={state: count for state, count in ended.items() if count},
        failures=oracle.failures()[failed:],
        retried=retried,
        sent_again=logs.sent_again(),
        events=logs.events(),
        files=findings.files,
        points=findings.points,
        lost=findings.lost,
        problems=findings.problems,
    )


def settle(faults: Faults, oracle: Oracle, team: Any) -> int:
    """Wait until every repository is live as pushed, and return how many had to be asked for again.

    A batch whose worker was killed QUARRY_MAX_ATTEMPTS times is dead and its job has failed with that reason, as it
    should; the poll or a person would ask again.
    """
    retried = 0
    while True:
        _wait(faults, oracle, team, oracle.is_idle)
        behind = [name for name, tip in team.tips().items() if oracle.live(name) != tip]
        if not behind:
            return retried
        for name in behind:
            team.announce(name)
        retried += len(behind)


def _wait(faults: Faults, oracle: Oracle, team: Any, come: Callable[[list[str]], bool]) -> None:
    deadline, names = time.monotonic() + _SETTLE_LIMIT_S, list(team.contents)
    while not come(names):
        faults.revive()
        if time.monotonic() > deadline:
            raise AssertionError(f"not settled in {_SETTLE_LIMIT_S:.0f} s: {oracle.unsettled(names)}")
        time.sleep(_POLL_S)


def shown(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON, times as percentiles."""
    document = asdict(outcome)
    for name in ("fresh_s", "stop_s"):
        document[name] = _percentiles(document[name])
    return document | {"seconds": round(outcome.seconds, 1), "recovery_s": round(outcome.recovery_s, 2)}


def _percentiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    ordered = sorted(values)
    at = {f"p{share}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 95, 99)}
    return {"count": len(ordered)} | {name: round(value, 2) for name, value in (at | {"max": ordered[-1]}).items()}


class _Logs:
    """What the processes have logged since this was made."""

    def __init__(self, stack: Any) -> None:
        self._files = sorted(stack.folder.glob("*.log"))
        self._starts = {file: file.stat().st_size for file in self._files}

    def sent_again(self) -> int:
        return sum(int(rows) for rows in _SENT_AGAIN.findall(self._text()))

    def events(self) -> dict[str, int]:
        text = self._text()
        return {event: text.count(f" {event} ") for event in _EVENTS if f" {event} " in text}

    def _text(self) -> str:
        return "".join(file.read_bytes()[start:].decode(errors="replace") for file, start in self._starts.items())
