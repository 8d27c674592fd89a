"""The packages that pairs come from, and what must never be among them."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidRequest

PACKAGES = Path(__file__).with_name("packages.toml")
NEVER_TRAIN_ON = Path(__file__).with_name("never-train-on.txt")
# Packages of listed repositories that do not bear their names.
_ALIASES = {
    "laravel/framework": "illuminate laravel",
    "rails/rails": "activerecord activesupport activemodel activejob activestorage actionpack actionview actionmailer "
    "actioncable railties",
    "BurntSushi/ripgrep": "grep ignore globset",
    "FasterXML/jackson-databind": "jackson",
    "apache/commons-lang": "commons-lang3",
    "apache/commons-collections": "commons-collections4",
    "neuecc/MessagePack-CSharp": "messagepack",
    "JamesNK/Newtonsoft.Json": "newtonsoft",
    "nginx/nginx": "libnginx",
    "curl/curl": "libcurl",
    "Bash-it/bash-it": "bash_it",
    "playframework/playframework": "play",
    "elixir-lang/elixir": "mix ex_unit iex eex",
    "qdrant/tonic": "tonic hyperium",
    "abseil/abseil-cpp": "absl abseil",
    "JetBrains/Exposed": "exposed",
}
_REGISTRY_PREFIX = re.compile(r"^(?:ruby|php|lua|python3?|haskell|node|elixir|golang|lib|go)-")
_SUFFIX = re.compile(r"(?:\.js|\.nvim|\.json|\.cpp|-cpp|_2\.1\d|_3|-jvm)$")
_SEPARATORS = re.compile(r"[/:@]")


@dataclass(frozen=True, slots=True)
class Package:
    """An archive of a registry; one that is held out is only ever measured on. `sha256` is the archive's."""

    registry: str
    name: str
    version: str
    sha256: str
    language: str
    licence: str
    held_out: bool = False


def load_packages(path: Path = PACKAGES) -> list[Package]:
    """Return the packages in the order of the file."""
    return [Package(**entry) for entry in tomllib.loads(path.read_text())["package"]]


def never_train_on(path: Path = NEVER_TRAIN_ON) -> list[str]:
    """Return the listed repositories as owner/name."""
    return path.read_text().split()


def plain(name: str) -> str:
    """Return a name in lower case without what a registry or a language adds to it."""
    return _SUFFIX.sub("", _REGISTRY_PREFIX.sub("", name.lower())).strip("_.")


def names_of(repositories: Iterable[str]) -> frozenset[str]:
    """Return the plain names by which repositories are known, those of their packages included."""
    found = set()
    for repository in repositories:
        found |= {plain(repository.rpartition("/")[2]), *_ALIASES.get(repository, "").split()}
    return frozenset(found)


def belongs(name: str, listed: frozenset[str]) -> bool:
    """Say whether a package is one of the listed, or its name begins with that of a listed one: ``tokio-util``."""
    parts = [plain(part) for part in _SEPARATORS.split(name) if part]
    return any(part == known or part.startswith((f"{known}-", f"{known}_")) for part in parts for known in listed)


def check(packages: Iterable[Package], repositories: Iterable[str]) -> None:
    """Refuse a list that holds a package of a repository that is never to be trained on.

    Raises:
        InvalidRequest: it does; all of them are named.
    """
    listed = names_of(repositories)
    wrong = [package.name for package in packages if belongs(package.name, listed)]
    if wrong:
        raise InvalidRequest(f"packages of repositories in {NEVER_TRAIN_ON.name}: {', '.join(wrong)}; take them out")
