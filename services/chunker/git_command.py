"""How git is run: nothing of the user's, the system's or the repository's configuration may make it do more.

A repository is hostile until shown otherwise. git gets an environment of our
own, without hooks, prompts or transports, and is told where the repository is,
so that it never goes looking for one.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.core.errors import Unavailable

# Listing Linux (80,000 files) takes under a second; a minute means a dead disk or network share.
_TIMEOUT_S = 120.0

_ENVIRONMENT = {
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
}
_CONFIG = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=false",
    "credential.helper=",
    "safe.directory=*",
    "safe.bareRepository=explicit",
    "submodule.recurse=false",
    # Windows of 1 GiB, git's default, do not fit in the address space a worker has.
    "core.packedGitWindowSize=32m",
    "core.packedGitLimit=512m",
)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the whole environment git runs in, with `extra` on top."""
    return {"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT, **(extra or {})}


def command(git_dir: Path | None, *arguments: str, config: Sequence[str] = ()) -> list[str]:
    """Return the command line of one git command on a repository's git directory."""
    options = [part for setting in (*_CONFIG, *config) for part in ("-c", setting)]
    where = [f"--git-dir={git_dir}"] if git_dir else []
    return ["git", *options, *where, *arguments]


def run(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout_s: float = _TIMEOUT_S
) -> subprocess.CompletedProcess[bytes]:
    """Run a command line from `command` to its end; whatever it started ends with it.

    Raises:
        Unavailable: git is not installed, or did not finish in time.
    """
    try:
        # A session of its own, so that git's children die with it.
        child = subprocess.Popen(
            argv,
            env=dict(env or environment()),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise Unavailable("git is not installed, or not on PATH; install git to index repositories") from error
    try:
        out, err = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"git did not finish in {timeout_s:g} s; is the disk or server responding?") from error
    finally:
        _end(child)
    return subprocess.CompletedProcess(argv, child.returncode, out, err)


def _end(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def reason_of(stderr: bytes) -> str:
    """Return git's own reason for a failure, on one line."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
    fatal = next((i for i, line in enumerate(lines) if line.startswith("fatal: ")), len(lines) - 1)
    if fatal and "Could not read from remote" in lines[fatal]:
        # ssh has said why; git's own lines only guess.
        fatal -= 1
    return lines[fatal].removeprefix("fatal: ").removeprefix("error: ")
