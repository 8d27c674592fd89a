"""Stored results: one JSON file per measurement, never overwritten."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed.machine import describe_commit, describe_machine

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results" / "speed"


@dataclass(frozen=True, slots=True)
class Record:
    """One measurement: every run as measured, and the figures drawn from them."""

    scenario: str
    figures: dict[str, Any]
    runs: list[dict[str, Any]]
    corpus: dict[str, Any]
    machine: dict[str, Any] = field(default_factory=describe_machine)
    source: dict[str, Any] = field(default_factory=lambda: describe_commit(REPOSITORY))
    taken_at: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def store(record: Record, results: Path = RESULTS) -> Path:
    """Write a record and return its file."""
    stamp = record.taken_at.replace(":", "").replace("-", "")
    path = results / f"{record.scenario}-{stamp}-{record.source['commit'][:8] or 'none'}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(record), indent=1) + "\n")
    return path


def newest(results: Path = RESULTS) -> dict[str, Record]:
    """Return the newest record of each scenario."""
    records = [Record(**json.loads(path.read_text())) for path in results.glob("*.json")]
    return {record.scenario: record for record in sorted(records, key=lambda record: record.taken_at)}


def median(values: Sequence[float]) -> float:
    """Return the median: the mean of the middle two of an even number of values."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` % of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]
