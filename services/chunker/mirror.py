"""Bare mirrors of git addresses, in a folder of the data directory: one commit deep, updated in place.

A mirror may be deleted at any time; it is fetched again. Addresses are https or
ssh unless the caller allows more, and a password in one is never written or shown.
With an allow-list, only public hosts and those on the list are reached, at the address that was checked.
"""

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

from services.chunker import git
from services.chunker.git_command import command, environment, reason_of, run
from services.core import addresses
from services.core.digest import digest
from services.core.errors import CorruptData, InvalidRequest, NotFound, Unavailable

PROTOCOLS = ("https", "ssh")

# An hour fetches 30 GB at 10 MB/s; a server that sends less than 1 kB/s for 30 s is given up.
_TIMEOUT_S = 3600.0
_LOW_SPEED = ("http.lowSpeedLimit=1000", "http.lowSpeedTime=30")
# A list of 100,000 refs is 7 MB.
_LIST_TIMEOUT_S = 60.0
# No pack may grow beyond this (in blocks of 512 bytes, as `ulimit -f` counts): a server may send for ever.
_MAX_PACK_BLOCKS = (16 << 30) // 512
# Nor may what git holds in memory, such as a list of refs without end (in KiB, as `ulimit -v` counts).
_MAX_MEMORY_KIB = 8 << 20
# The shell only sets these limits, which git and what it starts inherit; where one can't be set, a lower one holds.
_LIMITED = ["/bin/sh", "-c", 'ulimit -f "$1" 2>&-; ulimit -v "$2" 2>&-; shift 2; exec "$@"', "sh"]
_LIMITED += [str(_MAX_PACK_BLOCKS), str(_MAX_MEMORY_KIB)]
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
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REDIRECTED = re.compile(rb"The requested URL returned error: 30[12378]\b")
_LOCATION = re.compile(rb"(?im)^.*Recv header: location: (\S+)")
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


def protocols_for(url: str, allow_hosts: Collection[str], protocols: Sequence[str] = PROTOCOLS) -> Sequence[str]:
    """Return the protocols by which an address may be fetched; a host on the allow-list also by plain http."""
    return (*protocols, "http") if addresses.is_allowed(url, allow_hosts) else protocols


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
    allow_hosts: Collection[str] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> tuple[Path, str]:
    """Bring the commit that `ref` (by default the server's HEAD) names now here; return the mirror and the commit id.

    allow_hosts: as `addresses.check_address` takes them, also by plain http; None reaches any host.

    Raises:
        InvalidRequest: the address, its host or ref is not acceptable, or there are no commits yet.
        NotFound: the repository has no such ref.
        Unavailable: the server does not answer, refuses, or sends too slowly or too much.
    """
    remote = _open(url, ref, allow_protocols, allow_hosts, timeout_s)
    mirrors_dir.mkdir(parents=True, exist_ok=True)
    mirror = mirror_folder(url, mirrors_dir)
    with _locked(mirror.with_suffix(".lock")):
        if mirror.exists():
            with contextlib.suppress(CorruptData, Unavailable):
                return mirror, remote.fetch(mirror, ref)
        # Also where a mirror can't be updated: it may be damaged. If it is the server, this says so.
        return mirror, _create(mirror, remote, ref)


def ls_remote(
    url: str,
    ref: str = "",
    *,
    allow_protocols: Sequence[str] = PROTOCOLS,
    allow_hosts: Collection[str] | None = None,
    timeout_s: float = _LIST_TIMEOUT_S,
) -> str | None:
    """Return the id of the commit that `ref` (by default the server's HEAD) names now, None if there is no such ref.

    Nothing is fetched. A commit id names itself, without a question to the server. Otherwise as `fetch`.

    Raises:
        InvalidRequest: the address, its host or ref is not acceptable.
        Unavailable: the server does not answer, or refuses.
    """
    remote = _open(url, ref, allow_protocols, allow_hosts, timeout_s)
    return ref if _COMMIT.fullmatch(ref) else remote.tip(ref)


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


def _open(
    url: str, ref: str, protocols: Sequence[str], allow_hosts: Collection[str] | None, timeout_s: float
) -> "_Remote":
    protocols = protocols_for(url, allow_hosts or (), protocols)
    check_url(url, protocols)
    if _REF_FORBIDDEN.search(ref):
        raise InvalidRequest(f"{ref!r} is not a branch, tag or commit")
    found = addresses.check_address(url, allow_hosts) if allow_hosts is not None else ()
    return _Remote(url, tuple(protocols), timeout_s, found)


def pinned(url: str, found: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return git's configuration and the ssh options that make it connect to `found` whatever the name means then."""
    address = addresses.parse(url) if found else None
    if address is None or address.host in found:
        return (), ""
    name = address.host if address.port == 22 else f"[{address.host}]:{address.port}"
    # ssh goes on looking for the server's key under its name.
    ssh = shlex.join([f"-oHostName={found[0]}", f"-oHostKeyAlias={name}"])
    listed = ",".join(f"[{each}]" if ":" in each else each for each in found)
    return (f"http.curloptResolve={address.host}:{address.port}:{listed}",), f" {ssh}"


class _Remote:
    """A server's repository, and how we talk to it; `found` are the addresses to reach its host at, if not any."""

    def __init__(self, url: str, protocols: tuple[str, ...], timeout_s: float, found: Sequence[str]) -> None:
        self._url = url
        self._timeout_s = timeout_s
        pins, ssh_options = pinned(url, found)
        self._config = (*_CONFIG, *pins, *(f"protocol.{name}.allow=always" for name in protocols))
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        ssh = f"{_SSH}{ssh_options}"
        self._env = environment({**passed_on, "GIT_ALLOW_PROTOCOL": ":".join(protocols), "GIT_SSH_COMMAND": ssh})

    def object_format(self) -> str:
        """Return ``sha1`` or ``sha256`` by the length of the server's object ids."""
        listed = self._run(None, ["ls-remote"], timeout_s=min(self._timeout_s, _LIST_TIMEOUT_S))
        if not listed.strip():
            raise InvalidRequest(
                f"repository {redact(self._url)!r} has no commits yet, or what answers there is not git"
            )
        return "sha256" if len(listed.split(None, 1)[0]) == 64 else "sha1"

    def tip(self, ref: str) -> str | None:
        """Return the id of the commit that `ref` names; tags win over branches, as when fetching."""
        names = [f"{start}{ref}" for start in ("", "refs/", "refs/tags/", "refs/heads/")] if ref else ["HEAD"]
        peeled = [f"{name}^{{}}" for name in names]
        listed = self._run(None, ["ls-remote"], *names, *peeled, timeout_s=self._timeout_s).decode(errors="replace")
        # Patterns also fit the ends of other names.
        ids = {name: commit for commit, _, name in (line.partition("\t") for line in listed.splitlines())}
        return next((ids[name] for pair in zip(peeled, names, strict=True) for name in pair if name in ids), None)

    def fetch(self, mirror: Path, ref: str) -> str:
        """Fetch the commit of `ref` and return its id."""
        kept_as = f"refs/quarry/{digest(ref.encode())[:16]}"
        # Left by a git that was killed; we hold the lock of the whole mirror.
        for stale in ("shallow.lock", f"{kept_as}.lock"):
            (mirror / stale).unlink(missing_ok=True)
        options = ("--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force")
        self._run(mirror, ["fetch", *options], f"+{ref or 'HEAD'}:{kept_as}", timeout_s=self._timeout_s, ref=ref)
        return git.resolve(mirror, kept_as)

    def _run(self, mirror: Path | None, order: Sequence[str], *refs: str, timeout_s: float, ref: str = "") -> bytes:
        done = self._git(mirror, order, refs, timeout_s)
        if _REDIRECTED.search(done.stderr) and not self._url.endswith(".git"):
            # GitLab redirects addresses that lack it. Where else a server points to is not followed: nobody checked it.
            self._url = f"{self._url.rstrip('/')}.git"
            done = self._git(mirror, order, refs, timeout_s)
        if done.returncode and _REDIRECTED.search(done.stderr):
            raise self._redirected(mirror, order, refs)
        if done.returncode:
            raise self._failure(done.stderr, ref)
        return done.stdout

    def _git(
        self,
        mirror: Path | None,
        order: Sequence[str],
        refs: Sequence[str],
        timeout_s: float,
        trace: Mapping[str, str] | None = None,
    ) -> CompletedProcess[bytes]:
        argv = command(mirror, *order, "--", self._url, *refs, config=self._config)
        try:
            return run([*_LIMITED, *argv], env={**self._env, **(trace or {})}, timeout_s=timeout_s)
        except Unavailable as error:
            raise Unavailable(f"{redact(self._url)!r} can't be fetched: {error}") from None

    def _redirected(self, mirror: Path | None, order: Sequence[str], refs: Sequence[str]) -> Exception:
        """Ask once more to learn where to: git only says so in a trace."""
        trace = {"GIT_TRACE_CURL": "1", "GIT_TRACE_CURL_NO_DATA": "1"}
        told = _LOCATION.search(self._git(mirror, order, refs, _LIST_TIMEOUT_S, trace).stderr)
        target = told[1].decode(errors="replace").split("/info/refs")[0] if told else "another address"
        return InvalidRequest(
            f"{redact(self._url)!r} redirects to {redact(target)[:500]!r}, which is not followed; "
            "if the repository has moved, add it with its new address"
        )

    def _failure(self, stderr: bytes, ref: str) -> Exception:
        shown, reason = redact(self._url), redact(reason_of(stderr))
        if b"couldn't find remote ref" in stderr:
            if ref:
                return NotFound(f"repository {shown!r} has no branch, tag or commit {ref!r}")
            return InvalidRequest(f"HEAD of {shown!r} names a branch without commits; say which to index with --ref")
        if b"git: not found" in stderr or b"git: command not found" in stderr:
            return Unavailable("git is not installed, or not on PATH; install git to index repositories")
        return Unavailable(f"{shown!r} can't be fetched: {reason}")
