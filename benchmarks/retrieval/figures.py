"""Figures of a measurement: means over repositories with intervals, by system, category and language."""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.retrieval.bootstrap import interval, mean
from benchmarks.retrieval.rows import Row, is_ablation, select
from benchmarks.retrieval.scoring import METRICS


def figures(rows: Sequence[Row]) -> dict[str, Any]:
    """Return setup → system → its means over repositories, and the same by category and by language."""
    return {
        setup: {system: _of_system(select(rows, setup, system)) for system in _distinct(rows, "system", setup)}
        for setup in _distinct(rows, "setup")
    }


def _of_system(rows: Sequence[Row]) -> dict[str, Any]:
    found: dict[str, Any] = {"repositories": len(rows), "questions": sum(row["questions"] for row in rows)}
    for metric in METRICS:
        values = [row[metric] for row in rows]
        low, high = interval(values)
        found[metric] = {"mean": round(mean(values), 4), "low": round(low, 4), "high": round(high, 4)}
    if is_ablation(rows[0]["system"]):
        return found
    return found | {"categories": _by_category(rows), "languages": _by_language(rows)}


def _by_category(rows: Sequence[Row]) -> dict[str, float]:
    """Return NDCG by category over all its questions: a repository alone may have only a few of one."""
    totals: dict[str, tuple[float, int]] = {}
    for row in rows:
        for category, (value, count) in row["categories"].items():
            total, questions = totals.get(category, (0.0, 0))
            totals[category] = (total + value * count, questions + count)
    return {category: round(total / questions, 4) for category, (total, questions) in sorted(totals.items())}


def _by_language(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    return {
        language: {
            metric: round(mean([row[metric] for row in rows if row["language"] == language]), 4) for metric in METRICS
        }
        for language in sorted({row["language"] for row in rows})
    }


def _distinct(rows: Iterable[Row], key: str, setup: str = "") -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows if setup in ("", row["setup"])))
