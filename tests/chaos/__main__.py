"""The long form: every kind of worker killed twenty times under a trickle of pushes and under a backlog, and more.

    python -m tests.chaos [--times 20] [--phase NAME]...

Prints a line for each phase and stores all of it in benchmarks/results/chaos. The exit status is 1 if
anything was lost.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.speed.records import REPOSITORY, Record, store
from loadtest.forge import Forge
from tests.api_client import Client
from tests.chaos.phases import Outcome, Phase, run_phase, shown
from tests.chaos.team import Team
from tests.stack import Stack

RESULTS = REPOSITORY / "benchmarks" / "results" / "chaos"
_REPOSITORIES, _FILES = 8, 150
_TRICKLE_S = 0.5
# Longer than any time limit of the queue's.
_FROZEN_S = 30.0
# Two processes of each kind, small batches, and little patience: much is under way when something is lost.
_SETTINGS = {
    "QUARRY_WORKERS": "2",
    "QUARRY_BATCH_BYTES": "16384",
    "QUARRY_LEASE_S": "5",
    "QUARRY_RESEND_S": "5",
    "QUARRY_SWEEP_S": "0.5",
    "QUARRY_SEARCH_GRACE_S": "5",
    "QUARRY_POLL_S": "10",
}


def phases(times: int) -> tuple[Phase, ...]:
    """Return what a run consists of; `times` is for each kind of worker, servers and everything take fewer."""
    fewer, few = max(1, times // 2), max(1, times // 4)
    trickle, backlog = {"every_s": _TRICKLE_S, "share": 0.05}, {"every_s": 0.0, "share": 0.6}
    return (
        Phase("trees-trickle", lambda faults: faults.trees(times), **trickle),
        Phase("trees-backlog", lambda faults: faults.trees(times), **backlog),
        Phase("children-trickle", lambda faults: faults.children(times), **trickle),
        Phase("children-backlog", lambda faults: faults.children(times), **backlog),
        Phase("rolling-trickle", lambda faults: faults.rolling(few), **trickle),
        Phase("rolling-backlog", lambda faults: faults.rolling(few), **backlog),
        Phase("broker", lambda faults: faults.server("broker", fewer), **trickle),
        Phase("frozen-broker", lambda faults: faults.freeze("broker", _FROZEN_S), **trickle),
        Phase(
            "stores", lambda faults: [faults.server(name, few) for name in ("qdrant", "objects", "postgres")], **backlog
        ),
        Phase("sweeper", lambda faults: faults.process("sweeper", fewer), **backlog),
        Phase("web", lambda faults: faults.process("web", few), **trickle),
        Phase("everything", lambda faults: faults.everything(few), **backlog),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the phases asked for and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=20, help="kills of each kind of worker in a phase")
    parser.add_argument("--phase", action="append", help="run this phase only; may be given again")
    options = parser.parse_args(arguments)
    wanted = [phase for phase in phases(options.times) if not options.phase or phase.name in options.phase]
    folder = Path(tempfile.mkdtemp(prefix="quarry-chaos-"))
    folder.chmod(0o755)
    stack, started = Stack(folder), time.monotonic()
    try:
        stack.start(_SETTINGS)
        with Forge(folder / "forge") as forge:
            outcomes = _run(stack, forge, wanted)
    finally:
        for name in stack.processes:
            stack.kill(name)
        stack.stop()
    shutil.rmtree(folder, ignore_errors=True)
    figures = _figures(outcomes) | {"seconds": round(time.monotonic() - started)}
    corpus = {"repositories": _REPOSITORIES, "files_each": _FILES, "settings": _SETTINGS, "stood_in": stack.stood_in}
    print(store(Record("chaos", figures, [shown(each) for each in outcomes], corpus), RESULTS))
    return 1 if figures["lost"] or figures["problems"] or figures["wrong_answers"] else 0


def _run(stack: Stack, forge: Forge, wanted: Sequence[Phase]) -> list[Outcome]:
    api, outcomes = Client(stack.url), []
    names = [f"team-{number}" for number in range(_REPOSITORIES)]
    team = Team(forge, api, stack.environment["QUARRY_WEBHOOK_SECRET"], names, files=_FILES)
    team.join()
    for phase in wanted:
        outcomes.append(run_phase(phase, stack, team, api))
        document = shown(outcomes[-1])
        print(phase.name, {key: value for key, value in document.items() if value and key != "phase"}, flush=True)
    return outcomes


def _figures(outcomes: Sequence[Outcome]) -> dict[str, object]:
    kills: dict[str, int] = {}
    for outcome in outcomes:
        for name, count in outcome.faults.items():
            kills[name] = kills.get(name, 0) + count
    return {
        "faults": kills,
        "pushes": sum(each.pushes for each in outcomes),
        "jobs": {
            state: sum(each.jobs.get(state, 0) for each in outcomes)
            for state in sorted({s for o in outcomes for s in o.jobs})
        },
        "sent_again": sum(each.sent_again for each in outcomes),
        "came_twice": sum(count for each in outcomes for name, count in each.events.items() if "passed_over" in name),
        "longest_recovery_s": max(round(each.recovery_s, 2) for each in outcomes),
        "longest_stop_s": max((round(each, 2) for outcome in outcomes for each in outcome.stop_s), default=0.0),
        "asked_again": sum(each.retried for each in outcomes),
        "lost": sum(each.lost for each in outcomes),
        "problems": sum(len(each.problems) for each in outcomes),
        "wrong_answers": sum(len(each.wrong) for each in outcomes),
    }


if __name__ == "__main__":
    sys.exit(main())
