"""`quarry cache`, `quarry rebuild`, `quarry doctor` (which `fsck` is another name of) and `quarry gc`."""

import json
from argparse import Namespace
from dataclasses import asdict

from services.core.errors import CorruptData, InvalidRequest, QuarryError
from services.core.settings import Settings
from services.core.wiring import open_cache
from services.embedded.access import own
from services.embedded.home import Home


def cache(arguments: Namespace, settings: Settings) -> int:
    """Show the embedding cache's size, entries and hit rate, or empty it."""
    home = Home(settings.home)
    home.prepare()
    store = open_cache(settings, home.cache)
    if arguments.action == "clear":
        store.clear()
    stats = store.stats()
    if arguments.json:
        print(json.dumps(stats))
    else:
        size_mb, limit_mb = stats["size_bytes"] / 1e6, stats["limit_bytes"] / 1e6
        print(f"{stats['entries']:,} embeddings in {size_mb:,.1f} of {limit_mb:,.0f} MB")
        print(f"{stats['hits']:,} hits, {stats['misses']:,} misses, hit rate {stats['hit_rate']:.1%}")
    return 0


def doctor(arguments: Namespace, settings: Settings) -> int:
    """Check that everything stored is whole and agrees; exit status 4 if it does not."""
    from services.embedded.checks import find_problems

    owner = own(settings, "doctor")
    try:
        if arguments.name:
            owner.catalog.get(arguments.name)
        problems = [found for found in find_problems(owner) if arguments.name in (None, found.where)]
    finally:
        owner.close()
    if arguments.json:
        print(json.dumps({"problems": [asdict(problem) for problem in problems]}))
    for problem in problems if not arguments.json else ():
        print(f"{problem.where}: {problem.what}\n  remedy: {problem.remedy}")
    if not problems and not arguments.json:
        print("everything stored is whole and agrees")
    return CorruptData.exit_status if problems else 0


def gc(arguments: Namespace, settings: Settings) -> int:
    """Delete blobs that nothing refers to any more."""
    from services.indexer.commit import garbage

    if arguments.drop_schema or arguments.drop_old_schemas:
        raise InvalidRequest("a data directory has one schema; indexing with another model replaces it")
    # Whoever owns the directory has no other process that stores or reads anything.
    owner, older_than_s = own(settings, "gc"), arguments.older_than * 3600.0
    try:
        found = garbage(owner.blobs, catalog=owner.catalog, ledger=owner.ledger, older_than_s=older_than_s)
        for digest in () if arguments.dry_run else found:
            owner.blobs.delete(digest)
    finally:
        owner.close()
    deleted = 0 if arguments.dry_run else len(found)
    if arguments.json:
        print(json.dumps({"found": len(found), "deleted": deleted, "dry_run": arguments.dry_run}))
    else:
        print(f"{len(found):,} blobs {'would be' if arguments.dry_run else 'were'} deleted")
    return 0


def rebuild(arguments: Namespace, settings: Settings) -> int:
    """Rebuild the vector store; what is damaged in the packs too is read from its source again."""
    from services.embedded.repair import rebuild_all

    owner = own(settings, "rebuild")
    try:
        results = list(rebuild_all(owner, arguments.name))
    finally:
        owner.close()
    if arguments.json:
        print(json.dumps({"rebuilt": [asdict(result) for result in results]}))
    else:
        for result in results:
            print(f"{result.repo}: {result.error or result.how}")
    return QuarryError.exit_status if any(result.error for result in results) else 0
