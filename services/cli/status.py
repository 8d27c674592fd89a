"""`quarry status`, `quarry repos` and `quarry remove`."""

import json
import os
from argparse import Namespace
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from services.cli.render import print_repos, print_status
from services.core.catalog import Catalog, Repo
from services.core.database import open_database
from services.core.errors import NotFound
from services.core.ledger import OPEN_STATES, Job, Ledger
from services.core.manifest import Manifest
from services.core.ports import BlobStore
from services.core.settings import Settings
from services.core.wiring import open_blobs
from services.embedded.access import persist, reach
from services.embedded.client import OwnerClient
from services.embedded.home import Home
from services.embedded.owner import Owner


def status(arguments: Namespace, settings: Settings) -> int:
    """Show every repository with its revision, what was left out of it and why, and the jobs in hand."""
    home = Home(settings.home)
    repos, jobs = _read(home, arguments.name)
    blobs = open_blobs(home.blobs) if repos else None
    document = {
        "home": os.path.realpath(home.root),
        "repos": [_with_skips(repo, blobs, listed=arguments.skipped) for repo in repos],
        "jobs": [_job(job) for job in jobs],
    }
    if arguments.json:
        print(json.dumps(document))
    else:
        print_status(document)
    return 0


def repos(arguments: Namespace, settings: Settings) -> int:
    """List the repositories."""
    known, _ = _read(Home(settings.home))
    if arguments.json:
        print(json.dumps({"repos": [_document(repo) for repo in known]}))
    else:
        print_repos(map(_document, known))
    return 0


def remove(arguments: Namespace, settings: Settings) -> int:
    """Remove a repository from the index."""
    persist(lambda: _remove(reach(settings, "remove"), arguments.name))
    print(json.dumps({"removed": arguments.name}) if arguments.json else f"removed {arguments.name}")
    return 0


def _remove(access: Owner | OwnerClient, name: str) -> None:
    if isinstance(access, OwnerClient):
        access.delete(f"/v1/repos/{quote(name, safe='', errors='surrogateescape')}")
        return
    # Only here: the commands that read should not wait for NumPy.
    from services.embedded.removal import remove_repository

    try:
        remove_repository(access, name, idle=True)
    finally:
        access.close()


def _read(home: Home, name: str | None = None) -> tuple[list[Repo], list[Job]]:
    if not home.is_used():
        if name:
            raise NotFound(f"there is no repository {name!r}: nothing is indexed in {str(home.root)!r}")
        return [], []
    engine = open_database(home.database)
    catalog = Catalog(engine)
    return [catalog.get(name)] if name else catalog.list(), Ledger(engine).jobs(name or None, OPEN_STATES)


def _document(repo: Repo) -> dict[str, Any]:
    """Return a repository for everybody to see."""
    document = asdict(repo)
    del document["webhook_secret"]
    return document


def _with_skips(repo: Repo, blobs: BlobStore | None, *, listed: bool) -> dict[str, Any]:
    document = _document(repo)
    if blobs is None or not repo.manifest:
        return document | {"skipped": {}}
    manifest = Manifest.load(blobs, repo.manifest)
    document["skipped"] = manifest.skip_counts()
    document["cut_by_lines"] = [{"path": f.path, "reason": f.note} for f in manifest.files if f.note]
    if listed:
        document["skipped_files"] = [
            {"path": s.path, "reason": s.reason.value, "explanation": s.reason.explanation, "detail": s.detail}
            for s in manifest.skipped
        ]
    return document


def _job(job: Job) -> dict[str, Any]:
    return {"id": job.id, "repo": job.repo, "state": job.state.value, "revision": job.revision, "error": job.error}
