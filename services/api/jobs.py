"""Jobs and repositories as the API shows them, and who carries out what is asked of them."""

from dataclasses import asdict
from typing import Any, Protocol

from services.api.permalink import public_source
from services.core.catalog import Repo
from services.core.ledger import Job, Progress
from services.core.manifest import Manifest
from services.core.model import Skipped


class Jobs(Protocol):
    """Whoever indexes and removes repositories."""

    def submit(self, location: str, name: str | None = None, ref: str | None = None) -> int:
        """Queue an index of a path or URL and return the job's id.

        Raises:
            InvalidRequest: the location or name can't be used.
        """

    def look(self, name: str) -> int:
        """Queue a look at a repository, because something says that it has changed, and return the job's id.

        Raises:
            NotFound: there is none of that name.
            QueueFull: too many jobs wait already.
        """

    def retry(self, job_id: int) -> int:
        """Queue a failed job again and return the id of the job that does it.

        Raises:
            NotFound: there is none of that id.
            InvalidRequest: it has not failed.
        """

    def remove(self, name: str) -> None:
        """Remove a repository.

        Raises:
            NotFound: there is none of that name.
        """


def job_document(job: Job, progress: Progress) -> dict[str, Any]:
    """Return a job as JSON."""
    return {
        "id": job.id,
        "repo": job.repo,
        "state": job.state.value,
        "revision": job.revision,
        "first": job.first,
        "progress": asdict(progress),
        "counts": job.counts,
        "error": job.error,
        "created_at": job.created_at,
        "finished_at": job.finished_at,
    }


def repo_document(repo: Repo, open_job: Job | None) -> dict[str, Any]:
    """Return a repository as JSON; `open_job` is the one that is waiting or running."""
    return {
        "name": repo.name,
        "kind": repo.kind,
        "source": public_source(repo.source),
        "ref": repo.ref,
        "revision": repo.revision,
        "files": repo.files,
        "chunks": repo.chunks,
        "created_at": repo.created_at,
        "indexed_at": repo.indexed_at,
        "state": "indexed" if repo.revision else "indexing" if open_job else "not_indexed",
        "job": {"id": open_job.id, "state": open_job.state.value} if open_job else None,
    }


def skipped_document(skipped: Skipped) -> dict[str, str]:
    """Return a skipped file as JSON."""
    return {
        "path": skipped.path,
        "reason": skipped.reason.value,
        "explanation": skipped.reason.explanation,
        "detail": skipped.detail,
    }


def explain_path(manifest: Manifest | None, path: str) -> dict[str, Any]:
    """Return why a file is found, or not: its state is indexed, skipped or unknown."""
    path = path.strip().removeprefix("./").strip("/")
    for file in manifest.files if manifest else ():
        if file.path == path:
            return {"path": path, "state": "indexed", "language": file.language, "kind": file.kind, "note": file.note}
    for skipped in manifest.skipped if manifest else ():
        # A skipped folder stands for everything below it.
        if path == skipped.path.rstrip("/") or path.startswith(f"{skipped.path.rstrip('/')}/"):
            return skipped_document(skipped) | {"path": path, "state": "skipped", "skipped_path": skipped.path}
    return {"path": path, "state": "unknown", "explanation": "the indexed revision has no such file"}
