"""The commit: one ordered update makes a revision live and removes what it replaced.

A search names the generations it must not see, as the ledger says when it
begins. So the order is: mark the replaced points (nobody looks at the mark
yet), flip the revision in the ledger (from here searches pass over the marked
points and see the new ones), let the searches that began before it end, and
only then delete. Every step may be repeated, and a process may die between any two.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from uuid import UUID

from services.core.catalog import Catalog, Repo
from services.core.errors import CorruptData, InvalidRequest, NotFound
from services.core.ledger import OPEN_STATES, STARTED_STATES, BatchState, Cleanup, Job, JobState, Ledger
from services.core.manifest import Manifest, ManifestFile
from services.core.pack import Pack
from services.core.ports import BlobStore, Points, VectorWriter
from services.core.vector_blob import VectorBlob
from services.indexer.points import to_points
from services.indexer.stage import live_manifest

# How many ids are handed over at once; the store cuts them further.
_RETIRED_AT_ONCE = 10_000


def commit(
    job_id: int,
    *,
    ledger: Ledger,
    catalog: Catalog,
    blobs: BlobStore,
    vectors: VectorWriter,
    barrier: Callable[[], object] = lambda: None,
    figures: Callable[[Manifest], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Make the job's revision live and return its counts; a job that is live already is only cleaned up.

    `barrier` returns once the searches begun before the call have ended. `figures` makes the counts
    that are kept with the job from the new manifest.

    Raises:
        InvalidRequest: the job is over, or not all of its batches are indexed.
    """
    job = go_live(job_id, ledger=ledger, catalog=catalog, blobs=blobs, vectors=vectors, figures=figures)
    clean_up(job, ledger=ledger, vectors=vectors, barrier=barrier)
    return job.counts


def go_live(
    job_id: int,
    *,
    ledger: Ledger,
    catalog: Catalog,
    blobs: BlobStore,
    vectors: VectorWriter,
    figures: Callable[[Manifest], dict[str, Any]] | None = None,
) -> Job:
    """Do the first half of `commit`: make the job's revision live; what it replaced is left to `clean_up`.

    Raises:
        InvalidRequest: the job is over, or not all of its batches are indexed.
    """
    job = ledger.job(job_id)
    if job.state is JobState.DONE:
        return job
    manifest = _new_manifest(job, ledger=ledger, blobs=blobs)
    old = live_manifest(job, catalog=catalog, blobs=blobs)
    for ids in _slices(replaced_points(old, manifest)):
        vectors.retire(ids, job.id)
    vectors.flush()
    digest = manifest.store(blobs)
    counts = figures(manifest) if figures else _counts(manifest, job, ledger)
    ledger.commit_job(job, catalog, manifest, digest, counts)
    return ledger.job(job_id)


def clean_up(job: Job, *, ledger: Ledger, vectors: VectorWriter, barrier: Callable[[], object] = lambda: None) -> None:
    """Delete the points that a job has left: those it replaced, or its own if it never went live."""
    if job.cleanup is Cleanup.NOTHING:
        return
    barrier()
    if job.cleanup is Cleanup.RETIRED:
        vectors.purge(retired_by=job.id)
    else:
        vectors.purge(generation=job.id)
    vectors.flush()
    ledger.cleaned(job.id)


class RepoPurger(Protocol):
    """As much of a `VectorWriter` as a removal needs."""

    def purge(self, *, repo: str) -> None:
        """Delete the points of a repository."""

    def flush(self) -> None:
        """Return once everything written before is on disk."""


def remove(name: str, *, ledger: Ledger, catalog: Catalog, vectors: RepoPurger) -> None:
    """Take a repository out of the searches and the catalog; repeat it if it was cut short.

    Its open jobs fail. What one that is running now may still write is hidden by the ledger
    until its `clean_up`. The blobs stay until they are collected.
    """
    pending = ledger.jobs(name, cleanups=(Cleanup.RETIRED, Cleanup.STAGED))
    for job in ledger.jobs(name, OPEN_STATES):
        ledger.finish_job(job.id, JobState.FAILED, error=f"repository {name!r} was removed")
    # Without a live manifest nothing counts on the points any more, wherever this is cut short;
    # the catalog's row goes last, so that the command can be repeated.
    catalog.forget_revision(name)
    vectors.purge(repo=name)
    vectors.flush()
    for job in pending:
        ledger.cleaned(job.id)
    catalog.remove(name)


def purge_unindexed(*, ledger: Ledger, catalog: Catalog, vectors: VectorWriter) -> None:
    """Delete what a `remove` that was cut short has left; call it when a store is opened, with `clean_up`.

    Such a repository has neither a live revision nor a started job, and an index of it
    that starts from nothing would not know of the old points.
    """
    started = {job.repo for job in ledger.jobs(states=STARTED_STATES)}
    for repo in catalog.list():
        if not repo.revision and repo.name not in started:
            vectors.purge(repo=repo.name)


def rebuild(name: str, *, ledger: Ledger, catalog: Catalog, blobs: BlobStore, vectors: VectorWriter) -> int:
    """Write the points of a live revision again, without the embedder, and return how many there are.

    All other points of the repository are removed, so no job on it may be open.

    Raises:
        NotFound: there is no such repository, it was never indexed, or a blob is gone.
        CorruptData: the manifest, a pack or its vectors can't be read.
    """
    repo = catalog.get(name)
    if not repo.manifest:
        raise NotFound(f"repository {name!r} has no revision to rebuild; index it first")
    manifest = Manifest.load(blobs, repo.manifest)
    vectors.purge(repo=name)
    generation = live_generation(repo, ledger)
    for files in by_pack(manifest):
        vectors.upsert(points_of_pack(files, repo=name, generation=generation, blobs=blobs))
    vectors.flush()
    return manifest.chunks


def by_pack(manifest: Manifest) -> Iterable[list[ManifestFile]]:
    """Return the files of a manifest, those of one pack and blob of vectors together."""
    found: dict[tuple[str, str], list[ManifestFile]] = defaultdict(list)
    for file in manifest.files:
        found[file.pack, file.vectors].append(file)
    return found.values()


def points_of_pack(files: list[ManifestFile], *, repo: str, generation: int, blobs: BlobStore) -> Points:
    """Return the points of `files`, which share a pack and a blob of vectors, from what is stored.

    Raises:
        NotFound: one of the blobs is gone.
        CorruptData: one is damaged, or they don't hold the files.
    """
    pack_id, vectors_id = files[0].pack, files[0].vectors
    pack = Pack(blobs.get(pack_id), pack_id)
    stored = VectorBlob.unpack(blobs.get(vectors_id), vectors_id)
    others = _other_paths(pack, pack_id, files)
    return to_points(pack, stored, repo=repo, pack_id=pack_id, generation=generation, leave_out=others)


def live_generation(repo: Repo, ledger: Ledger) -> int:
    """Return the generation that the points of a live revision may carry when they are written again."""
    # Never one whose own points are still to be purged. 0 belongs to no job, so that nothing purges it.
    of_job = (repo.revision, repo.schema)
    done = ledger.jobs(repo.name, (JobState.DONE,), (Cleanup.NOTHING, Cleanup.RETIRED))
    return max((job.id for job in done if (job.revision, job.schema) == of_job), default=0)


def replaced_points(old: Manifest | None, new: Manifest) -> Iterable[UUID]:
    """Yield the ids of the points of `old` that are not in `new`."""
    if old is None:
        return
    kept = {(file.path, file.blob) for file in new.files}
    for file in old.files:
        if (file.path, file.blob) not in kept:
            yield from file.point_ids(old.repo)


def garbage(blobs: BlobStore, *, catalog: Catalog, ledger: Ledger, older_than_s: float = 0.0) -> set[str]:
    """Return the digests of the blobs that no live manifest and no open job refers to, last stored so long ago.

    A blob is stored before the ledger knows of it, so without an age they may be deleted only while no
    stage runs. A search under way may still read an old pack, so wait for those too.
    """
    return set(blobs.digests(older_than_s=older_than_s)).difference(referenced(blobs, catalog=catalog, ledger=ledger))


def referenced(blobs: BlobStore, *, catalog: Catalog, ledger: Ledger) -> Iterable[str]:
    """Yield the digests of the blobs that a live manifest or an open or retryable job refers to, and "".

    Raises:
        NotFound: a manifest is gone.
        CorruptData: a manifest can't be read.
    """
    manifests = set()
    # A failed job can be retried as long as its batches are there.
    for job in ledger.jobs(states=(*OPEN_STATES, JobState.FAILED)):
        batches = ledger.batches(job.id)
        manifests |= {job.plan} if job.plan and (batches or job.state is not JobState.FAILED) else set()
        for batch in batches:
            yield from (batch.pack, batch.vectors, batch.source)
    # After the jobs: one that goes live meanwhile is found here, or was found there.
    manifests |= catalog.manifests()
    for digest in manifests:
        yield digest
        for file in Manifest.load(blobs, digest).files:
            yield from (file.pack, file.vectors)


def _new_manifest(job: Job, *, ledger: Ledger, blobs: BlobStore) -> Manifest:
    if job.state not in STARTED_STATES:
        raise InvalidRequest(f"job {job.id} is {job.state.value}; only a running job can be committed")
    waiting = [batch.id for batch in ledger.batches(job.id) if batch.state is not BatchState.INDEXED]
    if waiting:
        raise InvalidRequest(f"{len(waiting)} batches of job {job.id} are not indexed yet, the first is {waiting[0]}")
    plan = Manifest.load(blobs, job.plan)
    files, skipped = ledger.results(job.id)
    by_path = {file.path: file for file in (*plan.files, *files)}
    left_out = {skip.path: skip for skip in (*plan.skipped, *skipped)}
    return Manifest(
        repo=job.repo,
        revision=job.revision,
        schema=job.schema,
        files=tuple(by_path[path] for path in sorted(by_path)),
        skipped=tuple(left_out[path] for path in sorted(left_out)),
    )


def _other_paths(pack: Pack, pack_id: str, files: list[ManifestFile]) -> set[str]:
    held = {(file.path, file.blob, file.count) for file in pack.files}
    wanted = {(file.path, file.blob, file.count) for file in files}
    if missing := wanted - held:
        raise CorruptData(f"pack {pack_id} does not hold {min(missing)[0]!r} as its manifest says; index it again")
    return {path for path, _blob, _count in held - wanted}


def _counts(manifest: Manifest, job: Job, ledger: Ledger) -> dict[str, Any]:
    progress = ledger.progress(job.id)
    return {
        "files": len(manifest.files),
        "changed": progress.files,
        "chunks": manifest.chunks,
        "embedded": progress.embedded,
        "cached": progress.cached,
        "skipped": manifest.skip_counts(),
    }


def _slices(ids: Iterable[UUID]) -> Iterable[list[UUID]]:
    part: list[UUID] = []
    for point in ids:
        part.append(point)
        if len(part) == _RETIRED_AT_ONCE:
            yield part
            part = []
    if part:
        yield part
