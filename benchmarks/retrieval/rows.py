"""The rows of a measurement as they are stored: scores by repository, what is the same for all systems once.

A row is a system's scores in one setup for one repository. Twenty ablations of 44 rows would be half a
megabyte of JSON otherwise.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.retrieval.scoring import METRICS
from benchmarks.speed.records import Record

Row = dict[str, Any]
ABLATION = "without "


def packed(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as the runs of a record: one for each system and setup, after one that describes the repositories."""
    about = {row["repo"]: [row["language"], row["questions"]] for row in rows}
    runs: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["setup"], row["system"])
        run = runs.setdefault(key, {"setup": key[0], "system": key[1], "scores": {}, "categories": {}})
        run["scores"][row["repo"]] = [row[metric] for metric in METRICS]
        if any(row["categories"]) and not is_ablation(row["system"]):
            run["categories"][row["repo"]] = row["categories"]
    return [{"metrics": list(METRICS), "repositories": about}, *runs.values()]


def rows_of(record: Record) -> list[Row]:
    """Return the rows of a stored record, none for one of another kind."""
    if not record.runs:
        return []
    head, *runs = record.runs
    return [
        {"system": run["system"], "setup": run["setup"], "repo": repo}
        | dict(zip(("language", "questions"), head["repositories"][repo], strict=True))
        | dict(zip(head["metrics"], scores, strict=True))
        | {"categories": run["categories"].get(repo, {})}
        for run in runs
        for repo, scores in run["scores"].items()
    ]


def select(rows: Iterable[Row], setup: str, system: str) -> list[Row]:
    """Return the rows of a system in a setup, one for each repository."""
    return [row for row in rows if row["setup"] == setup and row["system"] == system]


def is_ablation(system: str) -> bool:
    """Tell whether a system is Quarry with one rule switched off."""
    return system.startswith(ABLATION)
