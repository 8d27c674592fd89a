"""Contents out of a git object database, through one long-lived `git cat-file --batch`.

Requests run ahead of answers, so that git and we work at the same time, but
never by so much that both could wait for the other to read its pipe.
"""

import os
import select
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, NamedTuple

from services.chunker.git_command import reason_of
from services.core.errors import CorruptData, Unavailable
from services.core.model import SkipReason

# 48 requests of at most 65 bytes fit in the smallest pipe there is (4 KiB).
_AHEAD = 48
_RECEIVE_BYTES = 1 << 18
# One object; the largest we take is a few MiB.
_TIMEOUT_S = 60.0


class Unread(NamedTuple):
    """Why an object was not read."""

    reason: SkipReason
    detail: str


class ObjectReader:
    """The process, started when first needed and again when an object kills it."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._argv = list(argv)
        self._env = dict(env)
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._received = bytearray()

    def read(self, oids: Sequence[str], limit_bytes: int) -> Iterator[bytes | Unread]:
        """Yield the content of each object in order, or why there is none; larger ones than the limit are not kept.

        Raises:
            Unavailable: git is not installed or does not answer.
            CorruptData: git answers what was not asked.
        """
        sent = answered = deaths = 0
        try:
            while answered < len(oids):
                if sent - answered <= _AHEAD // 2:
                    until = min(len(oids), answered + _AHEAD)
                    self._request(oids[sent:until])
                    sent = until
                try:
                    content = self._answer(oids[answered], limit_bytes)
                except EOFError:
                    # Killed from outside, or by this very object: the second time shows which.
                    deaths += 1
                    sent = answered
                    last_words = self._bury()
                    if deaths == 1:
                        continue
                    content = Unread(SkipReason.UNREADABLE, last_words)
                    sent += 1
                deaths = 0
                answered += 1
                yield content
        finally:
            # A reader who stops half-way leaves answers behind that nobody must take for others.
            if sent != answered:
                self.close()

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None
        self._received.clear()

    def _request(self, oids: Sequence[str]) -> None:
        child = self._started()
        assert child.stdin is not None
        try:
            os.write(child.stdin.fileno(), "".join(f"{oid}\n" for oid in oids).encode())
        except BrokenPipeError:
            # The end of its output says so too, and to whom it belongs.
            return

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._child is None:
            # A file, not a pipe: a damaged repository makes git write more than a pipe holds.
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
            try:
                self._child = subprocess.Popen(
                    self._argv,
                    env=self._env,
                    cwd="/",
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    bufsize=0,
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                self.close()
                raise Unavailable("git is not installed, or not on PATH; install git to index repositories") from error
        return self._child

    def _answer(self, oid: str, limit_bytes: int) -> bytes | Unread:
        name, _, rest = self._line().partition(b" ")
        if name.decode("ascii", "replace") != oid:
            raise CorruptData(f"git was asked for object {oid} and answered {name[:80]!r}")
        kind, _, size = rest.partition(b" ")
        if not size:
            return Unread(SkipReason.UNREADABLE, "its object is missing; run 'git fsck'")
        content = self._take(int(size), limit_bytes)
        self._take(1, 1)
        if kind != b"blob":
            return Unread(SkipReason.UNREADABLE, f"its object is a {kind.decode('ascii', 'replace')}")
        return Unread(SkipReason.TOO_LARGE, f"{int(size)} bytes") if content is None else content

    def _line(self) -> bytes:
        while (end := self._received.find(b"\n")) < 0:
            self._receive()
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    def _take(self, size: int, limit_bytes: int) -> bytes | None:
        """Take `size` bytes off what was received; more than the limit are thrown away as they come."""
        if size <= limit_bytes:
            while len(self._received) < size:
                self._receive()
            content = bytes(self._received[:size])
            del self._received[:size]
            return content
        left = size
        while left:
            if not self._received:
                self._receive()
            part = min(left, len(self._received))
            del self._received[:part]
            left -= part
        return None

    def _receive(self) -> None:
        assert self._child is not None
        assert self._child.stdout is not None
        descriptor = self._child.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(_TIMEOUT_S * 1000):
            self.close()
            raise Unavailable(f"git did not answer in {_TIMEOUT_S:g} s; is the disk responding?")
        data = os.read(descriptor, _RECEIVE_BYTES)
        if not data:
            raise EOFError
        self._received += data

    def _bury(self) -> str:
        """Forget the dead process and return the last line it wrote."""
        assert self._child is not None
        assert self._errors is not None
        self._child.kill()
        self._child.wait()
        self._errors.seek(0)
        lines = self._errors.read()[-4096:]
        self.close()
        return reason_of(lines)
