"""The command: ``run`` measures recipes and stores the results, ``report`` renders what is stored."""

import argparse
import json
import os
import sys
from pathlib import Path

from benchmarks.chunking.files import read_files
from benchmarks.chunking.measure import measure, measure_comments
from benchmarks.chunking.recipe import RECIPES
from benchmarks.chunking.table import SCENARIO, render
from benchmarks.retrieval import doccomments
from benchmarks.retrieval.labelled import NotThere, load
from benchmarks.speed.records import REPOSITORY, Record, newest, store
from services.core.settings import Settings
from services.core.wiring import open_embedder

RESULTS = REPOSITORY / "benchmarks" / "results" / "chunking"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chunking", description="Quality over how chunks are cut."
    )
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="measure and store the results")
    run.add_argument("--labels", default=os.environ.get("LABELS", ""), help="folder of repos.json and labels/")
    run.add_argument("--trees", default=os.environ.get("TREES", ""), help="folder of the repositories' trees")
    run.add_argument("--comments", type=Path, metavar="FOLDER", help="doc comments too, with their packages kept there")
    run.add_argument("--recipe", action="append", choices=[recipe.name for recipe in RECIPES], help="default: all")
    run.add_argument("--results", type=Path, default=RESULTS)
    run.set_defaults(run=_run)
    report = commands.add_parser("report", help="render the newest stored results as a table")
    report.add_argument("--results", type=Path, default=RESULTS)
    report.set_defaults(run=_report)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _run(options: argparse.Namespace) -> int:
    try:
        suite = load(options.labels, options.trees)
        comments = doccomments.load(options.comments) if options.comments else None
    except NotThere as reason:
        print(reason, file=sys.stderr)
        return 1
    embedder = open_embedder(Settings.from_env())
    files = {tree.name: read_files(tree.path) for tree in suite.trees}
    commented = {tree.name: read_files(tree.path) for tree in comments.trees} if comments else {}
    runs = []
    for recipe in RECIPES:
        if not options.recipe or recipe.name in options.recipe:
            runs.append({"recipe": recipe.name, **measure(suite, files, recipe, embedder)})
            if comments:
                runs[-1] |= measure_comments(comments, commented, recipe, embedder)
            print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    corpus = {**suite.origin, "questions": len(suite.questions), "model": embedder.model_id}
    path = store(Record(SCENARIO, runs[0], runs, corpus), options.results)
    print(f"stored as {path}", file=sys.stderr)
    return 0


def _report(options: argparse.Namespace) -> int:
    print(render(newest(options.results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
