"""The packages whose doc comments are questions: listed with their digests, and their source files."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.retrieval.registries import archive
from models.archives import members

LIST = Path(__file__).with_name("packages.toml")

_SUFFIXES = {
    "go": (".go",),
    "java": (".java",),
    "javascript": (".js", ".mjs", ".cjs"),
    "kotlin": (".kt",),
    "python": (".py",),
    "rust": (".rs",),
    "scala": (".scala",),
    "typescript": (".ts", ".mts"),
}
_NOT_SOURCE = (".min.js", ".d.ts", ".d.mts")
_DOCS = (".md",)


@dataclass(frozen=True, slots=True)
class Package:
    """A pinned package; only `folder` of it counts, without the folders in `exclude`."""

    registry: str
    name: str
    version: str
    sha256: str
    language: str
    repository: str
    licence: str
    folder: str = ""
    exclude: tuple[str, ...] = ()

    @property
    def short_name(self) -> str:
        """What it is called as a repository."""
        return self.repository.rpartition("/")[2]


def listed(path: Path = LIST) -> list[Package]:
    """Return the packages of a list."""
    entries = tomllib.loads(path.read_text())["package"]
    return [Package(**entry | {"exclude": tuple(entry.get("exclude", ()))}) for entry in entries]


def sources(package: Package, folder: Path) -> dict[str, bytes]:
    """Return the package's files in its language and its Markdown, by path; `folder` keeps the archive.

    Raises:
        NotThere: the archive can't be had.
    """
    kept = archive(package.registry, package.name, package.version, package.sha256, folder)
    return {path: data for path, data in _files(kept, package) if _counts(path, package)}


def _files(kept: Path, package: Package) -> Iterator[tuple[str, bytes]]:
    for path, data in members(kept):
        inside = _inside(path, package)
        if inside is not None:
            yield inside, data


def _inside(path: str, package: Package) -> str | None:
    """Return a member's path in the package's folder, None for one outside it."""
    if package.registry == "maven":  # a sources jar has its files at its root
        below = path
    elif package.registry == "go":
        top = f"{package.name}@{package.version}/"
        if not path.startswith(top):
            return None
        below = path.removeprefix(top)
    else:
        below = path.partition("/")[2]
    prefix = f"{package.folder}/" if package.folder else ""
    return below.removeprefix(prefix) if below.startswith(prefix) else None


def _counts(path: str, package: Package) -> bool:
    folders = path.split("/")[:-1]
    if path.startswith("/") or ".." in folders or set(folders) & set(package.exclude):
        return False
    return path.endswith((*_SUFFIXES[package.language], *_DOCS)) and not path.endswith(_NOT_SOURCE)
