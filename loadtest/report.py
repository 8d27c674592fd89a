"""The outcome of an attack: a file with everything measured, and a table to read."""

import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.speed.machine import describe_commit, describe_machine
from loadtest.attack import ROOT
from loadtest.plan import Plan
from loadtest.sla import Check, Entry, Traffic, Verdict, document

RESULTS = ROOT / "loadtest" / "results"
_COLUMNS = ("offered/s", "achieved", "requests", "failures", "missed", "p50 ms", "p95 ms", "p99 ms", "max ms")


def store(plan: Plan, traffic: Traffic, verdict: Verdict, results: Path = RESULTS) -> Path:
    """Write a result and return its file."""
    profile, source = plan.profile, describe_commit(ROOT)
    size = profile.corpus
    corpus = {"repos": size.repos, "files": size.repos * size.files, "mean_bytes": size.mean_bytes, "seed": size.seed}
    generator = {"cpu": round(traffic.cpu, 3), "samples": len(traffic.samples), "scoped": plan.scoped}
    record: dict[str, Any] = {
        "target": profile.target,
        "profile": profile.name,
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": describe_machine(),
        "source": source,
        "corpus": corpus,
        "seconds": {"warm_up": profile.warm_up_s, "window": profile.window_s},
        "generator": generator,
        # Including the run itself: what else went on, if it is far above the number of cores.
        "load_average": round(os.getloadavg()[0], 1),
        **document(verdict),
    }
    stamp = record["taken_at"].replace(":", "").replace("-", "")
    path = results / f"{profile.target}-{profile.name}-{stamp}-{source['commit'][:8] or 'none'}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def table(verdict: Verdict) -> str:
    """Return the figures of each entry with their limits, `!` before those not held."""
    width = max([len(entry.name) for entry in verdict.entries] + [1])
    rows = [[f"{'':{width}}", *_COLUMNS], *([f"{entry.name:{width}}", *_row(entry)] for entry in verdict.entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(size) for cell, size in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, "", *(f"not held: {problem}" for problem in verdict.problems)]).rstrip()


def _row(entry: Entry) -> list[str]:
    checks = {check.figure: check for check in entry.checks}
    offered = f"{entry.offered_per_s:.2f}" if entry.offered_per_s else "-"
    rate = _cell(checks["rate"]) if "rate" in checks else "-"
    shares = [_cell(checks[figure]) for figure in ("requests", "failures", "missed", "p50_ms", "p95_ms", "p99_ms")]
    return [offered, rate, *shares, f"{entry.max_ms:.0f}"]


def _cell(check: Check) -> str:
    sign = "≥" if check.at_least else "≤"
    return f"{'' if check.held else '! '}{check.value:.3g} {sign} {check.limit:.3g}"
