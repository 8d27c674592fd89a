import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from services.core.errors import Unavailable
from services.core.settings import Settings
from services.embedded.launcher import Interpreters, Zygote

OWNER = """
import sys
from services.core.settings import Settings
from services.embedded.launcher import Zygote

zygote = Zygote(Settings())
print(zygote.launch().pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def zygote():
    zygote = Zygote(Settings())
    yield zygote
    zygote.close()


def ended(pid):
    """Whether a process ends within 20 s."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ready, _, _ = select.select([descriptor], [], [], 20)
    os.close(descriptor)
    return bool(ready)


def end(zygote):
    os.kill(zygote.pid, signal.SIGKILL)
    os.waitid(os.P_PID, zygote.pid, os.WEXITED | os.WNOWAIT)


def test_a_worker_is_forked_and_killed(zygote):
    process = zygote.launch()

    assert os.getpgid(process.pid) == zygote.pid
    assert process.kill() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_without_its_zygote_workers_are_started_as_interpreters(zygote, caplog):
    end(zygote)

    zygote.warm()
    first, second = zygote.launch(), zygote.launch()

    assert {os.getpgid(p.pid) == p.pid for p in (first, second)} == {True}
    assert [first.kill(), second.kill()] == [-signal.SIGKILL] * 2
    assert [record.message for record in caplog.records] == ["zygote_ended"]


def test_a_worker_whose_zygote_died_can_be_killed_and_nobody_else(zygote):
    process, other = zygote.launch(), Interpreters([sys.executable, "-c", "input()"]).launch()
    end(zygote)
    worker = process.pid

    assert process.kill() == -signal.SIGKILL
    assert ended(worker)
    # As if its number had been given to another process since.
    process.pid = other.pid
    process.kill()
    other.stdin.write(b"\n")
    other.stdin.close()
    assert other._process.wait() == 0
    other.stdout.close()


def test_no_worker_outlives_an_owner_that_is_killed(tmp_path):
    command = [sys.executable, "-c", OWNER]
    env = os.environ | {"PYTHONPATH": os.getcwd()}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as owner:
        worker = int(owner.stdout.readline())
        os.kill(worker, signal.SIGSTOP)  # one that hears nothing, neither the end of its input
        owner.kill()

    assert ended(worker)


def test_a_closed_zygote_starts_nothing():
    zygote = Zygote(Settings())
    process = zygote.launch()

    zygote.close()

    assert ended(process.pid)
    with pytest.raises(Unavailable):
        zygote.launch()
    for stream in (process.stdin, process.stdout):
        with suppress(BrokenPipeError):
            stream.close()


def test_a_worker_that_cannot_be_started_is_a_clear_error():
    with pytest.raises(Unavailable, match="can't be started"):
        Interpreters(["/nonexistent"]).launch()


def test_a_forked_worker_speaks_the_protocol(zygote, tmp_path):
    process = zygote.launch()
    setup = {"settings": Settings(home=tmp_path).to_json(), "mark": str(tmp_path / "m")}
    process.stdin.write(json.dumps(setup).encode() + b"\n")
    order = {"batch": 1, "kind": "git", "location": "x", "revision": "r"}
    process.stdin.write(json.dumps(order).encode() + b"\n")
    process.stdin.flush()

    assert "no batch 1" in json.loads(process.stdout.readline())["error"]
    process.kill()
