"""`quarry cache`, `quarry rebuild` and `quarry doctor`."""

import json
from argparse import Namespace
from dataclasses import asdict

from services.core.errors import CorruptData, QuarryError
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
        problems = list(find_problems(owner))
    finally:
        owner.close()
    if arguments.json:
        print(json.dumps({"problems": [asdict(problem) for problem in problems]}))
    for problem in problems if not arguments.json else ():
        print(f"{problem.where}: {problem.what}\n  remedy: {problem.remedy}")
    if not problems and not arguments.json:
        print("everything stored is whole and agrees")
    return CorruptData.exit_status if problems else 0


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
