"""`quarry rebuild`, `fsck` and `gc` of the distributed mode, for whoever has its settings."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from services.core.desk import Desk
from services.core.errors import CorruptData, QuarryError
from services.core.leases import Priority
from services.core.model import Message
from services.core.settings import Settings
from services.core.wiring import open_collections, required
from services.indexer.collect import Store, delete_garbage, drop_schemas, find_garbage, old_schemas
from services.indexer.fsck import find_problems
from services.indexer.fsck_ledger import find_ledger_problems
from services.indexer.restore import prepare_collections, rebuild_all
from services.indexer.stores import Stores, open_stores

_HOUR_S = 3600.0


def rebuild(arguments: Namespace, settings: Settings) -> int:
    """Rebuild the vector store from the object store; exit status 1 if that failed for a repository."""
    results = []
    with _desk(settings) as desk:
        prepare_collections(desk, open_collections(settings))
        for result in rebuild_all(desk, _stores(desk), arguments.name, wait_s=arguments.wait):
            results.append(result)
            if not arguments.json:
                print(f"{result.repo}: {result.error or result.how}", flush=True)
    if arguments.json:
        print(json.dumps({"rebuilt": [asdict(result) for result in results]}))
    return QuarryError.exit_status if any(result.error for result in results) else 0


def fsck(arguments: Namespace, settings: Settings) -> int:
    """Check that ledger, vector store and packs agree; exit status 4 if they do not."""
    with _desk(settings) as desk:
        removing, seen_at = desk.catalog.removing(), time.monotonic()
        problems = list(find_problems(desk, _stores(desk), arguments.name, read_data=arguments.read_data))
        if not arguments.name:
            problems += find_ledger_problems(desk, removing, seen_at)
    if arguments.json:
        print(json.dumps({"problems": [asdict(problem) for problem in problems]}))
    for problem in problems if not arguments.json else ():
        print(f"{problem.where}: {problem.what}; remedy: {problem.remedy}")
    if not problems and not arguments.json:
        print("ledger, vector store and packs agree")
    return CorruptData.exit_status if problems else 0


def gc(arguments: Namespace, settings: Settings) -> int:
    """Delete blobs that nothing refers to any more and, when told, schemas that are not in force."""
    older_than_s = arguments.older_than * _HOUR_S
    with _desk(settings) as desk:
        dropped, collections = _drop(arguments, desk)
        store = Store(desk.blobs, desk.catalog, desk.ledger)
        found = find_garbage(store, older_than_s=older_than_s)
        deleted = 0
        if found and not arguments.dry_run:
            print(f"{len(found):,} blobs; waiting {settings.search_grace_s:.0f} s for searches to end", file=sys.stderr)
            deleted = delete_garbage(store, found, older_than_s=older_than_s, search_grace_s=settings.search_grace_s)
    if arguments.json:
        document = {"found": len(found), "deleted": deleted, "schemas": dropped, "collections": collections}
        print(json.dumps(document | {"dry_run": arguments.dry_run}))
        return 0
    for schema in dropped:
        print(f"schema {schema} {'would be' if arguments.dry_run else 'was'} dropped")
    print(f"{len(found):,} blobs would be deleted" if arguments.dry_run else f"{deleted:,} blobs were deleted")
    return 0


def _drop(arguments: Namespace, desk: Desk) -> tuple[list[str], list[str]]:
    """Return the schemas that were or would be dropped, and the collections that were."""
    if not (arguments.drop_schema or arguments.drop_old_schemas):
        return [], []
    collections = open_collections(desk.settings)
    names = old_schemas(desk, collections, arguments.drop_schema)
    return names, [] if arguments.dry_run else drop_schemas(names, desk.catalog, collections)


@contextmanager
def _desk(settings: Settings) -> Iterator[Desk]:
    required(settings, "database_url", "s3_url", "qdrant_url")
    desk = Desk(settings, _left_to_the_sweeper)
    try:
        yield desk
    finally:
        desk.engine.dispose()


def _left_to_the_sweeper(_message: Message, _priority: Priority) -> None:
    """Send nothing: there is no need for a broker here, and the sweeper looks every few seconds."""


def _stores(desk: Desk) -> Stores:
    return open_stores(desk.settings, list(desk.catalog.schemas()))
