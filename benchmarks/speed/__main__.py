"""The command: ``run`` measures and stores, ``report`` renders what is stored."""

import argparse
import json
import os
import sys
from pathlib import Path

from benchmarks.speed.corpora import CorpusMissing
from benchmarks.speed.measure import MeasurementError
from benchmarks.speed.records import REPOSITORY, RESULTS, Record, newest, store
from benchmarks.speed.report import fill, render
from benchmarks.speed.scenarios import SCENARIOS, Bench, search


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="Speed and memory of Quarry.")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="measure and store the results")
    run.add_argument("--scenario", choices=("all", *SCENARIOS, "search"), default="all")
    run.add_argument("--runs", type=int, default=3, help="runs of each program; the median counts")
    run.add_argument("--folder", type=Path, default=REPOSITORY / ".bench", help="for corpora and data directories")
    run.set_defaults(run=_run)
    report = commands.add_parser("report", help="render the newest stored results as a table")
    report.add_argument("--write", type=Path, metavar="FILE", help="put it between the marks of FILE")
    report.set_defaults(run=_report)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _run(options: argparse.Namespace) -> int:
    bench = Bench(options.folder.resolve(), options.runs, os.environ.get("LINUX", ""))
    bench.folder.mkdir(parents=True, exist_ok=True)
    failed = False
    for name, scenario in SCENARIOS.items():
        if options.scenario not in ("all", name):
            continue
        try:
            _keep(scenario(bench))
        except CorpusMissing as reason:
            print(f"{name}: skipped: {reason}", file=sys.stderr)
        except MeasurementError as error:
            failed = True
            print(f"{name}: failed: {error}", file=sys.stderr)
    if options.scenario in ("all", "search"):
        try:
            for record in search(bench):
                _keep(record)
        except MeasurementError as error:
            failed = True
            print(f"search: failed: {error}", file=sys.stderr)
    return 1 if failed else 0


def _keep(record: Record) -> None:
    path = store(record)
    print(json.dumps({"scenario": record.scenario, **record.figures}, indent=1))
    print(f"stored as {path.relative_to(REPOSITORY)}", file=sys.stderr)


def _report(options: argparse.Namespace) -> int:
    text = render(newest(RESULTS))
    if options.write:
        fill(options.write, text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
