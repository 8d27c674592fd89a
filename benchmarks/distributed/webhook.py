"""How fast webhooks are answered at fifty a second while workers look into what they announce."""

import os
import tempfile
from pathlib import Path

from benchmarks.distributed.bench import Bench, note
from benchmarks.speed.measure import MeasurementError
from benchmarks.speed.records import Record
from loadtest.attack import AttackError, attack
from loadtest.levels import Profile, profiles
from loadtest.plan import SECRET_VARIABLE
from loadtest.sla import Entry, Traffic, judge
from loadtest.target import SetupError, stack

_ENTRY = "POST /v1/webhooks/github"
_VOID = ("requests", "failures", "rate")


def webhook(bench: Bench) -> Record:
    """Carry out the load test's profile for webhooks on a new stack."""
    deployment = bench.fresh()
    profile = profiles()["stack", "webhook"]
    os.environ[SECRET_VARIABLE] = deployment.secret
    note(f"webhook: {profile.webhook.per_s:g} a second for {profile.window_s:g} s")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="quarry-bench-") as folder,
            stack(profile, Path(folder), deployment.url) as plan,
        ):
            traffic = attack(plan, Path(folder))
    except (AttackError, SetupError) as error:
        raise MeasurementError(str(error)) from error
    finally:
        del os.environ[SECRET_VARIABLE]
    return _record(profile, traffic)


def _record(profile: Profile, traffic: Traffic) -> Record:
    verdict = judge(traffic, profile.gates, profile.offered())
    entry = next(entry for entry in verdict.entries if entry.name == _ENTRY)
    figures = {
        **{f"p{percent}_ms": round(_value(entry, f"p{percent}_ms"), 1) for percent in (50, 95, 99)},
        "max_ms": round(entry.max_ms, 1),
        "per_s": round(entry.achieved_per_s, 2),
        "answered": entry.requests,
        "failures": _value(entry, "failures"),
        "generator_cpu": round(traffic.cpu, 3),
    }
    # Times may be what they are; but what was offered must have been asked, and answered.
    void = [problem for problem in verdict.problems if not problem.startswith(_ENTRY)]
    void += [
        f"{check.figure} is {check.value:.3g}" for check in entry.checks if check.figure in _VOID and not check.held
    ]
    if void:
        raise MeasurementError("; ".join([*void, *entry.errors[:1]]))
    repos = profile.webhook.users
    return Record("webhook", figures, [], {"label": f"{repos} small repositories", "repos": repos})


def _value(entry: Entry, figure: str) -> float:
    return next(check.value for check in entry.checks if check.figure == figure)
