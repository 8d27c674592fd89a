"""Quarry as its user runs it: the installed command with a data directory of its own."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.speed.measure import Usage, measure
from services.core.catalog import Catalog
from services.core.database import open_database
from services.core.manifest import Manifest
from services.core.wiring import open_blobs
from services.embedded.home import Home

COMMAND = str(Path(sys.executable).with_name("quarry"))


def index(
    corpus: Path, home: Path, *, fresh: bool, cores: int = 0, limit_s: float = 1800.0
) -> tuple[Usage, dict[str, Any]]:
    """Measure `quarry index` of a tree; `fresh` begins with no data directory, so with no cache either."""
    if fresh:
        shutil.rmtree(home, ignore_errors=True)
    usage = measure(
        [COMMAND, "index", str(corpus), "--json"], env={"QUARRY_HOME": str(home)}, cores=cores, limit_s=limit_s
    )
    return usage, json.loads(usage.stdout)


def indexed_files(home: Path) -> list[tuple[str, str]]:
    """Return (path, language) of every file of the only repository in a data directory."""
    paths = Home(home)
    engine = open_database(paths.database)
    try:
        (repo,) = Catalog(engine).list()
        manifest = Manifest.load(open_blobs(paths.blobs), repo.manifest)
    finally:
        engine.dispose()
    return [(file.path, file.language) for file in manifest.files]


def repo_name(home: Path) -> str:
    """Return the name of the only repository in a data directory."""
    engine = open_database(Home(home).database)
    try:
        (repo,) = Catalog(engine).list()
    finally:
        engine.dispose()
    return repo.name


def disk_mb(home: Path) -> float:
    """Return the size of a data directory in 10^6 bytes."""
    return round(sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) / 1e6, 1)
