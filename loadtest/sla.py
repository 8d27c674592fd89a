"""Whether a server held its service levels, from every single response time.

A run that asked too little, or whose load generator was itself the bottleneck, says nothing about the server and fails.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.speed.records import percentile
from loadtest.levels import Gate

# Locust's own limit: above, response times are waiting times of the load generator.
MAX_GENERATOR_CPU = 0.9
PERCENTS = (50, 95, 99)
# What is offered evenly may come to one or two requests more in a window, and to a few more where answers were late.
_TOLERANCE = 1.03
_EDGE_REQUESTS = 2
# What is offered evenly may come to one or two requests more in a window, and to a few more where answers were late.
_TOLERANCE = 1.03
_EDGE_REQUESTS = 2


@dataclass(frozen=True, slots=True)
class Sample:
    """One request, or one thing that took several: when it began, how long it took, what was wrong with it."""

    entry: str
    started_at: float
    took_ms: float
    error: str = ""
    missed: bool = False


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a load generator saw; `start` and `end` are the measured window, `cpu` its own greatest share of a core."""

    samples: list[Sample]
    start: float
    end: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Check:
    """One figure against its limit."""

    figure: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def bound(self) -> str:
        """The sense of the limit, in words."""
        return "at least" if self.at_least else "at most"

    @property
    def held(self) -> bool:
        """Whether the figure keeps the limit; what could not be measured does not."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True, slots=True)
class Entry:
    """The figures of one entry, each against its limit."""

    name: str
    offered_per_s: float
    achieved_per_s: float
    requests: int
    checks: tuple[Check, ...]
    max_ms: float
    errors: tuple[str, ...]
    most_requests: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every entry's figures, and in words what was not held or makes the run void."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether the service levels were held."""
        return not self.problems


def judge(traffic: Traffic, gates: Mapping[str, Gate], offered: Mapping[str, float]) -> Verdict:
    """Compare what was seen with what must be; an entry without a gate, or a gate without requests, is a problem."""
    window_s = traffic.end - traffic.start
    counted = [sample for sample in traffic.samples if traffic.start <= sample.started_at < traffic.end]
    names = dict.fromkeys([*gates, *offered, *(sample.entry for sample in counted)])
    problems = [f"{name}: has no gate{_example(name, counted)}" for name in names if name not in gates]
    if not counted:
        problems.append("nothing was asked: an idle run holds every limit and shows nothing")
    if not traffic.cpu <= MAX_GENERATOR_CPU:
        share = f"{traffic.cpu:.0%}, at most {MAX_GENERATOR_CPU:.0%}"
        problems.append(f"the load generator used {share} of its core, so times are its own; run void")
    entries = [
        _entry(name, gate, [sample for sample in counted if sample.entry == name], offered.get(name, 0.0), window_s)
        for name, gate in gates.items()
    ]
    problems += [problem for entry in entries for problem in _problems(entry)]
    return Verdict(tuple(entries), tuple(problems))


def _example(name: str, samples: list[Sample]) -> str:
    errors = (f", and failed: {sample.error}" for sample in samples if sample.entry == name and sample.error)
    return next(errors, "")


def _entry(name: str, gate: Gate, samples: list[Sample], offered_per_s: float, window_s: float) -> Entry:
    good = [sample for sample in samples if not sample.error]
    # Failures are often fast; they would make a broken server look quick.
    times = [sample.took_ms for sample in good]
    achieved_per_s = len(good) / window_s
    checks = [
        Check(f"p{p}_ms", percentile(times, p) if times else math.inf, getattr(gate, f"p{p}_ms")) for p in PERCENTS
    ]
    checks += [
        Check("requests", len(good), gate.requests, at_least=True),
        Check("failures", 1 - len(good) / len(samples) if samples else 1.0, gate.failures),
        Check("missed", sum(sample.missed for sample in good) / len(good) if good else 1.0, gate.missed),
    ]
    if offered_per_s:
        checks.append(Check("rate", achieved_per_s / offered_per_s, gate.rate, at_least=True))
    errors = dict.fromkeys(sample.error for sample in samples if sample.error)
    return Entry(
        name,
        offered_per_s,
        achieved_per_s,
        len(samples),
        tuple(checks),
        max_ms=max(times, default=0.0),
        errors=tuple(errors),
        most_requests=offered_per_s * window_s * _TOLERANCE + _EDGE_REQUESTS if offered_per_s else math.inf,
    )


def _problems(entry: Entry) -> list[str]:
    """Return one line, with the first error as an example, or none."""
    broken = [check for check in entry.checks if not check.held]
    if entry.requests > entry.most_requests:
        return [f"{entry.name}: {entry.requests} requests are more than was offered; the load generator lost its pace"]
    if not broken:
        return []
    said = "; ".join(f"{check.figure} {check.value:.4g}, {check.bound} {check.limit:.4g}" for check in broken)
    return [
        f"{entry.name}: {said if entry.requests else 'nothing was asked'}",
        *(f"{entry.name}: {error}" for error in entry.errors[:1]),
    ]


def document(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON; a figure that could not be measured is null."""
    entries = []
    for entry in verdict.entries:
        checks = [asdict(check) | {"held": check.held} for check in entry.checks]
        for check in checks:
            check["value"] = round(check["value"], 4) if math.isfinite(check["value"]) else None
        figures = {"offered_per_s": entry.offered_per_s, "achieved_per_s": round(entry.achieved_per_s, 3)}
        more = {"requests": entry.requests, "max_ms": round(entry.max_ms, 2), "errors": list(entry.errors[:5])}
        entries.append({"entry": entry.name, **figures, **more, "checks": checks})
    return {"held": verdict.held, "problems": list(verdict.problems), "entries": entries}
