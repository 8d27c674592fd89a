import pytest

from services.core.catalog import Catalog
from services.core.database import open_database
from services.core.errors import CorruptData, InvalidRequest, NotFound
from services.core.ledger import BatchState, Cleanup, JobState, Ledger
from services.core.manifest import Manifest, ManifestFile
from services.core.model import FileRef, Skipped, SkipReason

REFS = [FileRef("a.py", "a.py", "1:1", 5), FileRef("b.py", "b.py", "1:2", 7)]
ROW = ManifestFile("a.py", "1:1", "blob", 5, "python", "code", "", "pack", "vecs", 0, 1)


@pytest.fixture
def engine(tmp_path):
    engine = open_database(tmp_path / "catalog.db")
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(engine):
    return Ledger(engine)


def started(ledger, *, first=False, batches=(REFS,)):
    job = ledger.create_job("r")
    ledger.start_job(job.id, revision="1", schema="s", plan="p", first=first, batches=batches)
    return ledger.job(job.id)


def test_a_batch_moves_on_by_one_state_with_each_stage(ledger):
    job = started(ledger)
    (batch,) = ledger.batches(job.id)

    ledger.chunked(batch.id, pack="pack", chunks=3, skipped=[Skipped("b.py", SkipReason.BINARY)])
    ledger.embedded(batch.id, vectors="vecs", embedded=2, cached=1)
    ledger.indexed({batch.id: [ROW]})

    assert ledger.batch(batch.id).state is BatchState.INDEXED
    assert ledger.results(job.id) == ([ROW], [Skipped("b.py", SkipReason.BINARY)])
    progress = ledger.progress(job.id)
    assert (progress.files, progress.files_indexed, progress.chunks, progress.cached) == (2, 2, 3, 1)


def test_a_late_message_does_not_take_a_batch_back(ledger):
    batch = ledger.batches(started(ledger).id)[0]
    ledger.chunked(batch.id, pack="pack", chunks=3, skipped=[])
    ledger.embedded(batch.id, vectors="vecs", embedded=3, cached=0)

    ledger.chunked(batch.id, pack="late", chunks=9, skipped=[])

    assert (ledger.batch(batch.id).state, ledger.batch(batch.id).pack) == (BatchState.EMBEDDED, "pack")


def test_the_files_of_a_batch_come_back_as_they_were(ledger):
    odd = FileRef("n\n\\xff", "n\n\udcff", "1:1", 5)
    job = started(ledger, batches=[[odd]])

    assert ledger.batch_files(ledger.batches(job.id)[0].id) == [odd]


def test_a_batch_is_dead_after_the_last_attempt_and_keeps_its_error(ledger):
    batch = ledger.batches(started(ledger).id)[0]

    states = [ledger.failed(batch.id, f"boom {i}", 3).state for i in range(3)]

    assert states == [BatchState.PLANNED, BatchState.PLANNED, BatchState.DEAD]
    assert ledger.batch(batch.id).error == "boom 2"


def test_a_named_suspect_does_not_count_as_an_attempt_at_the_rest(ledger):
    batch = ledger.batches(started(ledger).id)[0]

    for name in "abcdef":
        ledger.failed(batch.id, "crashed", 3, {name: "parser_crashed"})

    assert ledger.batch(batch.id).state is BatchState.PLANNED
    assert len(ledger.batch(batch.id).suspects) == 6
    for _ in range(3):
        ledger.failed(batch.id, "crashed", 3, {"a": "parser_crashed"})
    assert ledger.batch(batch.id).state is BatchState.DEAD


def test_points_of_an_update_are_fenced_until_it_is_committed(ledger, engine):
    catalog = Catalog(engine)
    catalog.add("r", "git", "/r", "")
    job = started(ledger)
    assert ledger.fences().staged == (job.id,)

    ledger.commit_job(job, catalog, Manifest("r", "1", "s"), "digest", {"files": 0})

    assert (ledger.fences().staged, ledger.fences().retired) == ((), (job.id,))
    assert catalog.get("r").revision == "1"
    ledger.cleaned(job.id)
    assert ledger.fences().retired == ()


def test_a_first_index_is_visible_while_it_runs(ledger):
    started(ledger, first=True)

    assert ledger.fences().staged == ()


def test_points_of_a_failed_job_stay_fenced_until_they_are_cleaned_up(ledger):
    job = started(ledger, first=True)

    ledger.finish_job(job.id, JobState.FAILED, error="boom")

    assert ledger.job(job.id).cleanup is Cleanup.STAGED
    assert ledger.fences().staged == (job.id,)


def test_an_interrupted_job_goes_on_with_the_batches_it_has(ledger):
    job = started(ledger)
    ledger.interrupt_job(job.id, error="disk full", code="unavailable")
    assert ledger.job(job.id).counts == {"code": "unavailable"}

    ledger.resume_job(job.id)

    assert ledger.job(job.id).state is JobState.RUNNING
    assert len(ledger.batches(job.id)) == 1


def test_a_job_is_started_once_and_ends_once(ledger, engine):
    job = started(ledger)

    with pytest.raises(InvalidRequest, match="is running"):
        ledger.start_job(job.id, revision="2", schema="s", plan="p", first=False, batches=[REFS])
    ledger.finish_job(job.id, JobState.FAILED, error="boom")
    with pytest.raises(InvalidRequest, match="is failed"):
        ledger.commit_job(job, Catalog(engine), Manifest("r", "1", "s"), "digest", {})
    with pytest.raises(InvalidRequest, match="is failed"):
        ledger.finish_job(job.id, JobState.DONE)


def test_a_number_of_a_job_is_never_used_again(ledger, engine):
    last = ledger.create_job("r").id
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM jobs")

    assert ledger.create_job("r").id > last


def test_what_is_not_there_is_not_found(ledger, engine):
    for look in (lambda: ledger.job(7), lambda: ledger.batch(7), lambda: Catalog(engine).get("nope")):
        with pytest.raises(NotFound):
            look()


def test_a_name_belongs_to_one_source(engine):
    catalog = Catalog(engine)
    catalog.add("r", "git", "/r", "")

    assert catalog.add("r", "directory", "/r", "main").kind == "directory"
    with pytest.raises(InvalidRequest, match="--name"):
        catalog.add("r", "git", "/other", "")


def test_a_file_that_is_no_database_is_reported_as_damaged(tmp_path):
    path = tmp_path / "catalog.db"
    path.write_bytes(b"this is not a database, not at all, by no means" * 100)

    with pytest.raises(CorruptData, match=r"catalog\.db"):
        open_database(path)


def test_a_database_of_another_version_is_refused(tmp_path, engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE meta SET version = 99")

    with pytest.raises(InvalidRequest, match="version 99"):
        open_database(tmp_path / "catalog.db")
