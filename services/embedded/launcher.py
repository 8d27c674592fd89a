"""How worker processes come to be: by a new interpreter, or by forking one that has everything loaded.

Loading costs a worker about a second of CPU time. A `Zygote` is forked from its
owner before that has threads, locks or databases; it loads once and then forks
a worker in milliseconds, each sharing its memory.
"""

import gc
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from services.core.errors import Unavailable
from services.core.settings import Settings

log = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-m", "services.embedded.worker")
_REPOSITORY_ROOT = str(Path(__file__).resolve().parents[2])
_MESSAGE_BYTES = 64


class Process(Protocol):
    """A worker process with its ends of the two pipes."""

    pid: int
    stdin: IO[bytes]
    stdout: IO[bytes]

    def kill(self) -> int:
        """End the process, close the pipes and return its exit code, negative for a signal."""


class Launcher(Protocol):
    """Whoever starts worker processes."""

    def warm(self) -> None:
        """Get ready: workers will be wanted soon."""

    def launch(self) -> Process:
        """Start a worker.

        Raises:
            Unavailable: it can't be started.
        """

    def close(self) -> None:
        """Start no more."""


class Interpreters:
    """Starts each worker as a process of its own by `command`."""

    def __init__(self, command: Sequence[str] = _COMMAND) -> None:
        self._command = command

    def warm(self) -> None:
        """Do nothing: there is nothing to share."""

    def launch(self) -> Process:
        """Start a worker.

        Raises:
            Unavailable: the system has no room for another process.
        """
        try:
            return _Started(self._command)
        except OSError as error:
            raise Unavailable(f"worker processes can't be started: {error}") from error

    def close(self) -> None:
        """Do nothing."""


class _Started:
    def __init__(self, command: Sequence[str]) -> None:
        # One thread each: the cores are shared out by processes.
        env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": _python_path()}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env, start_new_session=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.pid, self.stdin, self.stdout = self._process.pid, self._process.stdin, self._process.stdout

    def kill(self) -> int:
        """End the process, close the pipes and return its exit code, negative for a signal."""
        self._process.kill()
        code = self._process.wait()
        _close(self.stdin, self.stdout)
        return code


class Zygote:
    """A process forked now, from which workers are forked when they are wanted.

    Make it before the caller has threads or takes locks: all that is open now stays open in the workers.
    If it ends before its time, workers are started as interpreters from then on.
    """

    def __init__(self, settings: Settings) -> None:
        self._fallback: Interpreters | None = None
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._channel.close()
            _be_zygote(theirs, settings)
        theirs.close()

    def warm(self) -> None:
        """Have it load what workers need."""
        with suppress(_ZygoteEndedError):
            self._ask(b"warm")

    def launch(self) -> Process:
        """Fork a worker.

        Raises:
            Unavailable: it can't be started.
        """
        if self._fallback is None:
            try:
                return self._fork()
            except _ZygoteEndedError as error:
                log.warning("zygote_ended", extra={"pid": self.pid, "error": str(error)})
                self._fallback = Interpreters()
        return self._fallback.launch()

    def reap(self, pid: int) -> int:
        """Wait for a killed worker's end and return its exit code, negative for a signal."""
        try:
            return int(self._ask(b"reap %d" % pid))
        except _ZygoteEndedError:
            return -signal.SIGKILL

    def close(self) -> None:
        """End the zygote and the workers it has."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._channel.close()
        # Until we have waited for it, the id of its group is nobody else's.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _fork(self) -> "_Forked":
        worker_in, our_in = os.pipe()
        our_out, worker_out = os.pipe()
        try:
            pid = int(self._ask(b"fork", [worker_in, worker_out]))
        except BaseException:
            os.close(our_in)
            os.close(our_out)
            raise
        finally:
            os.close(worker_in)
            os.close(worker_out)
        return _Forked(self, pid, os.fdopen(our_in, "wb"), os.fdopen(our_out, "rb"))

    def _ask(self, message: bytes, descriptors: Sequence[int] = ()) -> bytes:
        if self._channel.fileno() < 0:
            raise Unavailable("worker processes can't be started any more: their owner ends")
        try:
            socket.send_fds(self._channel, [message], list(descriptors))
            answer = self._channel.recv(_MESSAGE_BYTES)
        except OSError as error:
            raise _ZygoteEndedError(str(error)) from error
        if not answer:
            raise _ZygoteEndedError("no answer")
        return answer


class _ZygoteEndedError(Exception):
    """The zygote is gone."""


class _Forked:
    def __init__(self, zygote: Zygote, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self._zygote = zygote
        self.pid, self.stdin, self.stdout = pid, stdin, stdout

    def kill(self) -> int:
        """End the process, close the pipes and return its exit code, negative for a signal."""
        # A zygote that has died can't keep the id from another process, but that is in no group of the zygote's.
        with suppress(ProcessLookupError):
            if os.getpgid(self.pid) == self._zygote.pid:
                os.kill(self.pid, signal.SIGKILL)
        code = self._zygote.reap(self.pid)
        _close(self.stdin, self.stdout)
        return code


def _be_zygote(channel: socket.socket, settings: Settings) -> None:
    """Serve the channel until its other end is closed; never returns."""
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        _serve_forks(channel, settings)
        # The owner has ended, perhaps by a kill: no worker may go on for it.
        os.killpg(0, signal.SIGKILL)
    finally:
        os._exit(1)


def _serve_forks(channel: socket.socket, settings: Settings) -> None:
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 2)
        if not message:
            return
        verb, _, argument = message.partition(b" ")
        if verb == b"reap":
            answer = os.waitstatus_to_exitcode(os.waitpid(int(argument), 0)[1])
        elif verb == b"fork":
            answer = _fork_worker(channel, settings, descriptors)
        else:
            # Answered first: its caller need not wait for the loading.
            channel.send(b"0")
            _load(settings)
            continue
        channel.send(str(answer).encode())


def _fork_worker(channel: socket.socket, settings: Settings, descriptors: list[int]) -> int:
    _load(settings)
    pid = os.fork()
    if pid == 0:
        channel.close()
        for descriptor, standard in zip(descriptors, (0, 1), strict=True):
            os.dup2(descriptor, standard)
        from services.embedded import worker

        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the old one may hold what was read ahead
        worker.main()
        os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


def _load(settings: Settings) -> None:
    from services.embedded import worker

    worker.load(settings)
    # What is loaded stays: workers need neither look at it again nor copy its pages for the look.
    gc.freeze()


def _close(*streams: IO[bytes]) -> None:
    for stream in streams:
        with suppress(BrokenPipeError):
            stream.close()


def _python_path() -> str:
    known = os.environ.get("PYTHONPATH")
    return f"{_REPOSITORY_ROOT}{os.pathsep}{known}" if known else _REPOSITORY_ROOT
