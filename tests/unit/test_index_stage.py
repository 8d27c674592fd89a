import pytest

from services.core.errors import CorruptData, InvalidRequest
from services.core.ledger import BatchState, JobState
from services.core.ports import Filter
from services.indexer.stage import acknowledge, index, live_files
from tests.fakes import set_back
from tests.indexing_world import SCHEMA, World, expected, vector_blob

FILES = {"a.py": ("one\n", "two\n"), "b.py": ("three\n",), "c.py": ("four\n", "five\n", "six\n")}


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


def stage(world, batch_id, live=()):
    return index(batch_id, ledger=world.ledger, blobs=world.blobs, vectors=world.vectors, live=dict(live))


def test_rows_say_where_each_file_lies(world):
    job = world.start(FILES)
    first, second = world.ledger.batches(job.id)

    rows = stage(world, first.id) + stage(world, second.id)

    assert [(r.path, r.pack, r.vectors, r.first, r.count) for r in rows] == [
        ("a.py", first.pack, first.vectors, 0, 2),
        ("b.py", first.pack, first.vectors, 2, 1),
        ("c.py", second.pack, second.vectors, 0, 3),
    ]


def test_a_first_index_is_searchable_while_it_runs(world):
    job = world.start(FILES)
    stage(world, world.ledger.batches(job.id)[0].id)

    assert world.visible() == expected({path: FILES[path] for path in ("a.py", "b.py")})


def test_indexing_a_batch_again_changes_nothing(world):
    job = world.start(FILES)
    batch = world.ledger.batches(job.id)[0]
    rows = stage(world, batch.id)
    acknowledge({batch.id: rows}, ledger=world.ledger, vectors=world.vectors)

    assert stage(world, batch.id) == rows
    assert world.vectors.count(Filter()) == 3


def test_only_what_is_on_disk_is_acknowledged(world):
    job = world.start(FILES)
    batch = world.ledger.batches(job.id)[0]
    rows = stage(world, batch.id)
    assert world.ledger.batch(batch.id).state is BatchState.EMBEDDED

    acknowledge({batch.id: rows}, ledger=world.ledger, vectors=world.vectors)
    world.vectors.close()
    world.open()

    assert world.ledger.batch(batch.id).state is BatchState.INDEXED
    assert world.vectors.count(Filter()) == 3


def test_a_file_that_only_looks_changed_keeps_its_live_points(world):
    world.put(FILES)
    (before,) = [row for row in world._live("r", SCHEMA).files if row.path == "a.py"]
    touched = world.start(FILES, revision="2", fingerprints={"a.py": "touched"})
    (batch,) = world.ledger.batches(touched.id)

    (row,) = stage(world, batch.id, live_files(touched, catalog=world.catalog, blobs=world.blobs))

    assert world.visible() == expected(FILES)
    assert (row.fingerprint, row.pack, row.vectors) == ("touched", before.pack, before.vectors)


def test_live_files_of_another_schema_are_no_help(world):
    world.put(FILES)
    job = world.start(FILES, revision="2", schema=SCHEMA + "-new")

    assert live_files(job, catalog=world.catalog, blobs=world.blobs) == {}


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED])
def test_a_late_message_of_a_job_that_is_over_is_refused(world, state):
    job = world.start(FILES)
    world.ledger.finish_job(job.id, state)

    with pytest.raises(InvalidRequest, match=state.value):
        stage(world, world.ledger.batches(job.id)[0].id)

    assert world.vectors.count(Filter()) == 0


def test_a_batch_that_is_not_embedded_is_refused(world):
    job = world.start(FILES)
    batch = world.ledger.batches(job.id)[0]
    set_back(world.ledger, batch.id, "chunked")

    with pytest.raises(InvalidRequest, match="chunked, not embedded"):
        stage(world, batch.id)


@pytest.mark.parametrize(
    ("blob", "error"),
    [(vector_blob(2), CorruptData), (vector_blob(3, model="other"), InvalidRequest)],
)
def test_vectors_that_do_not_belong_to_the_batch_are_refused(world, blob, error):
    job = world.start(FILES)
    batch = world.ledger.batches(job.id)[0]
    set_back(world.ledger, batch.id, "chunked")
    world.ledger.embedded(batch.id, vectors=world.blobs.put(blob.pack()), embedded=3, cached=0)

    with pytest.raises(error):
        stage(world, batch.id)

    assert world.vectors.count(Filter()) == 0
