"""From what people type to a source: a path or an address, its kind and its name."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.chunker import git, mirror
from services.chunker.walk import DirectorySource
from services.core.addresses import check_address
from services.core.errors import InvalidRequest

_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_MAX_NAME_CHARS = 200
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source leaves out by size."""

    max_file_bytes: int = 1 << 20


def open_source(kind: str, location: str | Path, revision: str, limits: Limits) -> git.GitSource | DirectorySource:
    """Open a source; close it, or use it in a with statement.

    `kind` is ``git`` (`location` a repository, `revision` a full commit id), ``url`` (the same,
    `location` being its mirror) or ``directory`` (`revision` is not used: what is there now counts).
    """
    if kind == "directory":
        return DirectorySource(Path(location), max_file_bytes=limits.max_file_bytes)
    if kind in ("git", "url"):
        return git.GitSource(Path(location), revision, max_file_bytes=limits.max_file_bytes)
    raise InvalidRequest(f"kind of source {kind!r} is unknown; it is 'git', 'url' or 'directory'")


def describe(
    location: str, *, allow_local: bool = True, allow_hosts: Collection[str] = (), check_hosts: bool = False
) -> tuple[str, str, str]:
    """Return the kind of what `location` names, how to write it for good, and a name for it ("" if none fits).

    A path, also one written ``file://``, is made absolute, without links. With `check_hosts` an address
    must be public or on the list `allow_hosts`; the latter may also be fetched by plain http.

    Raises:
        InvalidRequest: it is neither an address we fetch from nor a directory we may read; or an
            address that holds a password, which would be stored; or a path where `allow_local` is off.
        Unavailable: the host is to be checked and its name can't be resolved now.
    """
    if location.startswith("file://"):
        local = unquote(urlsplit(location).path)
    elif mirror.is_url(location) and not (allow_local and os.path.lexists(location)):
        described = _describe_url(location, allow_hosts)
        if check_hosts:
            check_address(location, allow_hosts)
        return described
    else:
        local = location
    if not allow_local:
        raise InvalidRequest(f"{location!r} is not an https or ssh address")
    return _describe_path(local)


def _describe_url(url: str, allow_hosts: Collection[str]) -> tuple[str, str, str]:
    mirror.check_url(url, mirror.protocols_for(url, allow_hosts))
    if mirror.has_secret(url):
        raise InvalidRequest(f"address {mirror.redact(url)!r} holds a password or token; use the ssh address instead")
    return "url", url, default_name(re.split(r"[/:]", url.rstrip("/"))[-1])


def _describe_path(location: str) -> tuple[str, str, str]:
    try:
        path = Path(location).expanduser().resolve(strict=True)
        str(path).encode()
        os.listdir(path)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"path {location!r} is not UTF-8; give the directory another name") from error
    except NotADirectoryError as error:
        raise InvalidRequest(f"{location!r} is a file; index the directory it lies in") from error
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"directory {location!r} can't be read: {reason}") from error
    top = path.parent if path.name == ".git" else path
    return ("git" if git.is_repository(path) else "directory"), str(path), default_name(top.name)


def default_name(last_part: str) -> str:
    """Return the name of a repository whose path or address ends so, "" if nothing of it may be in a name."""
    name = _NOT_IN_NAMES.sub("-", last_part.removesuffix(".git")).strip("-")[:_MAX_NAME_CHARS]
    return name if name.strip(".") else ""


def check_name(name: str) -> str:
    """Return the name of a repository as given.

    Raises:
        InvalidRequest: it is empty, too long, or has characters or parts that no name may have.
    """
    if not name:
        raise InvalidRequest("no name can be made of where the repository lies; give one with --name")
    if len(name) > _MAX_NAME_CHARS or not _NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
        raise InvalidRequest(
            f"name {name[:_MAX_NAME_CHARS]!r} is not valid; use letters, digits, '.', '_', '-' and '/' between them, "
            f"at most {_MAX_NAME_CHARS} characters"
        )
    return name
