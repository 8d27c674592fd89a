"""Which revision of a repository there is now, and what it is read by."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.chunker import git, mirror
from services.chunker.source import Limits, open_source
from services.core.catalog import Repo
from services.core.ports import Source
from services.embedded.owner import Owner


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision found: `id` names it; `kind` and `location` are what any process can open it by."""

    id: str
    kind: str
    location: str
    source: Source


@contextmanager
def find_revision(owner: Owner, repo: Repo) -> Iterator[Revision]:
    """Give the newest revision of a repository, fetching it if it is somewhere else.

    Raises:
        QuarryError: the repository is not there, has no such ref, or its server does not answer.
    """
    limits = Limits(max_file_bytes=owner.settings.max_file_bytes)
    kind, location, revision = repo.kind, repo.source, ""
    if kind == "url":
        protocols = mirror.protocols_for(repo.source, owner.settings.allowed_git_hosts)
        directory, revision = mirror.fetch(repo.source, owner.home.mirrors, repo.ref, allow_protocols=protocols)
        kind, location = "git", str(directory)
    elif kind == "git":
        revision = git.resolve(Path(repo.source), repo.ref)
    with open_source(kind, location, revision, limits) as source:
        yield Revision(revision or source.revision(), kind, location, source)
