"""CPU time of programs that run already: each with all its descendants, those that have ended included."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Fields of /proc/PID/stat after the name: parent, then user and system time of the process and of the children it
# has waited for (proc(5), fields 4 and 14 to 17).
_PARENT, _FIRST_TIME, _LAST_TIME = 1, 11, 15


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    ticks: int


def cpu_s(roots: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU seconds used so far below each process id, by name; 0 for one that is gone."""
    processes = {int(entry): found for entry in os.listdir("/proc") if entry.isdigit() and (found := _read(entry))}
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    return {name: _ticks(pid, processes, children) * tick_s for name, pid in roots.items()}


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return what was used between two readings, by name."""
    return {name: after[name] - before[name] for name in after}


def _ticks(root: int, processes: Mapping[int, _Process], children: Mapping[int, list[int]]) -> int:
    found, todo = 0, [root]
    while todo:
        pid = todo.pop()
        found += processes[pid].ticks if pid in processes else 0
        todo += children.get(pid, [])
    return found


def _read(pid: str) -> _Process | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name stands in parentheses and may hold anything, parentheses too.
    fields = stat.rpartition(")")[2].split()
    return _Process(int(fields[_PARENT]), sum(map(int, fields[_FIRST_TIME:_LAST_TIME])))
