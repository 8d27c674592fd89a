"""The machine and the commit a result belongs to: figures without them mean nothing."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

# A measurement writes these itself; they do not make the measured tree another one.
_OUTPUTS = (":!benchmarks/results", ":!README.md")


def describe_machine() -> dict[str, Any]:
    """Return CPU model, usable cores, memory, kernel and Python of this machine."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def describe_commit(repository: Path) -> dict[str, Any]:
    """Return the commit checked out and whether tracked files differ from it."""
    commit = _git(repository, "rev-parse", "HEAD")
    changed = _git(repository, "status", "--porcelain", "--untracked-files=no", "--", ".", *_OUTPUTS)
    return {"commit": commit, "dirty": bool(changed)}


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
