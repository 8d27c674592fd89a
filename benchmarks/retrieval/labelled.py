"""Labelled questions: JSON files of queries with the files that answer them, over trees at pinned revisions.

`LABELS` is a folder with `repos.json` and `labels/NAME.json`, as in the benchmark that semble's authors
publish; `TREES` holds the trees, checked out, as `TREES/NAME`.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.retrieval.pools import Question, Suite, Target, Tree

NAME = "labelled"
HOW = (
    "labelled: skipped: give LABELS=folder (repos.json and labels/NAME.json of semble's published benchmark) and "
    "TREES=folder (each repository of repos.json checked out at its revision as TREES/NAME)"
)


class NotThere(Exception):
    """What a part measures is not on this machine; the message says how to get it."""


def load(labels: str, trees: str) -> Suite:
    """Read the labels whose trees are there.

    Raises:
        NotThere: none is, or a folder was not given.
    """
    if not labels or not trees:
        raise NotThere(HOW)
    specs = {spec["name"]: spec for spec in json.loads(Path(labels, "repos.json").read_text())}
    loaded: list[Tree] = []
    questions: list[Question] = []
    for path in sorted(Path(labels, "labels").glob("*.json")):
        spec = specs.get(path.stem)
        root = Path(trees, path.stem, spec.get("benchmark_root") or "") if spec else None
        if spec and root and root.is_dir():
            loaded.append(Tree(path.stem, root, spec["language"]))
            questions += _questions(path.stem, json.loads(path.read_text()))
    if not loaded:
        raise NotThere(HOW)
    asked = json.dumps([(q.repo, q.text) for q in questions])
    origin: dict[str, object] = {
        "labels": hashlib.sha256(asked.encode()).hexdigest(),
        "revisions": {tree.name: specs[tree.name]["revision"] for tree in loaded},
    }
    return Suite(NAME, tuple(loaded), tuple(questions), origin)


def _questions(repo: str, tasks: Iterable[dict[str, Any]]) -> list[Question]:
    return [
        Question(repo, task["query"], tuple(map(_target, task["relevant"])), task.get("category", "")) for task in tasks
    ]


def _target(label: str | dict[str, Any]) -> Target:
    if isinstance(label, str):
        return Target(label)
    return Target(label["path"], label.get("start_line") or 0, label.get("end_line") or 0)
