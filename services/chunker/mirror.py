"""Bare mirrors of git addresses, in a folder of the data directory: one commit deep, updated in place.

A mirror may be deleted at any time; it is fetched again. Addresses are https or
ssh unless the caller allows more, and a password in one is never written or shown.
"""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from services.chunker import git
from services.chunker.git_command import command, environment, reason_of, run
from services.core.digest import digest
from services.core.errors import CorruptData, InvalidRequest, NotFound, Unavailable

PROTOCOLS = ("https", "ssh")

# An hour fetches 30 GB at 10 MB/s; a server that sends less than 1 kB/s for 30 s is given up.
_TIMEOUT_S = 3600.0
_LOW_SPEED = ("http.lowSpeedLimit=1000", "http.lowSpeedTime=30")
# No pack may grow beyond this (in blocks of 512 bytes, as `ulimit -f` counts): a server may send for ever.
_MAX_PACK_BLOCKS = (16 << 30) // 512
_SSH = "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oConnectTimeout=20 -oServerAliveInterval=15"
# What reaching a server takes of the user's environment.
_PASSED_ON = ("SSH_AUTH_SOCK", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
_CONFIG = (
    "protocol.allow=never",
    "transfer.fsckObjects=true",
    # Old histories have these, and they harm nobody who reads objects only.
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "transfer.bundleURI=false",
    "http.followRedirects=false",
    "gc.autoDetach=false",
    *_LOW_SPEED,
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//|:)")
# ssh as in git@host:path; without a user it would be a path.
_SCP = re.compile(r"[A-Za-z0-9._-]+@(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:.]+\]):[^:].*")
_CREDENTIALS = re.compile(r"(?i)(https?://|ssh://[^/\s:@]*:)[^/\s]*@")
_REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|^[-+/]|[/.]$|\.lock$|//")


def is_url(location: str) -> bool:
    """Whether `location` is written like an address rather than a path."""
    return bool(_SCHEME.match(location) or _SCP.fullmatch(location))


def check_url(url: str, allow_protocols: Sequence[str] = PROTOCOLS) -> None:
    """Refuse what is not an address of an allowed protocol, or could be taken for an option.

    Raises:
        InvalidRequest: says what is wrong with it.
    """
    shown = redact(url)
    if re.search(r"[\x00-\x20\x7f]", url):
        raise InvalidRequest(f"address {shown!r} has white space or control characters in it")
    scheme = _SCHEME.match(url)
    if scheme is None and not _SCP.fullmatch(url):
        raise InvalidRequest(f"{shown!r} is not the address of a git repository")
    protocol = scheme[1].lower() if scheme else "ssh"
    if protocol not in allow_protocols or (scheme and scheme[2] != "//"):
        raise InvalidRequest(f"address {shown!r} is not fetched from; use {' or '.join(allow_protocols)}")
    host = url[scheme.end() :] if scheme else url
    if host.rpartition("@")[2].startswith("-") or host.startswith("-"):
        raise InvalidRequest(f"address {shown!r} has a host that could be taken for an option")


def redact(text: str) -> str:
    """Return `text` without the passwords and tokens of any address in it, for messages and logs."""
    return _CREDENTIALS.sub(r"\1***@", text)


def has_secret(url: str) -> bool:
    """Whether an address holds a password or token; the user name of ssh is neither."""
    return _CREDENTIALS.search(url) is not None


def fetch(
    url: str,
    mirrors_dir: Path,
    ref: str = "",
    *,
    allow_protocols: Sequence[str] = PROTOCOLS,
    timeout_s: float = _TIMEOUT_S,
) -> tuple[Path, str]:
    """Bring the commit that `ref` (by default the server's HEAD) names now here; return the mirror and the commit id.

    Raises:
        InvalidRequest: the address or ref is not acceptable, or there are no commits yet.
        NotFound: the repository has no such ref.
        Unavailable: the server does not answer, refuses, or sends too slowly or too much.
    """
    check_url(url, allow_protocols)
    if _REF_FORBIDDEN.search(ref):
        raise InvalidRequest(f"{ref!r} is not a branch, tag or commit")
    mirrors_dir.mkdir(parents=True, exist_ok=True)
    mirror = mirror_folder(url, mirrors_dir)
    remote = _Remote(url, tuple(allow_protocols), timeout_s)
    with _locked(mirror.with_suffix(".lock")):
        if mirror.exists():
            with contextlib.suppress(CorruptData, Unavailable):
                return mirror, remote.fetch(mirror, ref)
        # Also where a mirror can't be updated: it may be damaged. If it is the server, this says so.
        return mirror, _create(mirror, remote, ref)


def mirror_folder(url: str, mirrors_dir: Path) -> Path:
    """Return where the mirror of an address is, or would be."""
    return mirrors_dir.resolve() / f"{digest(url.encode())[:32]}.git"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes off one mirror; the lock ends with the process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _create(mirror: Path, remote: "_Remote", ref: str) -> str:
    """Fetch into a folder beside the mirror and move it there: a mirror is whole or is not there."""
    # Only we hold the lock, so what an earlier process left behind is nobody's.
    for left_over in mirror.parent.glob(f"{mirror.stem}.new-*"):
        shutil.rmtree(left_over)
    new = Path(tempfile.mkdtemp(prefix=f"{mirror.stem}.new-", dir=mirror.parent))
    try:
        object_format = remote.object_format()
        made = run(command(None, "init", "-q", "--bare", "--template=", f"--object-format={object_format}", str(new)))
        if made.returncode:
            raise Unavailable(f"no mirror can be made in {str(new)!r}: {reason_of(made.stderr)}")
        revision = remote.fetch(new, ref)
        if mirror.exists():
            shutil.rmtree(mirror)
        os.rename(new, mirror)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return revision


class _Remote:
    """A server's repository, and how we talk to it."""

    def __init__(self, url: str, protocols: tuple[str, ...], timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._config = (*_CONFIG, *(f"protocol.{name}.allow=always" for name in protocols))
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        self._env = environment({**passed_on, "GIT_ALLOW_PROTOCOL": ":".join(protocols), "GIT_SSH_COMMAND": _SSH})

    def object_format(self) -> str:
        """Return ``sha1`` or ``sha256`` by the length of the server's object ids."""
        listed = self._run(None, "ls-remote", "--", self._url)
        if not listed.strip():
            raise InvalidRequest(f"repository {redact(self._url)!r} has no commits yet")
        return "sha256" if len(listed.split(None, 1)[0]) == 64 else "sha1"

    def fetch(self, mirror: Path, ref: str) -> str:
        """Fetch the commit of `ref` and return its id."""
        kept_as = f"refs/quarry/{digest(ref.encode())[:16]}"
        # Left by a git that was killed; we hold the lock of the whole mirror.
        for stale in ("shallow.lock", f"{kept_as}.lock"):
            (mirror / stale).unlink(missing_ok=True)
        options = ("--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force")
        self._run(mirror, "fetch", *options, "--", self._url, f"+{ref or 'HEAD'}:{kept_as}", ref=ref)
        return git.resolve(mirror, kept_as)

    def _run(self, mirror: Path | None, *arguments: str, ref: str = "") -> bytes:
        # The shell only sets the limit on file sizes, which git and what it starts inherit.
        limited = ["/bin/sh", "-c", 'ulimit -f "$1" && shift && exec "$@"', "sh", str(_MAX_PACK_BLOCKS)]
        argv = command(mirror, *arguments, config=self._config)
        try:
            done = run([*limited, *argv], env=self._env, timeout_s=self._timeout_s)
        except Unavailable as error:
            raise Unavailable(f"{redact(self._url)!r} can't be fetched: {error}") from None
        if done.returncode:
            raise self._failure(done.stderr, ref)
        return done.stdout

    def _failure(self, stderr: bytes, ref: str) -> Exception:
        shown, reason = redact(self._url), redact(reason_of(stderr))
        if b"couldn't find remote ref" in stderr:
            if ref:
                return NotFound(f"repository {shown!r} has no branch, tag or commit {ref!r}")
            return InvalidRequest(f"HEAD of {shown!r} names a branch without commits; say which to index with --ref")
        if b"git: not found" in stderr or b"git: command not found" in stderr:
            return Unavailable("git is not installed, or not on PATH; install git to index repositories")
        return Unavailable(f"{shown!r} can't be fetched: {reason}")
