"""The trees that are measured, each made once below the bench folder."""

import os
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.corpus import write

SYNTHETIC_FILES = 50_000
_SYNTHETIC_BYTES = 865
_SEED = 1


@dataclass(frozen=True, slots=True)
class Corpus:
    """A tree of files; `label` says what it is."""

    name: str
    label: str
    path: Path

    def describe(self) -> dict[str, Any]:
        """Return its label, number of files and bytes; reads every file, so that all are in the page cache."""
        files = [path for path in self.path.rglob("*") if path.is_file() and not path.is_symlink()]
        return {"label": self.label, "files": len(files), "bytes": sum(len(path.read_bytes()) for path in files)}


class CorpusMissing(Exception):
    """A corpus can't be made on this machine; the message says why."""


def stdlib(bench: Path) -> Corpus:
    """Return a copy of the Python files of the running Python's standard library.

    Only those, because all that are compared index them: semble leaves most other files out.
    """
    target = bench / "corpora" / "stdlib-python"
    if not _complete(target):
        shutil.copytree(sysconfig.get_path("stdlib"), target, ignore=_not_python)
        _mark(target)
    return Corpus("stdlib", f"Python files of the standard library of Python {sysconfig.get_python_version()}", target)


def synthetic(bench: Path, files: int = SYNTHETIC_FILES) -> Corpus:
    """Return the generated corpus."""
    target = bench / "corpora" / f"synthetic-{files}"
    if not _complete(target):
        write(target, files, _SEED, _SYNTHETIC_BYTES)
        _mark(target)
    return Corpus("synthetic", f"{files:,} generated files of five languages", target)


def linux(bench: Path, given: str = "") -> Corpus:
    """Return a Linux source tree: the folder given, or Debian's linux-source package unpacked.

    Raises:
        CorpusMissing: there is neither.
    """
    if given:
        if not Path(given, "MAINTAINERS").is_file():
            raise CorpusMissing(f"LINUX={given!r} is no Linux source tree")
        return Corpus("linux", "Linux source tree", Path(given))
    archives = sorted(Path("/usr/src").glob("linux-source-*.tar.xz"))
    if not archives:
        raise CorpusMissing("no Linux source tree; apt-get install linux-source, or give LINUX=path")
    target = bench / "corpora" / archives[-1].name.removesuffix(".tar.xz")
    if not _complete(target):
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-xJf", str(archives[-1]), "-C", str(target), "--strip-components=1"], check=True)
        # Debian's own .gitignore hides everything but its packaging.
        (target / ".quarryignore").write_text("!/*\n")
        _mark(target)
    return Corpus("linux", f"Debian's {target.name}", target)


def _not_python(folder: str, names: list[str]) -> list[str]:
    installed = {"site-packages", "dist-packages", "__pycache__"}
    files = (name for name in names if not name.endswith(".py") and not Path(folder, name).is_dir())
    return [*installed.intersection(names), *files]


def _complete(target: Path) -> bool:
    # The mark is outside, so that no corpus holds a file that is not its own.
    if target.with_name(target.name + ".complete").exists():
        return True
    shutil.rmtree(target, ignore_errors=True)
    return False


def _mark(target: Path) -> None:
    target.with_name(target.name + ".complete").touch()
    os.sync()
