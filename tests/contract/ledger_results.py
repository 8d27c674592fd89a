"""Jobs and batches as the stages leave them in a ledger, and calls from many threads."""

from concurrent.futures import ThreadPoolExecutor

from services.core.manifest import ManifestFile
from services.core.model import FileRef, Skipped, SkipReason

REFS = [FileRef("a.py", "a.py", "1:1", 5), FileRef("n\n\\xff", "n\n\udcff", "1:2", 7)]
ROW = ManifestFile("a.py", "1:1", "blob", 5, "python", "code", "", "pack", "vecs", 0, 1)
SKIPPED = Skipped("n\n\\xff", SkipReason.BINARY, "said the chunker")
AT_ONCE = 8


def started(ledger, repo="r", *, first=False, batches=(REFS,)):
    job = ledger.create_job(repo)
    ledger.start_job(job.id, revision="1", schema="s", plan="p", first=first, batches=batches)
    return ledger.job(job.id)


def finished(ledger, batch_id):
    ledger.chunked(batch_id, pack="pack", chunks=3, skipped=[SKIPPED])
    ledger.embedded(batch_id, vectors="vecs", embedded=2, cached=1)
    ledger.indexed({batch_id: [ROW]})


def in_threads(call):
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(call, range(AT_ONCE)))


def caller(engine):
    """Return what calls `call(number)` in threads; one by one in SQLite, where one process does one job at a time."""
    return in_threads if engine.dialect.name == "postgresql" else lambda call: [call(n) for n in range(AT_ONCE)]
