"""Removing a repository: from the searches, the catalog, and, when nothing runs, from the disk."""

import logging
import shutil

from services.chunker.mirror import mirror_folder
from services.core.errors import QuarryError
from services.embedded.owner import Owner
from services.indexer.commit import garbage, remove

log = logging.getLogger(__name__)


def remove_repository(owner: Owner, name: str, *, idle: bool) -> None:
    """Remove a repository and, if `idle` says that no job runs, the blobs nobody else refers to.

    Raises:
        NotFound: there is none of that name.
    """
    repo = owner.catalog.get(name)
    remove(name, ledger=owner.ledger, catalog=owner.catalog, vectors=owner.vectors)
    if repo.kind == "url":
        shutil.rmtree(mirror_folder(repo.source, owner.home.mirrors), ignore_errors=True)
    if idle:
        _collect(owner)


def _collect(owner: Owner) -> None:
    # Searches that began before may still read the texts.
    owner.barrier.wait()
    try:
        for digest in garbage(owner.blobs, catalog=owner.catalog, ledger=owner.ledger):
            owner.blobs.delete(digest)
    except QuarryError as error:
        # A damaged manifest: what it refers to is not known, so nothing is deleted.
        log.warning("blobs_not_collected", extra={"error": str(error)})
