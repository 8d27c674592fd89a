"""The chunking stage: a batch of files in, one pack of their chunks out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.chunker import split as splitter
from services.chunker.classify import kind_of, skip_by_text
from services.chunker.decode import decode
from services.chunker.languages import language_of
from services.core.digest import digest
from services.core.ledger import Batch, BatchState, Ledger
from services.core.model import ChunkedFile, FileRef, Message, ParseNote, Skipped, SkipReason
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
        with _watched(watch, number, ref.locator):
            parts = _split(text, language, split, batch.suspects.get(ref.locator, ""))
        files.append(ChunkedFile(ref, digest(text), language, kind_of(ref.path, text), text, parts.chunks, parts.note))
    return files, skipped


@contextmanager
def _watched(watch: Watch, number: int, locator: str) -> Iterator[None]:
    watch(number, locator)
    try:
        yield
    finally:
        # A file that failed must not be blamed for what takes time after it.
        watch(None, locator)


def _split(text: bytes, language: str, split: SplitText, suspicion: str) -> splitter.Split:
    """Split a text; one that the parser has no room for is cut by lines, or every attempt at its batch would fail."""
    note = suspicion
    if not note:
        try:
            return split(text, language, parse=True)
        except MemoryError:
            note = ParseNote.OUT_OF_MEMORY.value
        except RecursionError:
            note = ParseNote.TOO_DEEP.value
    # Here, not above: as long as the exception is handled, its frames hold the tree.
    return splitter.Split(split(text, language, parse=False).chunks, note)


def _text(ref: FileRef, raw: bytes) -> bytes | Skipped:
    text = decode(raw)
    if isinstance(text, SkipReason):
        return Skipped(ref.path, text)
    if left_out := skip_by_text(ref.path, text):
        return Skipped(ref.path, *left_out)
    return text
