"""Splitting in a process of its own: a parser that crashes, hangs or swallows memory harms one file.

The process lives as long as it behaves. Files whose language has no grammar are split here; they reach no parser.
"""

import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import IO

from services.chunker import split as splitter
from services.chunker.grammars import GRAMMARS
from services.core.errors import Unavailable
from services.core.model import Chunk, ParseNote

# The largest file allowed by default needs under 300 MB with the costliest grammar.
_ADDRESS_SPACE_BYTES = 4 << 30
_READ_BYTES = 1 << 20
# Loading the code takes a second, and much longer where there are more processes than cores.
_START_LIMIT_S = 60.0
# The process ends itself so long after its owner should have ended it: that may have been killed.
_ALARM_AFTER_S = 5
# Its environment holds no settings: what parses a stranger's file must not know the passwords of the stores.
_SECRETS = "QUARRY_"
_READY = b"ready\n"


class IsolatedSplitter:
    """`split.split` with its parsing elsewhere; not safe for threads. `timeout_s` is for one file."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None

    def __call__(self, text: bytes, language: str, *, parse: bool = True) -> splitter.Split:
        """Split a text; one that its parser does not survive is cut by lines, with a note why."""
        if not text or not parse or language not in GRAMMARS:
            return splitter.split(text, language, parse=parse)
        answer = self._ask(text, language)
        if isinstance(answer, ParseNote):
            return splitter.Split(splitter.split(text, language, parse=False).chunks, answer.value)
        return _from_json(answer)

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _ask(self, text: bytes, language: str) -> bytes | ParseNote:
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        line: bytes | None = b""
        with suppress(BrokenPipeError):
            child.stdin.write(json.dumps([language, len(text)]).encode() + b"\n" + text)
            child.stdin.flush()
            line = _read_line(child.stdout, self._timeout_s)
        if line is None:
            self.close()
            return ParseNote.TIMED_OUT
        if not line.endswith(b"\n"):
            self.close()
            return ParseNote.CRASHED
        if line.startswith(b'"'):
            self.close()
            return ParseNote(json.loads(line))
        return line

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._child is not None and self._child.poll() is not None:
            # It was killed between two files, and neither is to blame.
            self.close()
        if self._child is None:
            self._child = self._started()
        return self._child

    def _started(self) -> "subprocess.Popen[bytes]":
        """Start the process and wait until it is ready: its start must not count as the first file's time."""
        command = [sys.executable, "-m", "services.chunker.isolated", str(self._timeout_s)]
        env = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
        try:
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        except OSError as error:
            raise Unavailable(f"the parser's process can't be started: {error}") from error
        assert child.stdout is not None
        if _read_line(child.stdout, _START_LIMIT_S) != _READY:
            child.kill()
            child.communicate()
            raise Unavailable(f"the parser's process was not ready in {_START_LIMIT_S} s, or ended")
        return child


def _read_line(stream: IO[bytes], timeout_s: float) -> bytes | None:
    """Return what comes up to the first line end or the end of the stream, None if that takes too long."""
    deadline = time.monotonic() + timeout_s
    parts: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not parts or not parts[-1].endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            part = os.read(stream.fileno(), _READ_BYTES)
            if not part:
                break
            parts.append(part)
    return b"".join(parts)


def _from_json(line: bytes) -> splitter.Split:
    rows, note = json.loads(line)
    chunks = (
        Chunk(start, end, first, last, symbol, tuple(defines)) for start, end, first, last, symbol, defines in rows
    )
    return splitter.Split(tuple(chunks), note)


def _to_json(split: splitter.Split) -> str:
    rows = [(c.start_byte, c.end_byte, c.start_line, c.end_line, c.symbol, c.defines) for c in split.chunks]
    return json.dumps([rows, split.note], separators=(",", ":"))


def _answer(text: bytes, language: str) -> str:
    try:
        return _to_json(splitter.split(text, language))
    except MemoryError:
        return json.dumps(ParseNote.OUT_OF_MEMORY.value)
    except RecursionError:
        return json.dumps(ParseNote.TOO_DEEP.value)


def main(timeout_s: float) -> None:
    """Answer on standard output what comes on standard input, until that ends; no answer may take longer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not end up between the answers
    answers.write(_READY)
    answers.flush()
    while line := sys.stdin.buffer.readline():
        language, size = json.loads(line)
        # Its signal ends the process whatever the parser is doing.
        signal.setitimer(signal.ITIMER_REAL, timeout_s + _ALARM_AFTER_S)
        answers.write(_answer(sys.stdin.buffer.read(size), language).encode() + b"\n")
        answers.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main(float(sys.argv[1]))
