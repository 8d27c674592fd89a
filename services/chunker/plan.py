"""What a new revision costs: which files are kept as they are indexed, and which are chunked again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.chunker.decode import decode
from services.core.digest import digest
from services.core.errors import InvalidRequest
from services.core.manifest import Manifest, ManifestFile
from services.core.model import FileRef, Skipped
from services.core.ports import Source

# A smaller batch costs more in bookkeeping than in work; a larger count of files makes one failure dear.
_MIN_BATCH_BYTES = 256 << 10
_MAX_BATCH_FILES = 512
# Batches a worker should get of one job, so that none is left waiting for a straggler.
_BATCHES_PER_WORKER = 8
# Into how many the last batch of each worker is cut: when the last is chunked and embedded, nobody but the indexer
# has something to do.
_LAST_PARTS = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """A listing taken apart: every file is in exactly one of the three."""

    keep: list[ManifestFile]
    chunk: list[FileRef]
    skipped: list[Skipped]


def make_plan(
    repo: str, refs: Sequence[FileRef], skipped: Sequence[Skipped], base: Manifest | None, source: Source
) -> Plan:
    """Compare a listing with the live manifest of `repo`; with nothing where that was made by another schema.

    A file whose time stamp alone changed is read from `source` and kept if its text is the same.

    Raises:
        InvalidRequest: the manifest is another repository's, whose points are not this one's.
    """
    if base is not None and base.repo != repo:
        raise InvalidRequest(f"a manifest of {base.repo!r} can't be the base of {repo!r}")
    known = {file.path: file for file in base.files} if base else {}
    plan = Plan([], [], list(skipped))
    doubtful: list[FileRef] = []
    for ref in refs:
        file = known.get(ref.path)
        if file is not None and file.fingerprint == ref.fingerprint:
            plan.keep.append(file)
        elif file is not None and file.size == ref.size and not ref.fingerprint.startswith("git:"):
            doubtful.append(ref)
        else:
            plan.chunk.append(ref)
    _settle(doubtful, known, source, plan)
    return plan


def _settle(doubtful: list[FileRef], known: dict[str, ManifestFile], source: Source, plan: Plan) -> None:
    """Read files of which only the content can tell whether they changed."""
    for ref, raw in zip(doubtful, source.read(doubtful), strict=True):
        if isinstance(raw, Skipped):
            plan.skipped.append(raw)
            continue
        text = decode(raw)
        file = known[ref.path]
        if isinstance(text, bytes) and digest(text) == file.blob:
            plan.keep.append(replace(file, fingerprint=ref.fingerprint))
        else:
            plan.chunk.append(ref)


def batches(refs: Sequence[FileRef], *, workers: int, batch_bytes: int) -> list[list[FileRef]]:
    """Cut files into batches, in order: at least 256 KiB of source where there is so much, at most `batch_bytes`.

    The last ones are smaller. A file larger than a batch is one of its own; no batch is empty.
    """
    left_bytes = sum(ref.size for ref in refs)
    limit_bytes = min(batch_bytes, max(_MIN_BATCH_BYTES, left_bytes // (workers * _BATCHES_PER_WORKER)))
    last_bytes = min(limit_bytes, max(_MIN_BATCH_BYTES, limit_bytes // _LAST_PARTS))
    out: list[list[FileRef]] = []
    free_bytes = 0
    for ref in refs:
        if not out or ref.size > free_bytes or len(out[-1]) == _MAX_BATCH_FILES:
            out.append([])
            free_bytes = limit_bytes if left_bytes > workers * limit_bytes else last_bytes
        out[-1].append(ref)
        free_bytes -= ref.size
        left_bytes -= ref.size
    return out
