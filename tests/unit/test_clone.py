"""Claims about planning from a git server: what is fetched, what is packed for the chunkers, and who is told."""

import pytest

from loadtest.forge import Forge
from services.chunker.clone import Cloner, GitServers
from services.chunker.look import look
from services.chunker.source import Limits
from services.chunker.source_pack import PackedSource
from services.core.catalog import Catalog, Schema
from services.core.database import open_database
from services.core.desk import Desk
from services.core.errors import InvalidRequest, NotFound, Unreachable
from services.core.leases import Priority
from services.core.ledger import BatchState, JobState, Ledger
from services.core.manifest import Manifest, ManifestFile
from services.core.settings import Settings
from tests.fakes import MemoryBlobs

OLD = {"a.py": "a = 1\n", "b/c.py": "c = 1\n", "big.py": "x" * 3000, "keep.py": "k = 1\n"}


@pytest.fixture(scope="module")
def forge(tmp_path_factory):
    with Forge(tmp_path_factory.mktemp("forge")) as serving:
        yield serving


class World:
    """A cloner of one repository at the forge."""

    def __init__(self, folder, forge, name):
        self.engine = open_database(folder / "catalog.db")
        self.ledger, self.catalog, self.blobs = Ledger(self.engine), Catalog(self.engine, "s"), MemoryBlobs()
        self.forge, self.name = forge, name
        self.servers = GitServers(folder / "mirrors", Limits(max_file_bytes=2000), frozenset({"127.0.0.1"}))
        self.cloner = Cloner(self.ledger, self.catalog, self.blobs, self.servers, batch_bytes=1 << 20)
        self.catalog.add(name, "url", forge.url(name), "")
        self.said = []

    def plan(self, ref=""):
        """Plan a job and return it."""
        self.said.clear()
        job = self.ledger.create_job(self.name, ref)
        self.cloner.plan(job, "s", lambda message: self.said.append((message.stage, message.key)))
        return self.ledger.job(job.id)

    def commit(self, job):
        """Make what a job has planned live, each file of it with one chunk."""
        kept = Manifest.load(self.blobs, job.plan)
        files = [*kept.files]
        for batch in self.ledger.batches(job.id):
            refs = self.ledger.batch_files(batch.id)
            files += [ManifestFile(r.path, r.fingerprint, r.path, r.size, "", "", "", "", "", 0, 1) for r in refs]
        manifest = Manifest(job.repo, job.revision, "s", tuple(sorted(files, key=lambda file: file.path)), kept.skipped)
        self.ledger.commit_job(job, self.catalog, manifest, manifest.store(self.blobs), {})

    def packed(self, job):
        """Return the contents that a job has packed, by path."""
        found = {}
        for batch in self.ledger.batches(job.id):
            refs = self.ledger.batch_files(batch.id)
            found |= zip([ref.path for ref in refs], PackedSource(self.blobs, batch.source).read(refs), strict=True)
        return found


@pytest.fixture
def world(tmp_path, forge, request):
    name = request.node.name.replace("[", "-").replace("]", "")[:100]
    forge.commit(name, OLD)
    made = World(tmp_path, forge, name)
    yield made
    made.engine.dispose()


def test_a_first_index_packs_every_file_and_tells_the_chunkers(world):
    job = world.plan()

    assert (job.state, job.first, job.schema) == (JobState.RUNNING, True, "s")
    assert job.revision == world.forge.git(world.name, "rev-parse", "main")
    assert world.packed(job) == {"a.py": b"a = 1\n", "b/c.py": b"c = 1\n", "keep.py": b"k = 1\n"}
    assert [skip.path for skip in Manifest.load(world.blobs, job.plan).skipped] == ["big.py"]
    assert world.said == [("chunk", batch.id) for batch in world.ledger.batches(job.id)]
    assert {batch.state for batch in world.ledger.batches(job.id)} == {BatchState.PLANNED}
    assert world.catalog.get(world.name).looked_at > 0


def test_an_update_packs_what_has_changed_and_keeps_the_rest(world):
    world.commit(world.plan())
    world.forge.commit(world.name, {"a.py": "a = 2\n", "b/c.py": None, "d.py": "d = 1\n"})

    job = world.plan()

    assert not job.first
    assert world.packed(job) == {"a.py": b"a = 2\n", "d.py": b"d = 1\n"}
    assert [file.path for file in Manifest.load(world.blobs, job.plan).files] == ["keep.py"]


def test_a_revision_that_is_live_already_ends_the_job(world):
    live = world.plan()
    world.commit(live)

    job = world.plan()

    assert (job.state, job.counts["files"], job.counts["changed"]) == (JobState.DONE, 3, 0)
    assert world.ledger.batches(job.id) == []
    assert world.said == []


def test_an_update_that_only_deletes_goes_straight_to_its_commit(world):
    world.commit(world.plan())
    world.forge.commit(world.name, {"a.py": None})

    job = world.plan()

    assert job.state is JobState.RUNNING
    assert world.ledger.batches(job.id) == []
    assert world.said == [("commit", job.id)]


def test_another_ref_at_the_same_commit_costs_nothing_and_is_remembered(world):
    world.commit(world.plan())
    world.forge.git(world.name, "branch", "other", "main")

    job = world.plan("other")

    assert world.ledger.batches(job.id) == []
    assert world.said == [("commit", job.id)]
    world.commit(job)
    assert world.catalog.get(world.name).ref == "other"


def test_history_that_was_rewritten_is_followed(world):
    world.commit(world.plan())
    tip = world.forge.commit(world.name, {"a.py": "a = 1\n", "new.py": "n = 1\n"}, fresh=True)

    job = world.plan()

    assert job.revision == tip
    assert world.packed(job) == {"new.py": b"n = 1\n"}


def test_a_ref_that_is_gone_is_said_and_starts_nothing(world):
    with pytest.raises(NotFound, match="'gone'"):
        world.plan("gone")

    (job,) = world.ledger.jobs(world.name)
    assert (job.state, world.ledger.batches(job.id)) == (JobState.QUEUED, [])


def test_a_repository_that_is_gone_may_be_for_ever(world):
    world.catalog.set_source(world.name, world.forge.url("no-such"))

    with pytest.raises(Unreachable, match="no-such"):
        world.plan()


def test_a_private_host_that_is_not_allowed_is_never_asked(world, tmp_path):
    servers = GitServers(tmp_path, Limits(), frozenset())
    repo = world.catalog.get(world.name)

    for ask in (lambda: servers.fetch(repo, ""), lambda: servers.tip(repo)):
        with pytest.raises(InvalidRequest):
            ask()
    assert list(tmp_path.glob("*.git")) == []


def test_a_job_that_another_has_by_now_is_not_started(world):
    job = world.ledger.create_job(world.name)
    desk = Desk(Settings(), print)
    desk.__dict__["engine"] = world.engine
    desk.leases.claim_job(job.id, (JobState.QUEUED,), "another", 60.0)

    with pytest.raises(InvalidRequest, match="'another' holds it"):
        world.cloner.plan(job, "s", print)

    assert world.ledger.batches(job.id) == []


@pytest.fixture
def desk(world):
    made = Desk(Settings(), lambda message, priority: world.said.append((message.stage, message.key, priority)))
    made.__dict__["engine"] = world.engine
    made.catalog.register_schema(Schema("s", 8))
    return made


def test_a_look_asks_for_an_index_only_if_the_tip_has_moved(world, desk):
    world.commit(world.plan())
    world.said.clear()
    look(world.name, desk, world.servers, Priority.BULK)
    assert world.said == []

    world.forge.commit(world.name, {"a.py": "a = 3\n"})
    look(world.name, desk, world.servers, Priority.BULK)
    look(world.name, desk, world.servers, Priority.BULK)

    (job,) = world.ledger.jobs(world.name, (JobState.QUEUED,))
    assert world.said == [("plan", job.id, Priority.BULK)]


@pytest.mark.parametrize("tip", ["bad", "none"])
def test_a_tip_that_an_index_has_failed_with_is_left_alone_for_an_hour(world, desk, tip):
    if tip == "none":
        world.forge.git(world.name, "update-ref", "-d", "refs/heads/main")
        job = world.ledger.create_job(world.name)
    else:
        job = world.plan()
    world.ledger.finish_job(job.id, JobState.FAILED, error="boom")
    world.said.clear()

    look(world.name, desk, world.servers, Priority.BULK)
    assert world.said == []

    with world.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs SET finished_at = finished_at - 3700")
    look(world.name, desk, world.servers, Priority.BULK)
    assert [stage for stage, _, _ in world.said] == ["plan"]


def test_a_tip_that_comes_after_one_that_failed_is_indexed(world, desk):
    world.ledger.finish_job(world.plan().id, JobState.FAILED, error="boom")
    world.forge.commit(world.name, {"a.py": "a = 4\n"})
    world.said.clear()

    look(world.name, desk, world.servers, Priority.BULK)

    assert [stage for stage, _, _ in world.said] == ["plan"]


@pytest.mark.parametrize("why", ["gone", "no server", "no schema"])
def test_a_look_that_leads_nowhere_asks_for_nothing(world, desk, why):
    if why == "gone":
        world.catalog.remove(world.name)
    elif why == "no server":
        world.catalog.set_source(world.name, world.forge.url("no-such"))
    else:
        desk.catalog.forget_schema("s")

    look(world.name, desk, world.servers, Priority.BULK)

    assert world.ledger.jobs(world.name) == []
    assert world.said == []
