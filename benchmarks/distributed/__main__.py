"""The command: ``run`` measures and stores, ``report`` renders what is stored."""

import argparse
import json
import os
import sys
from pathlib import Path

from benchmarks.distributed.bench import Bench
from benchmarks.distributed.deployment import NoStack
from benchmarks.distributed.fork import fork
from benchmarks.distributed.overhead import overhead
from benchmarks.distributed.push import push
from benchmarks.distributed.report import CHAOS_RESULTS, RESULTS, fill, render
from benchmarks.distributed.search import search
from benchmarks.distributed.webhook import webhook
from benchmarks.speed.measure import MeasurementError
from benchmarks.speed.records import REPOSITORY, newest, store

# In this order those that need an indexed standard library find one.
SCENARIOS = {"overhead": overhead, "search": search, "fork": fork, "push": push, "webhook": webhook}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.distributed", description="What the distributed mode costs, and how fast it answers."
    )
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="measure and store the results")
    run.add_argument("--scenario", choices=("all", *SCENARIOS), default="all")
    run.add_argument("--runs", type=int, default=2, help="pairs of indexes to compare; the median counts")
    run.add_argument("--folder", type=Path, default=REPOSITORY / ".bench", help="for corpora and data directories")
    run.set_defaults(run=_run)
    report = commands.add_parser("report", help="render the newest stored results as a table")
    report.add_argument("--write", type=Path, metavar="FILE", help="put it between the marks of FILE")
    report.set_defaults(run=_report)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _run(options: argparse.Namespace) -> int:
    _tidy_environment(options.folder.resolve())
    wanted = {name: scenario for name, scenario in SCENARIOS.items() if options.scenario in ("all", name)}
    failed = False
    with Bench(options.folder.resolve(), options.runs) as bench:
        for name, scenario in wanted.items():
            try:
                record = scenario(bench)
            except NoStack as reason:
                print(f"skipped: {reason}", file=sys.stderr)
                return 0
            except MeasurementError as error:
                failed = True
                print(f"{name}: failed: {error}", file=sys.stderr)
                continue
            path = store(record, RESULTS)
            print(json.dumps({"scenario": record.scenario, **record.figures}, indent=1))
            print(f"stored as {path.relative_to(REPOSITORY)}", file=sys.stderr)
    return 1 if failed else 0


def _tidy_environment(folder: Path) -> None:
    """Let nobody's settings into what is measured, and let both modes find their code compiled, as after an install."""
    for name in [name for name in os.environ if name.startswith("QUARRY_") and name != "QUARRY_TEST_QDRANT_URL"]:
        del os.environ[name]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")


def _report(options: argparse.Namespace) -> int:
    text = render(newest(RESULTS) | newest(CHAOS_RESULTS))
    if options.write:
        fill(options.write, text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
