"""`quarry rebuild`: the vector store made anew from what is stored, and what is damaged there from its source."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from services.core.catalog import Repo
from services.core.errors import CorruptData, NotFound, QuarryError
from services.core.ledger import STARTED_STATES, JobState
from services.embedded.indexing import clean_up_job
from services.embedded.jobs import run_now
from services.embedded.owner import Owner
from services.indexer.commit import rebuild


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of a repository: `how` its points were made, or the `error` that prevented it."""

    repo: str
    how: str = ""
    error: str = ""


def rebuild_all(owner: Owner, name: str | None) -> Iterator[Rebuilt]:
    """Rebuild the points of repository `name`, or of all; one that fails does not keep the others from it.

    Raises:
        NotFound: there is no repository of that name.
    """
    repos = [owner.catalog.get(name)] if name else owner.catalog.list()
    if not name:
        shutil.rmtree(owner.home.vectors(owner.schema), ignore_errors=True)
    for repo in repos:
        _give_up_jobs(owner, repo)
    for repo in repos:
        if repo.revision:
            yield _rebuild(owner, repo)


def _give_up_jobs(owner: Owner, repo: Repo) -> None:
    # Their batches count on points that are removed here.
    for job in owner.ledger.jobs(repo.name, STARTED_STATES):
        owner.ledger.finish_job(job.id, JobState.FAILED, error="the vector store was rebuilt; index again")
        clean_up_job(owner, job.id)


def _rebuild(owner: Owner, repo: Repo) -> Rebuilt:
    try:
        if repo.schema != owner.schema:
            raise NotFound("indexed with another model or version")
        points = rebuild(
            repo.name, ledger=owner.ledger, catalog=owner.catalog, blobs=owner.blobs, vectors=owner.vectors
        )
        return Rebuilt(repo.name, f"{points:,} points from the stored packs")
    except (CorruptData, NotFound) as damage:
        return _read_again(owner, repo, damage)


def _read_again(owner: Owner, repo: Repo, damage: QuarryError) -> Rebuilt:
    owner.catalog.forget_revision(repo.name)
    try:
        counts = run_now(owner, repo)
    except QuarryError as error:
        return Rebuilt(repo.name, error=f"{damage}; reading it again from {repo.source!r} failed: {error}")
    return Rebuilt(repo.name, f"{counts['files']:,} files read again from {repo.source!r} ({damage})")
