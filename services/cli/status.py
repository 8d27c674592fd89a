"""`quarry status`, `quarry repos` and `quarry remove`."""

import json
import os
from argparse import Namespace
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

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
        _print_status(document)
    return 0


def repos(arguments: Namespace, settings: Settings) -> int:
    """List the repositories."""
    known, _ = _read(Home(settings.home))
    if arguments.json:
        print(json.dumps({"repos": [asdict(repo) for repo in known]}))
        return 0
    for repo in known:
        print(f"{repo.name}\t{repo.revision[:16] or 'not indexed yet'}\t{repo.files} files\t{repo.source}")
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


def _with_skips(repo: Repo, blobs: BlobStore | None, *, listed: bool) -> dict[str, Any]:
    document: dict[str, Any] = asdict(repo)
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


def _print_status(document: dict[str, Any]) -> None:
    print(f"data directory {document['home']}")
    for repo in document["repos"]:
        print(f"\n{repo['name']}  ({repo['kind']} {repo['source']}{' @ ' + repo['ref'] if repo['ref'] else ''})")
        if repo["revision"]:
            when = datetime.fromtimestamp(repo["indexed_at"], UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            print(f"  {repo['revision'][:16]}, {repo['files']:,} files, {repo['chunks']:,} chunks, indexed {when}")
        else:
            print("  not indexed yet")
        for reason, count in repo["skipped"].items():
            print(f"  skipped {count:>8,}  {reason}")
        for file in repo.get("cut_by_lines", ()):
            print(f"  cut by lines ({file['reason']})  {file['path']!r}")
        for file in repo.get("skipped_files", ()):
            print(f"  {file['reason']:<12} {file['path']!r}  {file['detail'] or file['explanation']}")
    for job in document["jobs"]:
        print(f"\njob {job['id']} on {job['repo']}: {job['state']} {job['error']}")
