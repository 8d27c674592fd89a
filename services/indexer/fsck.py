"""`quarry fsck`: whether ledger, vector store and packs agree.

Everything is looked at while others work. What a commit or a clean-up under way explains is no
problem, and a repository that changes while it is looked at is looked at again.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine, func, select

from services.core import database as db
from services.core.catalog import Catalog, Repo, Schema
from services.core.census import Census, StoredPoint
from services.core.collections import ALIAS, PREFIX, collection_name
from services.core.desk import Desk
from services.core.errors import CorruptData, InvalidRequest, NotFound
from services.core.ledger import OPEN_STATES
from services.core.manifest import Manifest, ManifestFile
from services.core.ports import BlobStore
from services.core.problem import Problem
from services.indexer.commit import by_pack, points_of_pack
from services.indexer.stores import Stores

# A repository that is pushed to more often than that cannot be checked now.
_TRIES = 5
_STREAMS = 8


@dataclass(frozen=True, slots=True)
class View:
    """What is live of a repository at a moment, and which generations are still on their way in or out."""

    repo: Repo
    open_jobs: frozenset[int]
    staged: frozenset[int]
    retired: frozenset[int]
    last_job: int


def find_problems(desk: Desk, stores: Stores, name: str | None = None, *, read_data: bool = False) -> Iterator[Problem]:
    """Yield every problem of all repositories, or of repository `name`; with `read_data` all blobs are read.

    Raises:
        NotFound: there is no repository of that name.
        Unavailable: a server does not answer.
    """
    if name:
        desk.catalog.get(name)
    yield from _collections(desk, stores)
    for schema in desk.catalog.schemas():
        catalog, census = Catalog(desk.engine, schema.name), stores.by_schema.get(schema.name)
        if census is None:
            continue  # its collection is missing
        for repo in [catalog.get(name)] if name else catalog.list():
            yield from _repository(desk, schema, census, repo.name, read_data=read_data)
        if not name:
            yield from _strangers(desk, schema, census)


def _collections(desk: Desk, stores: Stores) -> Iterator[Problem]:
    known = {collection_name(schema.name, schema.dim): schema for schema in desk.catalog.schemas()}
    there, live = set(stores.collections.names()), stores.collections.behind(ALIAS)
    for name, schema in known.items():
        if name not in there:
            yield Problem(schema.name, f"its collection {name!r} is missing", "quarry rebuild")
    if known and live is None:
        yield Problem("vector store", f"alias {ALIAS!r} is missing", "quarry rebuild")
    for name in sorted(there - known.keys() - {live}):
        if name.startswith(PREFIX):
            yield Problem("vector store", f"collection {name!r} belongs to no schema", "quarry gc --drop-old-schemas")


def _strangers(desk: Desk, schema: Schema, census: Census) -> Iterator[Problem]:
    stored = census.repos()
    # Afterwards: one that is added meanwhile is known then.
    known = {repo.name for repo in (*desk.catalog.list(), *desk.catalog.removing())}
    for name in sorted(stored.keys() - known):
        what = f"{stored[name]:,} points of a repository that is not in the catalog"
        yield Problem(f"{name} ({schema.name})", what, "quarry rebuild")


def _repository(desk: Desk, schema: Schema, census: Census, name: str, *, read_data: bool) -> list[Problem]:
    where = f"{name} ({schema.name})"
    for _ in range(_TRIES):
        try:
            before = _view(desk, schema, name)
            looked = _look(desk.blobs, census, before.repo, read_data=read_data)
            after = _view(desk, schema, name)
        except NotFound:
            return []  # it was removed
        if before.repo.manifest == after.repo.manifest:
            return [Problem(where, *found) for found in (*looked.damage, *_compare(looked, before, after))]
    return [Problem(where, f"changed {_TRIES} times while it was looked at", f"quarry fsck {name}")]


def _view(desk: Desk, schema: Schema, name: str) -> View:
    repo = Catalog(desk.engine, schema.name).get(name)
    fences = desk.ledger.fences()
    open_jobs = frozenset(job.id for job in desk.ledger.jobs(name, OPEN_STATES))
    return View(repo, open_jobs, frozenset(fences.staged), frozenset(fences.retired), _last_job(desk.engine))


def _last_job(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.max(db.jobs.c.id))).scalar() or 0


@dataclass(frozen=True, slots=True)
class _Looked:
    """The files that should have points, the points there are, and what is wrong with the blobs."""

    files: dict[UUID, ManifestFile]
    points: list[StoredPoint]
    damage: list[tuple[str, str]]


def _look(blobs: BlobStore, census: Census, repo: Repo, *, read_data: bool) -> _Looked:
    remedy = f"quarry rebuild {repo.name}"
    manifest, damage = Manifest(repo.name, "", ""), []
    if repo.manifest:
        try:
            manifest = Manifest.load(blobs, repo.manifest)
        except (CorruptData, InvalidRequest) as error:
            return _Looked({}, [], [(str(error), remedy)])
    reasons = _damaged(blobs, manifest) if read_data else _absent(blobs, manifest)
    damage = [(reason, remedy) for reason in reasons]
    files = {point: file for file in manifest.files for point in file.point_ids(repo.name)}
    return _Looked(files, list(census.scroll(repo.name)), damage)


def _absent(blobs: BlobStore, manifest: Manifest) -> list[str]:
    """Return a reason for every blob that is not there."""

    def reason(digest: str) -> str:
        try:
            blobs.get(digest, 0, 0)
        except (CorruptData, InvalidRequest) as error:
            return str(error)
        return ""

    names = sorted({name for file in manifest.files for name in (file.pack, file.vectors)})
    with ThreadPoolExecutor(_STREAMS) as pool:
        return [found for found in pool.map(reason, names) if found]


def _damaged(blobs: BlobStore, manifest: Manifest) -> list[str]:
    """Return a reason for every pack that is not whole, or does not fit its vectors or the manifest."""

    def reason(files: list[ManifestFile]) -> str:
        try:
            points_of_pack(files, repo=manifest.repo, generation=0, blobs=blobs)
        except (CorruptData, InvalidRequest) as error:
            return str(error)
        return ""

    # Two at a time: each is unpacked to several times its size.
    with ThreadPoolExecutor(2) as pool:
        return [found for found in pool.map(reason, by_pack(manifest)) if found]


def _compare(looked: _Looked, before: View, after: View) -> Iterable[tuple[str, str]]:
    """Yield what is wrong with the points, of those that neither `before` nor `after` explains."""
    expected, there = looked.files, {point.id for point in looked.points}
    kinds = defaultdict(list)
    for key, file in expected.items():
        if key not in there:
            kinds["are missing"].append(file.path)
    for point in looked.points:
        live = expected.get(point.id)
        place = live.path if live else str(point.id)
        if point.generation > after.last_job:
            kinds["are of a generation that the ledger has not given out"].append(place)
        elif live is None and not _is_passing(point, before, after):
            kinds["belong to nothing that is live"].append(place)
        elif live and (point.generation in after.staged or point.retired in after.retired):
            kinds["are live and hidden from searches"].append(place)
        if live and point.pack != live.pack:
            kinds["name another pack than the manifest"].append(place)
    for kind, places in kinds.items():
        yield f"{len(places):,} points {kind}, the first: {min(places)!r}", f"quarry rebuild {after.repo.name}"


def _is_passing(point: StoredPoint, before: View, after: View) -> bool:
    """Whether a point that is not live is on its way in, or out."""
    coming = before.open_jobs | after.open_jobs | before.staged | after.staged
    return (
        point.generation in coming
        # Of a job that has begun since.
        or point.generation > before.last_job
        or point.retired in before.retired | after.retired
    )
