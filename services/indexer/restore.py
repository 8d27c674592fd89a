"""`quarry rebuild` of the distributed mode: points made again from packs and vectors, beside workers and searches.

Nothing is deleted before what belongs there is written, so a search sees the points that were there all along.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.core.catalog import Catalog, Repo, Schema
from services.core.census import Census
from services.core.collections import Collections
from services.core.desk import Desk
from services.core.errors import CorruptData, InvalidRequest, NotFound, QuarryError
from services.core.ledger import STARTED_STATES, Ledger
from services.core.manifest import Manifest
from services.core.ports import BlobStore, VectorWriter
from services.indexer.collection import prepare
from services.indexer.commit import by_pack, live_generation, points_of_pack
from services.indexer.place import Place, PlaceLost, PlaceTaken, taken
from services.indexer.served import HeldStore
from services.indexer.stores import Stores

log = logging.getLogger(__name__)

_DELETED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of a repository: `how` its points were made, or the `error` that prevented it."""

    repo: str
    how: str = ""
    error: str = ""


def prepare_collections(desk: Desk, collections: Collections) -> None:
    """Make what is missing of the collections of all schemas, and the alias.

    If the alias is missing, it is for the schema that finds the most; of equals, the newest.
    """
    schemas = desk.catalog.schemas()
    live = {schema.name: sum(bool(repo.revision) for repo in _catalog(desk, schema).list()) for schema in schemas}
    for schema in sorted(schemas, key=lambda each: -live[each.name]):
        prepare(collections, schema.name, schema.dim)


def rebuild_all(desk: Desk, stores: Stores, name: str | None, *, wait_s: float) -> Iterator[Rebuilt]:
    """Rebuild the points of repository `name`, or of all; one that fails does not keep the others from it.

    Repositories that somebody works on come last; they get `wait_s` together to come to an end.
    Without a name, points of repositories that are not in the catalog are removed as well.

    Raises:
        NotFound: there is no repository of that name.
        Unavailable: a server does not answer.
    """
    busy = []
    for repo in [desk.catalog.get(name)] if name else desk.catalog.list():
        try:
            yield from _rebuild(desk, stores, repo, wait_s=0.0)
        except PlaceTaken:
            busy.append(repo)
    deadline = time.monotonic() + wait_s
    for repo in busy:
        try:
            yield from _rebuild(desk, stores, repo, wait_s=max(0.0, deadline - time.monotonic()))
        except PlaceTaken as refusal:
            yield Rebuilt(repo.name, error=str(refusal))
    if not name:
        yield from _remove_strangers(desk, stores)


def restore(
    repo: Repo,
    *,
    generation_of: int,
    ledger: Ledger,
    blobs: BlobStore,
    vectors: VectorWriter,
    census: Census,
) -> int:
    """Write the points of a live revision again and delete all others but those still to be cleaned up.

    Returns how many there are. The others are marked with `generation_of` before they are deleted, the
    generation of a job that writes no points. No other job of the repository may be started meanwhile.

    Raises:
        NotFound: a blob is gone.
        CorruptData: the manifest, a pack or its vectors can't be read.
    """
    manifest = Manifest.load(blobs, repo.manifest)
    generation = live_generation(repo, ledger)
    for files in by_pack(manifest):
        vectors.upsert(points_of_pack(files, repo=repo.name, generation=generation, blobs=blobs))
    expected = {point for file in manifest.files for point in file.point_ids(repo.name)}
    # What the last commit replaced may still be read by a search, and is deleted in its time.
    passing = set(ledger.fences().retired)
    there = census.scroll(repo.name)
    others = [point.id for point in there if point.id not in expected and point.retired not in passing]
    for ids in _slices(others):
        vectors.retire(ids, generation_of)
    vectors.purge(retired_by=generation_of)
    vectors.flush()
    return manifest.chunks


def _rebuild(desk: Desk, stores: Stores, repo: Repo, *, wait_s: float) -> Iterable[Rebuilt]:
    try:
        if not _live(desk, repo.name) and not desk.ledger.jobs(repo.name, STARTED_STATES):
            return []
        with taken(repo.name, repo.ref, desk, wait_s=wait_s) as place:
            # Only now: jobs that were in the way may have changed it.
            return [_under_schema(place, stores, schema, live) for schema, live in _live(desk, repo.name)]
    except PlaceLost as error:
        return [Rebuilt(repo.name, error=str(error))]
    except NotFound:
        # It was removed meanwhile.
        return []


def _under_schema(place: Place, stores: Stores, schema: Schema, repo: Repo) -> Rebuilt:
    desk, store = place.desk, stores.by_schema[schema.name]
    vectors = HeldStore(store, place.check)
    try:
        points = restore(
            repo, generation_of=place.job.id, ledger=desk.ledger, blobs=desk.blobs, vectors=vectors, census=store
        )
        return Rebuilt(repo.name, f"{points:,} points from the stored packs")
    except (CorruptData, InvalidRequest) as damage:
        return _read_again(place, schema, repo, damage, vectors)


def _read_again(place: Place, schema: Schema, repo: Repo, damage: QuarryError, vectors: VectorWriter) -> Rebuilt:
    """Have a repository whose packs are damaged indexed as if it were new."""
    desk = place.desk
    if schema != desk.active_schema():
        return Rebuilt(repo.name, error=f"{damage}; it can't be read again for {schema.name!r}, which is not in force")
    # First: if this is cut short, the job that the ledger still has then reads it again all the same.
    _catalog(desk, schema).forget_revision(repo.name)
    vectors.purge(repo=repo.name)
    vectors.flush()
    place.goes_on = True
    return Rebuilt(repo.name, f"job {place.job.id} reads it again from {repo.source!r} ({damage})")


def _remove_strangers(desk: Desk, stores: Stores) -> Iterator[Rebuilt]:
    for store in stores.by_schema.values():
        for name, points in store.repos().items():
            if name in _known(desk):
                continue
            try:
                with taken(name, "", desk, wait_s=0.0) as place:
                    # Somebody may have added it since.
                    if name not in _known(desk):
                        HeldStore(store, place.check).purge(repo=name)
                        yield Rebuilt(name, f"{points:,} points removed: there is no such repository")
            except PlaceTaken as refusal:
                log.info("points_left", extra={"repo": name, "reason": str(refusal)})


def _known(desk: Desk) -> set[str]:
    return {repo.name for repo in (*desk.catalog.list(), *desk.catalog.removing())}


def _live(desk: Desk, name: str) -> Sequence[tuple[Schema, Repo]]:
    """Return the schemas under which a repository is live, with what is live of it."""
    found = [(schema, _catalog(desk, schema).get(name)) for schema in desk.catalog.schemas()]
    return [(schema, repo) for schema, repo in found if repo.manifest]


def _catalog(desk: Desk, schema: Schema) -> Catalog:
    return Catalog(desk.engine, schema.name)


def _slices(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(ids), _DELETED_AT_ONCE):
        yield ids[start : start + _DELETED_AT_ONCE]
