"""The command: ``run`` measures, stores and compares, ``report`` renders what is stored."""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.retrieval import doccomments, golden, guard, history, labelled, ranktime
from benchmarks.retrieval.figures import figures
from benchmarks.retrieval.labelled import NotThere
from benchmarks.retrieval.measure import measure
from benchmarks.retrieval.pools import Suite
from benchmarks.retrieval.quarry import describe_model
from benchmarks.retrieval.report import write_docs, write_table
from benchmarks.retrieval.rows import packed
from benchmarks.retrieval.scoring import METRICS
from benchmarks.retrieval.semble import PeerFailed
from benchmarks.speed.machine import describe_commit
from benchmarks.speed.records import REPOSITORY, Record, newest, store

RESULTS = REPOSITORY / "benchmarks" / "results" / "retrieval"
PARTS = (labelled.NAME, doccomments.NAME, history.NAME, ranktime.NAME)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval", description="Search quality of Quarry.")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="measure, store the results, and compare with those stored before")
    run.add_argument("--part", choices=("all", *PARTS), default="all")
    run.add_argument("--labels", default=os.environ.get("LABELS", ""), help="folder of labels; default $LABELS")
    run.add_argument("--trees", default=os.environ.get("TREES", ""), help="folder of their trees; default $TREES")
    run.add_argument("--history", default=os.environ.get("HISTORY", ""), help="git repositories; default $HISTORY")
    run.add_argument("--folder", type=Path, default=REPOSITORY / ".bench", help="for archives, trees, data directories")
    run.add_argument("--results", type=Path, default=RESULTS, help="where results are stored")
    run.add_argument("--no-ablations", action="store_true", help="leave out what each rule is worth")
    run.add_argument("--no-peer", action="store_true", help="leave semble out")
    run.add_argument("--accept", action="store_true", help="store results that fell all the same")
    run.set_defaults(run=_run)
    report = commands.add_parser("report", help="render the newest stored results")
    report.add_argument("--results", type=Path, default=RESULTS)
    report.add_argument("--write", type=Path, metavar="FILE", help="put the table between the marks of FILE")
    report.add_argument("--docs", type=Path, metavar="FOLDER", help="write quality.md's tables and the plots there")
    report.set_defaults(run=_report)
    held = commands.add_parser("golden", help="compare the ranks of the golden set with the stored ones")
    held.add_argument("--write", action="store_true", help="store the ranks found as the ones to be held")
    held.set_defaults(run=_golden)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _run(options: argparse.Namespace) -> int:
    before = newest(options.results)
    parts = PARTS if options.part == "all" else (options.part,)
    failed = False
    for part in parts:
        try:
            record = _measured(part, options)
        except NotThere as reason:
            print(reason, file=sys.stderr)
        except PeerFailed as error:
            print(f"{part}: failed: {error}", file=sys.stderr)
            failed = True
        else:
            failed |= _keep(record, before, options)
    return 1 if failed else 0


def _measured(part: str, options: argparse.Namespace) -> Record:
    # Before the hours in which somebody may commit or change the model.
    source, model = describe_commit(REPOSITORY), describe_model()
    folder = options.folder.resolve()
    suite = _suite(part, options, folder / "retrieval")
    corpus = {"model": model, **suite.origin}
    if part == ranktime.NAME:
        return Record(part, ranktime.measure(suite, folder / "retrieval"), [], corpus, source=source)
    rows = measure(
        suite,
        folder,
        by_language=part == doccomments.NAME,
        ablations=not options.no_ablations,
        peer=not options.no_peer,
    )
    return Record(part, figures(rows), packed(rows), corpus, source=source)


def _suite(part: str, options: argparse.Namespace, folder: Path) -> Suite:
    if part == labelled.NAME:
        return labelled.load(options.labels, options.trees)
    if part == history.NAME:
        given = folder / "given" / part
        shutil.rmtree(given, ignore_errors=True)
        return history.build(options.history, given)
    return doccomments.load(folder)


def _keep(record: Record, before: dict[str, Record], options: argparse.Namespace) -> bool:
    """Show a record, store it unless it fell below the one stored before, and tell whether it did."""
    print("\n".join(_lines(record)))
    falls = guard.falls(before.get(record.scenario), record)
    for fall in falls:
        print(fall, file=sys.stderr)
    # A fallen one among the results would be what the next run is compared with.
    rejected = bool(falls) and not options.accept
    path = store(record, options.folder / "retrieval" / "fallen" if rejected else options.results)
    print(f"stored as {path}" + ("; --accept stores it as a result" if rejected else ""), file=sys.stderr)
    return rejected


def _lines(record: Record) -> list[str]:
    if record.scenario == ranktime.NAME:
        return [f"{name}: {value}" for name, value in record.figures.items()]
    return [
        " ".join([f"{record.scenario} {setup:6} {system:20}", *(f"{m} {found[m]['mean']:.4f}" for m in METRICS)])
        for setup, systems in record.figures.items()
        for system, found in systems.items()
    ]


def _report(options: argparse.Namespace) -> int:
    records = newest(options.results)
    if options.docs:
        write_docs(options.docs, records)
    write_table(records, options.write)
    return 0


def _golden(options: argparse.Namespace) -> int:
    held = golden.stored()
    with tempfile.TemporaryDirectory(prefix="quarry-golden-") as folder:
        found = golden.measured(held, Path(folder))
    for each, rank in zip(held, found, strict=True):
        print(f"{each.rank:3} -> {rank:2}  {each.query}  ({each.path})")
    if options.write:
        golden.write(held, found)
        return 0
    fallen = golden.falls(held, found)
    print("\n".join(fallen), file=sys.stderr)
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
