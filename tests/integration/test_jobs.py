"""Jobs in one process with real workers: what happens when they are cut short, fail, or find something missing."""

import shutil

import pytest

from services.core.errors import QuarryError, Unavailable
from services.core.ledger import Cleanup, JobState
from services.core.ports import Filter
from services.core.settings import Settings
from services.embedded.access import own
from services.embedded.indexing import run_job
from services.embedded.jobs import request_job
from services.embedded.launcher import Interpreters
from services.embedded.pool import WorkerPool
from services.embedded.repair import rebuild_all

FILES = {f"f{number}_dot_py": f"def name_{number}():\n    return {number}\n" for number in range(6)}


class ShortPool(WorkerPool):
    """A pool that gives out before the first outcome."""

    def outcomes(self, waiting):
        raise Unavailable("no workers today")
        yield


class BrokenBarrier:
    def wait(self):
        raise Unavailable("no waiting today")


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", workers=1)


@pytest.fixture
def owner(settings):
    owner = own(settings, "test")
    yield owner
    owner.close()


@pytest.fixture
def pool(settings, tmp_path):
    pool = WorkerPool(settings, tmp_path, Interpreters())
    yield pool
    pool.close()


def index(owner, pool, repo, ref=None):
    return run_job(owner, pool, request_job(owner, str(repo.path), None, ref).id)


def live_points(owner):
    fences = owner.ledger.fences()
    return owner.vectors.count(Filter(staged=fences.staged, retired=fences.retired))


def test_an_interrupted_job_of_the_same_revision_goes_on(owner, pool, repo, settings, tmp_path):
    repo.commit(**FILES)
    job = request_job(owner, str(repo.path), None, None)
    with pytest.raises(Unavailable):
        run_job(owner, ShortPool(settings, tmp_path, Interpreters()), job.id)
    assert owner.ledger.job(job.id).state is JobState.INTERRUPTED

    assert request_job(owner, str(repo.path), None, None).id == job.id
    assert run_job(owner, pool, job.id)["files"] == 6


def test_an_interrupted_job_of_another_revision_is_superseded_and_its_marks_mean_nothing(
    owner, pool, repo, settings, tmp_path
):
    repo.commit(**FILES)
    index(owner, pool, repo)
    repo.commit(f0_dot_py="def other():\n    return 0\n")
    job = request_job(owner, str(repo.path), None, None)
    with pytest.raises(Unavailable):
        run_job(owner, ShortPool(settings, tmp_path, Interpreters()), job.id)
    live = owner.catalog.get("project").manifest
    owner.vectors.retire([point for file in _files(owner, live) for point in file.point_ids("project")], job.id)
    repo.commit(f1_dot_py="def third():\n    return 1\n")
    owner.ledger.resume_job(job.id)

    counts = run_job(owner, pool, job.id)

    old = owner.ledger.job(job.id)
    assert (old.state, old.cleanup) == (JobState.SUPERSEDED, Cleanup.NOTHING)
    assert owner.ledger.job(old.counts["successor"]).state is JobState.DONE
    assert live_points(owner) == counts["chunks"] == 6


def _files(owner, manifest):
    from services.core.manifest import Manifest

    return Manifest.load(owner.blobs, manifest).files


def test_an_error_after_the_flip_leaves_the_new_revision_live(owner, pool, repo):
    repo.commit(**FILES)
    index(owner, pool, repo)
    revision = repo.commit(f0_dot_py="def other():\n    return 0\n")
    owner.barrier = BrokenBarrier()

    counts = index(owner, pool, repo)

    assert counts["revision"] == owner.catalog.get("project").revision == revision
    assert live_points(owner) == counts["chunks"]


def test_points_that_are_gone_are_made_again_by_the_next_index(owner, pool, repo):
    repo.commit(**FILES)
    index(owner, pool, repo)
    owner.vectors.purge(repo="project")
    repo.commit(f0_dot_py="def other():\n    return 0\n")

    counts = index(owner, pool, repo)

    assert (counts["changed"], live_points(owner)) == (6, counts["chunks"])


def test_a_ref_that_does_not_exist_is_not_kept(owner, pool, repo):
    repo.commit(**FILES)
    index(owner, pool, repo)

    with pytest.raises(QuarryError, match="nosuch"):
        index(owner, pool, repo, ref="nosuch")

    assert index(owner, pool, repo)["changed"] == 0


def test_a_directory_that_becomes_a_repository_stays_the_same_one(owner, pool, tmp_path, repo):
    for name in FILES:
        (repo.path / name.replace("_dot_", ".")).write_text(FILES[name])
    shutil.move(repo.path / ".git", tmp_path / "aside")
    assert index(owner, pool, repo)["files"] == 6
    shutil.move(tmp_path / "aside", repo.path / ".git")
    revision = repo.commit()

    assert index(owner, pool, repo)["revision"] == revision


def test_a_repository_that_can_not_be_rebuilt_does_not_keep_the_others_from_it(owner, pool, repo, settings, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    (gone / "a.py").write_text("def lost():\n    return 1\n")
    repo.commit(**FILES)
    index(owner, pool, repo)
    run_job(owner, pool, request_job(owner, str(gone), None, None).id)
    owner.blobs.delete(_files(owner, owner.catalog.get("gone").manifest)[0].pack)
    shutil.rmtree(gone)
    owner.close()

    owner = own(settings, "rebuild")
    results = {result.repo: result for result in rebuild_all(owner, None)}

    assert "gone" in results["gone"].error
    assert results["project"].how
    assert live_points(owner) == 6
    owner.close()
