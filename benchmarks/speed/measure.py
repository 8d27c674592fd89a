"""Measures one command as a whole process tree: wall time, CPU seconds, peak memory."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class MeasurementError(Exception):
    """A command that was to be measured did not do its work."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run cost; memory is the greatest sum over all its processes at one moment."""

    wall_s: float
    cpu_s: float
    peak_pss_mb: float
    peak_rss_mb: float
    peak_processes: int
    stdout: str


def measure(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, limit_s: float = 1800.0, cores: int = 0
) -> Usage:
    """Run `command` to its end, on `cores` cores if given, and return what it cost.

    Raises:
        MeasurementError: it failed, or took longer than `limit_s`.
    """
    with tempfile.TemporaryDirectory(prefix="quarry-bench-") as folder:
        account_path, stdout_path = Path(folder, "account"), Path(folder, "stdout")
        supervisor = [sys.executable, "-m", "benchmarks.speed.supervise", "--account", str(account_path)]
        supervisor += ["--stdout", str(stdout_path), "--limit-s", str(limit_s), "--cores", str(cores), "--"]
        process = subprocess.run(
            [*supervisor, *command], env={**os.environ, **(env or {})}, stderr=subprocess.PIPE, text=True, check=False
        )
        if not account_path.exists():
            raise MeasurementError(f"the supervisor failed: {process.stderr.strip()}")
        account = json.loads(account_path.read_text())
        stdout = stdout_path.read_text(errors="replace")
    name = " ".join(command[:2])
    if account["timed_out"]:
        raise MeasurementError(f"{name!r} took longer than {limit_s:.0f} s")
    if account["exit_status"] != 0:
        raise MeasurementError(f"{name!r} ended with status {account['exit_status']}: {process.stderr.strip()[-2000:]}")
    memory = account["memory"]
    return Usage(
        wall_s=round(account["wall_s"], 3),
        cpu_s=round(account["cpu_s"], 3),
        peak_pss_mb=round(memory["peak_pss_bytes"] / 1e6, 1),
        peak_rss_mb=round(memory["peak_rss_bytes"] / 1e6, 1),
        peak_processes=memory["peak_processes"],
        stdout=stdout,
    )
