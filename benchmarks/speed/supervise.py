"""Runs one command and accounts for every process it starts.

A program of its own, so that the operating system's sum over its descendants
holds the command and nothing else. It becomes their subreaper: a process whose
parent dies is handed to it and not to init, so no CPU time gets lost, and it
ends only when all of them have. Peak memory is sampled, because no counter of
the kernel sums it over processes; cgroups would, but making one needs root.
"""

import argparse
import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_SAMPLE_EVERY_S = 0.1
# Reading a large process's memory map takes milliseconds: never more than a tenth of one core's time for it.
_SAMPLE_SHARE = 0.1
# What a command leaves behind gets this long to end by itself.
_GRACE_S = 10.0


@dataclass(slots=True)
class Memory:
    """Greatest sums over the process tree, in bytes: PSS counts a shared page once, RSS once per process."""

    peak_pss_bytes: int = 0
    peak_rss_bytes: int = 0
    peak_processes: int = 0

    def add(self, pids: list[int]) -> None:
        """Take one sample of these processes."""
        readings = [reading for pid in pids if (reading := memory_of(pid)) is not None]
        self.peak_pss_bytes = max(self.peak_pss_bytes, sum(pss for pss, _ in readings))
        self.peak_rss_bytes = max(self.peak_rss_bytes, sum(rss for _, rss in readings))
        self.peak_processes = max(self.peak_processes, len(readings))


@dataclass(slots=True)
class Account:
    """What a command and its descendants cost; `exit_status` is negative after a signal."""

    exit_status: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    timed_out: bool = False
    memory: Memory = field(default_factory=Memory)


def descendants(root: int) -> list[int]:
    """Return the process ids below `root`."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def memory_of(pid: int) -> tuple[int, int] | None:
    """Return (PSS, RSS) of a process in bytes, or None if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    return kib.get("Pss", 0) << 10, kib.get("Rss", 0) << 10


def supervise(command: list[str], stdout: Path, limit_s: float) -> Account:
    """Run `command` to its end with its output in `stdout`, and account for it."""
    _become_subreaper()
    account = Account()
    done = threading.Event()
    sampler = threading.Thread(target=_sample, args=(account.memory, done), daemon=True)
    started = time.monotonic()
    child = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, str(stdout), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)],
    )
    sampler.start()
    watchdog = threading.Timer(limit_s, _expire, (account,))
    watchdog.start()
    account.exit_status = _wait_for(child)
    account.wall_s = time.monotonic() - started
    watchdog.cancel()
    _reap_the_rest()
    done.set()
    sampler.join()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    account.cpu_s = usage.ru_utime + usage.ru_stime
    return account


def _become_subreaper() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _wait_for(child: int) -> int:
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def _reap_the_rest() -> None:
    deadline = time.monotonic() + _GRACE_S
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            continue
        if time.monotonic() > deadline:
            _kill_all()
        time.sleep(0.02)


def _expire(account: Account) -> None:
    account.timed_out = True
    _kill_all()


def _kill_all() -> None:
    for pid in descendants(os.getpid()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _sample(memory: Memory, done: threading.Event) -> None:
    pause_s = 0.0
    while not done.wait(pause_s):
        started = time.monotonic()
        memory.add(descendants(os.getpid()))
        pause_s = max(_SAMPLE_EVERY_S, (time.monotonic() - started) / _SAMPLE_SHARE)


def _parent(pid: str) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name stands in parentheses and may hold anything, parentheses too.
    return int(stat.rpartition(")")[2].split()[1])


def main() -> int:
    """Run the command after ``--`` and write its account as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.supervise")
    parser.add_argument("--account", type=Path, required=True)
    parser.add_argument("--stdout", type=Path, required=True)
    parser.add_argument("--limit-s", type=float, required=True)
    parser.add_argument("--cores", type=int, default=0, help="run on so many cores only; 0 for all")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    account = supervise(options.command, options.stdout, options.limit_s)
    options.account.write_text(json.dumps(asdict(account)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
