"""The guard: a measurement that fell below the newest stored one by more than noise."""

from collections.abc import Sequence

from benchmarks.retrieval import quarry
from benchmarks.retrieval.bootstrap import interval, mean
from benchmarks.retrieval.rows import Row, rows_of, select
from benchmarks.speed.records import Record

# Between two seeds of a model's training; smaller differences say nothing.
NOISE = 0.004
# What counts for each kind of question.
JUDGED = {"labelled": "ndcg", "doc-comments": "mrr", "commits": "ndcg_file"}


def falls(before: Record | None, now: Record) -> list[str]:
    """Return a line for each setup in which Quarry fell, none if there is nothing to compare with.

    Fallen is a mean over the same repositories that is lower by more than the noise, and lower for
    certain: 95 % of the resampled paired differences are below zero, or it is five times the noise.
    """
    metric = JUDGED.get(now.scenario)
    if before is None or metric is None:
        return []
    found = (_fall(before, now, setup, metric) for setup in now.figures)
    return [line for line in found if line]


def _fall(before: Record, now: Record, setup: str, metric: str) -> str:
    old, new = _by_repo(rows_of(before), setup, metric), _by_repo(rows_of(now), setup, metric)
    shared = sorted(old.keys() & new.keys())
    changes = [new[repo] - old[repo] for repo in shared]
    change = mean(changes)
    if not shared or change >= -NOISE:
        return ""
    _, high = interval(changes, percent=90.0)
    if high >= 0 and change > -5 * NOISE:
        return ""
    worst = sorted(zip(changes, shared, strict=True))[:5]
    named = ", ".join(f"{repo} {value:+.3f}" for value, repo in worst)
    return (
        f"{now.scenario}, {setup}: {metric} fell by {-change:.4f}, from {mean([old[r] for r in shared]):.4f} to "
        f"{mean([new[r] for r in shared]):.4f} over {len(shared)} repositories, since commit "
        f"{before.source['commit'][:10]} of {before.taken_at[:10]}; most in {named}"
    )


def _by_repo(rows: Sequence[Row], setup: str, metric: str) -> dict[str, float]:
    return {row["repo"]: row[metric] for row in select(rows, setup, quarry.NAME)}
