"""The chunking stage: a batch of files in, one pack of their chunks out."""

from collections.abc import Callable

from services.chunker import split as splitter
from services.chunker.classify import kind_of, skip_by_text
from services.chunker.decode import decode
from services.chunker.languages import language_of
from services.core.digest import digest
from services.core.ledger import Batch, BatchState, Ledger
from services.core.model import ChunkedFile, FileRef, Message, Skipped, SkipReason
from services.core.pack import write_pack
from services.core.ports import BlobStore, Emit, Source

# `split.split`, or another of its signature.
SplitText = Callable[..., splitter.Split]
# Told (number in the batch, locator) before a file is parsed and (None, locator) after: whom to blame for a crash.
Watch = Callable[[int | None, str], None]

# Enough for the "#!" line, and for what tells C from C++ headers.
_HEAD_BYTES = 4096


def chunk(
    batch_id: int,
    *,
    ledger: Ledger,
    blobs: BlobStore,
    source: Source,
    emit: Emit,
    split: SplitText = splitter.split,
    watch: Watch = lambda _number, _locator: None,
) -> None:
    """Chunk the files of a planned batch, store their pack and pass the batch on; other batches are left as they are.

    The same files give the same pack, however often this runs. What can't be indexed
    is recorded with its reason; an unexpected error is raised, and the batch stays planned.
    """
    batch = ledger.batch(batch_id)
    if batch.state is BatchState.PLANNED:
        files, skipped = _files(batch, ledger.batch_files(batch_id), source, split, watch)
        pack = blobs.put(write_pack(files))
        ledger.chunked(batch_id, pack=pack, chunks=sum(len(file.chunks) for file in files), skipped=skipped)
    elif batch.state is not BatchState.CHUNKED:
        return
    emit(Message("embed", batch_id))


def _files(
    batch: Batch, refs: list[FileRef], source: Source, split: SplitText, watch: Watch
) -> tuple[list[ChunkedFile], list[Skipped]]:
    files: list[ChunkedFile] = []
    skipped: list[Skipped] = []
    for number, (ref, raw) in enumerate(zip(refs, source.read(refs), strict=True)):
        text = raw if isinstance(raw, Skipped) else _text(ref, raw)
        if isinstance(text, Skipped):
            skipped.append(text)
            continue
        language = language_of(ref.path, text[:_HEAD_BYTES])
        suspicion = batch.suspects.get(ref.locator, "")
        watch(number, ref.locator)
        parts = split(text, language, parse=not suspicion)
        watch(None, ref.locator)
        note = suspicion or parts.note
        files.append(ChunkedFile(ref, digest(text), language, kind_of(ref.path, text), text, parts.chunks, note))
    return files, skipped


def _text(ref: FileRef, raw: bytes) -> bytes | Skipped:
    text = decode(raw)
    if isinstance(text, SkipReason):
        return Skipped(ref.path, text)
    if left_out := skip_by_text(ref.path, text):
        return Skipped(ref.path, *left_out)
    return text
