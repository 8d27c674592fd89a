"""`quarry gc`: blobs that nothing refers to any more, and schemas that are not in force.

Why a blob may be deleted while others work:

- Whoever refers to a blob has stored it before. Storing sends it again, known or not, and so gives it
  the date of that moment. A blob that nothing refers to and that is older than the grace is therefore nobody's work of
  today, unless its writer needs longer than the grace from storing it to recording it. The longest are the
  sources of a plan, with minutes.
- That is so at the moment of listing, and a list is minutes old when its last blob is deleted: meanwhile one may
  be stored again, by a repository that was removed and is added again, say. So each blob's date is looked at
  again right before it is deleted. No store deletes on a condition, so a few milliseconds stay between the
  two. A blob stored again in just those would be lost: `quarry fsck` names it, and `quarry rebuild`
  reads the repository again.
- Dates are by the store's clock, ages by this machine's. A blob stored for the purpose shows whether they agree.
- A search that began before a commit may read what it replaced. So what nothing refers to is deleted only if that
  is still so when every such search has ended.
- What a failed job needs to go on stays as long as its batches do.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from services.core.catalog import Catalog
from services.core.collections import ALIAS, Collections, collection_name
from services.core.desk import Desk
from services.core.errors import InvalidRequest, NotFound, Unavailable
from services.core.ledger import OPEN_STATES, Cleanup, Ledger
from services.core.ports import BlobStore
from services.indexer.collection import drop_unused
from services.indexer.commit import garbage, referenced

# Stored before anything is listed; it is never old.
_MARK = b"quarry gc: this was stored a moment ago\n"
_STREAMS = 8


@dataclass(frozen=True, slots=True)
class Store:
    """Where blobs are, and what refers to them."""

    blobs: BlobStore
    catalog: Catalog
    ledger: Ledger


def find_garbage(store: Store, *, older_than_s: float) -> set[str]:
    """Return the digests of the blobs that nothing refers to and that were last stored so long ago.

    Raises:
        Unavailable: the clocks disagree, or a server does not answer.
        NotFound: a manifest is gone, so that it is not known what it refers to.
        CorruptData: a manifest can't be read.
    """
    mark = store.blobs.put(_MARK)
    found = garbage(store.blobs, catalog=store.catalog, ledger=store.ledger, older_than_s=older_than_s)
    if older_than_s and mark in found:
        raise Unavailable(
            f"a blob stored now counts as {older_than_s:,.0f} s old: this machine and the object store disagree "
            "about the time; set their clocks"
        )
    return found - {mark}


def delete_garbage(
    store: Store,
    found: set[str],
    *,
    older_than_s: float,
    search_grace_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Delete what `find_garbage` found and return how many blobs that were; those in use again are kept."""
    if not found:
        return 0
    sleep(search_grace_s)
    doomed = found.difference(referenced(store.blobs, catalog=store.catalog, ledger=store.ledger))
    with ThreadPoolExecutor(_STREAMS) as pool:
        for _ in pool.map(lambda digest: store.blobs.delete(digest, older_than_s=older_than_s), sorted(doomed)):
            pass
    return len(doomed)


def old_schemas(desk: Desk, collections: Collections, name: str | None = None) -> list[str]:
    """Return the schemas that may be dropped: all that are not in force, or the one called `name`.

    Raises:
        NotFound: there is none of that name.
        InvalidRequest: it is in force, or something still needs one of them; says what.
    """
    schemas = desk.catalog.schemas()
    if name and name not in {schema.name for schema in schemas}:
        known = ", ".join(repr(schema.name) for schema in schemas)
        raise NotFound(f"there is no schema {name!r}; there are {known or 'none'}")
    if name and name == schemas[0].name:
        raise InvalidRequest(f"schema {name!r} is the one in force; it can't be dropped")
    old = [schema.name for schema in schemas[1:] if name in (None, schema.name)]
    if old:
        _refuse_needed(old, desk, collections)
    return old


def drop_schemas(names: list[str], catalog: Catalog, collections: Collections) -> list[str]:
    """Drop schemas with all their revisions and points, and collections of no schema; return those collections."""
    # First: what is forgotten is not made again by an indexer that starts.
    for name in names:
        catalog.forget_schema(name)
    return drop_unused(collections, keep={collection_name(each.name, each.dim) for each in catalog.schemas()})


def _refuse_needed(old: list[str], desk: Desk, collections: Collections) -> None:
    active, ledger = desk.active_schema(), desk.ledger
    live = {repo.name for repo in desk.catalog.list() if repo.revision}
    mine = {repo.name for repo in Catalog(desk.engine, active.name).list() if repo.revision}
    if live - mine:
        missing = f"{len(live - mine)} of {len(live)} repositories are not indexed for {active.name!r} yet"
        raise InvalidRequest(f"{missing}, {min(live - mine)!r} for one; wait until they are")
    if collections.behind(ALIAS) != collection_name(active.name, active.dim):
        raise InvalidRequest(f"no API for {active.name!r} has been ready yet; searches go to the schema before")
    for job in (*ledger.jobs(states=OPEN_STATES), *ledger.jobs(cleanups=(Cleanup.STAGED,))):
        if job.schema in old:
            raise InvalidRequest(f"job {job.id} of {job.repo!r} writes points of {job.schema!r}; wait for its end")
