"""Claims about splitting in a process of its own: what a parser does to itself harms one file, once."""

import fcntl
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from contextlib import closing
from pathlib import Path

import pytest

from services.chunker import split as splitter
from services.chunker.isolated import IsolatedSplitter
from services.core.model import ParseNote
from tests.unit.split_samples import SAMPLES

PYTHON = b"def one():\n    return 1\n\n\nclass Two:\n    def three(self):\n        return 3\n"
# Under what a pipe holds, so that writing it does not wait for a process that stands still.
LARGE = b"".join(b"def function_%d(a, b):\n    return a + b\n\n\n" % number for number in range(800))
LIMIT_S = 60.0


@pytest.fixture
def split():
    with closing(IsolatedSplitter(LIMIT_S)) as isolated:
        yield isolated


def pid_of(isolated):
    """Return the process that parses, started if need be."""
    isolated(PYTHON, "python")
    return isolated._child.pid


def by_lines(text, language, note):
    return splitter.Split(splitter.split(text, language, parse=False).chunks, note)


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def kill_once_it_has_something_to_read(child):
    """Kill a process that stands still as soon as there is a file for it."""

    def watch():
        answer = bytearray(4)
        while not struct.unpack("i", answer)[0]:
            fcntl.ioctl(child.stdin, termios.FIONREAD, answer)
        child.kill()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.parametrize("language", SAMPLES)
def test_a_text_is_split_as_it_would_be_in_this_process(split, language):
    text = SAMPLES[language].text.encode()

    assert split(text, language) == splitter.split(text, language)


@pytest.mark.parametrize(
    "text", [b"", b"\n", "\u00e9\u2028\U0001f600\x00 = 1".encode(), b"def \xff():", b"((((" * 5000]
)
def test_odd_texts_are_split_as_in_this_process(split, text):
    assert split(text, "python") == splitter.split(text, "python")


def test_what_needs_no_parser_starts_no_process(split):
    assert split(b"# Title\n\ntext\n", "markdown") == splitter.split(b"# Title\n\ntext\n", "markdown")
    assert split(PYTHON, "python", parse=False) == splitter.split(PYTHON, "python", parse=False)

    assert split._child is None


def test_one_process_splits_many_files(split):
    first = pid_of(split)

    assert [split(PYTHON, "python") for _ in range(50)] == [splitter.split(PYTHON, "python")] * 50
    assert pid_of(split) == first


def test_a_file_whose_parser_crashes_is_cut_by_lines_and_the_next_is_not(split):
    os.kill(pid_of(split), signal.SIGSTOP)
    killer = kill_once_it_has_something_to_read(split._child)

    assert split(LARGE, "python") == by_lines(LARGE, "python", ParseNote.CRASHED)
    killer.join()
    assert split(LARGE, "python") == splitter.split(LARGE, "python")


def test_a_parser_that_was_killed_between_two_files_costs_neither(split):
    kill(pid_of(split))

    assert split(LARGE, "python") == splitter.split(LARGE, "python")


def test_a_file_whose_parser_hangs_is_cut_by_lines_and_the_next_is_not():
    with closing(IsolatedSplitter(0.5)) as split:
        hung = pid_of(split)
        os.kill(hung, signal.SIGSTOP)

        assert split(LARGE, "python") == by_lines(LARGE, "python", ParseNote.TIMED_OUT)
        assert not os.path.exists(f"/proc/{hung}")
        assert split(PYTHON, "python") == splitter.split(PYTHON, "python")


def test_a_file_whose_parser_has_no_room_is_cut_by_lines_and_the_next_is_not(split):
    used_bytes = int(Path(f"/proc/{pid_of(split)}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(split._child.pid, resource.RLIMIT_AS, (used_bytes, used_bytes))
    text = LARGE * 40

    found = split(text, "python")

    assert found.note in (ParseNote.OUT_OF_MEMORY, ParseNote.CRASHED)
    assert found == by_lines(text, "python", found.note)
    assert split(PYTHON, "python") == splitter.split(PYTHON, "python")


def test_no_descriptor_is_left_open_by_processes_that_ended(split):
    pid_of(split)
    before = os.listdir("/proc/self/fd")

    for _ in range(3):
        kill(pid_of(split))
        pid_of(split)

    assert len(os.listdir("/proc/self/fd")) == len(before)
    split.close()
    assert len(os.listdir("/proc/self/fd")) == len(before) - 2


def test_the_process_knows_no_setting(split, monkeypatch):
    monkeypatch.setenv("QUARRY_S3_SECRET_KEY", "secret")

    environment = Path(f"/proc/{pid_of(split)}/environ").read_text()

    assert "secret" not in environment
    assert "PATH=" in environment


def test_the_process_ends_with_its_owner():
    owner = (
        "import os; from services.chunker.isolated import IsolatedSplitter as S;"
        "s = S(10); s(b'x = 1', 'python'); os.write(1, b'%d' % s._child.pid); os.kill(os.getpid(), 9)"
    )
    said = subprocess.run([sys.executable, "-c", owner], stdout=subprocess.PIPE, check=False).stdout

    assert has_ended(int(said))


def has_ended(pid):
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ended = bool(select.select([descriptor], [], [], 10)[0])
    os.close(descriptor)
    return ended
