"""The index stage: the points of one batch go into the vector store, and are acknowledged once they are on disk."""

from collections.abc import Mapping, Sequence

from services.core.catalog import Catalog
from services.core.errors import InvalidRequest
from services.core.ledger import STARTED_STATES, Batch, BatchState, Job, Ledger
from services.core.manifest import Manifest, ManifestFile
from services.core.pack import Pack
from services.core.ports import BlobStore, VectorWriter
from services.core.vector_blob import VectorBlob
from services.indexer.points import to_points

# The files of a live manifest by path and content digest.
LiveFiles = Mapping[tuple[str, str], ManifestFile]


def live_files(job: Job, *, catalog: Catalog, blobs: BlobStore) -> LiveFiles:
    """Return the live files whose points lie in the same store as the job's, to pass to `index`.

    Stays true as long as the job runs: nothing else commits its repository meanwhile.
    """
    manifest = live_manifest(job, catalog=catalog, blobs=blobs)
    return {(file.path, file.blob): file for file in manifest.files} if manifest else {}


def live_manifest(job: Job, *, catalog: Catalog, blobs: BlobStore) -> Manifest | None:
    """Return the manifest that the job's will replace, None if there is none of the same schema."""
    repo = catalog.get(job.repo)
    if not repo.manifest or repo.schema != job.schema:
        return None
    return Manifest.load(blobs, repo.manifest)


def index(
    batch_id: int, *, ledger: Ledger, blobs: BlobStore, vectors: VectorWriter, live: LiveFiles
) -> list[ManifestFile]:
    """Upsert the points of an embedded batch and return its rows of the manifest; doing it again changes nothing.

    A file whose content is live already under the same path (its time stamp or encoding changed, not
    its text) keeps its live points: writing them again would hide them until the commit, and
    giving the job up would delete them.

    Raises:
        InvalidRequest: the batch is not embedded yet, or its job is over.
        CorruptData: its pack or vectors can't be read or don't belong together.
    """
    batch = ledger.batch(batch_id)
    job = ledger.job(batch.job)
    _check_state(batch, job)
    pack = Pack(blobs.get(batch.pack), batch.pack)
    stored = VectorBlob.unpack(blobs.get(batch.vectors), batch.vectors)
    if stored.model not in job.schema:
        raise InvalidRequest(f"batch {batch_id} was embedded by {stored.model!r}, job {job.id} needs {job.schema!r}")
    same = {file.path for file in pack.files if (file.path, file.blob) in live}
    points = to_points(pack, stored, repo=job.repo, pack_id=batch.pack, generation=job.id, leave_out=same)
    vectors.upsert(points)
    return _rows(pack, batch, live)


def acknowledge(results: Mapping[int, Sequence[ManifestFile]], *, ledger: Ledger, vectors: VectorWriter) -> None:
    """Record batches as indexed, once their points are on disk: batch id → what `index` returned."""
    if results:
        vectors.flush()
        ledger.indexed(dict(results))


def _check_state(batch: Batch, job: Job) -> None:
    # A late message must not bring back points that the job's end has removed.
    if job.state not in STARTED_STATES:
        raise InvalidRequest(f"batch {batch.id} belongs to job {job.id}, which is {job.state.value}; nothing to index")
    if batch.state not in (BatchState.EMBEDDED, BatchState.INDEXED):
        raise InvalidRequest(f"batch {batch.id} is {batch.state.value}, not embedded; embed it first")


def _rows(pack: Pack, batch: Batch, live: LiveFiles) -> list[ManifestFile]:
    rows = []
    for file in pack.files:
        kept = live.get((file.path, file.blob))
        rows.append(
            ManifestFile(
                path=file.path,
                fingerprint=file.fingerprint,
                blob=file.blob,
                size=file.size,
                language=file.language,
                kind=file.kind,
                note=file.note,
                pack=kept.pack if kept else batch.pack,
                vectors=kept.vectors if kept else batch.vectors,
                first=kept.first if kept else file.first,
                count=kept.count if kept else file.count,
            )
        )
    return rows
