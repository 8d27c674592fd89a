"""`quarry doctor`: read everything that is stored and say what is damaged or missing."""

from collections.abc import Iterator

from sqlalchemy import text

from services.core.catalog import Repo
from services.core.errors import CorruptData, NotFound, QuarryError
from services.core.manifest import Manifest
from services.core.problem import Problem
from services.embedded.owner import Owner


def find_problems(owner: Owner) -> Iterator[Problem]:
    """Yield every problem of the data directory; reads all of it."""
    yield from _database(owner)
    for repo in owner.catalog.list():
        if repo.revision:
            yield from _repository(owner, repo)


def _database(owner: Owner) -> Iterator[Problem]:
    with owner.engine.connect() as connection:
        for (line,) in connection.execute(text("PRAGMA integrity_check")):
            if line != "ok":
                yield Problem(str(owner.home.database), line, "move it away and index the repositories again")


def _repository(owner: Owner, repo: Repo) -> Iterator[Problem]:
    remedy = f"quarry rebuild {repo.name}"
    try:
        manifest = Manifest.load(owner.blobs, repo.manifest)
    except (CorruptData, NotFound) as error:
        yield Problem(repo.name, str(error), remedy)
        return
    yield from _blobs(owner, manifest, remedy)
    if repo.schema != owner.schema:
        yield Problem(repo.name, "indexed with another model or version", f"quarry index {repo.source!r}")
        return
    yield from _points(owner, manifest, remedy)


def _blobs(owner: Owner, manifest: Manifest, remedy: str) -> Iterator[Problem]:
    for digest in sorted({name for file in manifest.files for name in (file.pack, file.vectors)}):
        try:
            owner.blobs.get(digest)
        except (CorruptData, NotFound) as error:
            yield Problem(manifest.repo, str(error), remedy)


def _points(owner: Owner, manifest: Manifest, remedy: str) -> Iterator[Problem]:
    try:
        count = owner.live_points(manifest.repo)
    except QuarryError as error:
        yield Problem(manifest.repo, str(error), "quarry rebuild")
        return
    if count != manifest.chunks:
        yield Problem(manifest.repo, f"{count} points in the vector store, {manifest.chunks} chunks indexed", remedy)
