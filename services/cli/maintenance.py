"""`quarry cache`, `quarry rebuild` and `quarry doctor`."""

import json
import shutil
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from services.core.errors import CorruptData, NotFound
from services.core.settings import Settings
from services.core.wiring import open_cache
from services.embedded.access import own
from services.embedded.home import Home
from services.embedded.owner import Owner


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
    owner = own(settings, "rebuild")
    try:
        if arguments.name:
            owner.catalog.get(arguments.name)
        else:
            shutil.rmtree(owner.home.vectors(owner.schema), ignore_errors=True)
        results = dict(_rebuilt(owner, arguments.name))
    finally:
        owner.close()
    if arguments.json:
        print(json.dumps({"rebuilt": results}))
    else:
        for name, how in results.items():
            print(f"{name}: {how}")
    return 0


def _rebuilt(owner: Owner, name: str | None) -> Iterator[tuple[str, Any]]:
    from services.embedded.jobs import run_now
    from services.indexer.commit import rebuild as rebuild_points

    for repo in owner.catalog.list():
        if not repo.revision or name not in (None, repo.name):
            continue
        try:
            if repo.schema != owner.schema:
                raise NotFound("indexed with another model or version")
            points = rebuild_points(
                repo.name, ledger=owner.ledger, catalog=owner.catalog, blobs=owner.blobs, vectors=owner.vectors
            )
            yield repo.name, f"{points} points from the stored packs"
        except (CorruptData, NotFound) as error:
            owner.vectors.purge(repo=repo.name)
            owner.catalog.forget_revision(repo.name)
            counts = run_now(owner, repo)
            yield repo.name, f"{counts['files']} files read from {repo.source} again ({error})"
