"""A commit observed, repeated and killed between any two of its steps."""

import pytest

from services.core.errors import InvalidRequest, NotFound
from services.core.ledger import Cleanup, JobState
from services.core.manifest import Manifest
from services.core.ports import Filter
from services.indexer.commit import clean_up, commit, garbage, purge_unindexed, rebuild, remove
from tests.indexing_world import SCHEMA, World, expected

OLD = {"same.py": ("s1\n", "s2\n"), "edited.py": ("e1\n", "e2\n"), "gone.py": ("g1\n",), "moved.py": ("m1\n",)}
NEW = {"same.py": ("s1\n", "s2\n"), "edited.py": ("e1\n", "e3\n"), "new.py": ("n1\n", "n2\n"), "there.py": ("m1\n",)}
# Calls that change something: being killed before one that only reads is being killed before the next of these.
STEPS = {"retire", "flush", "put", "commit_job", "cleaned", "purge", "finish_job", "forget_revision", "remove"}
# More steps than this would mean that the tests below stop too early.
MOST_STEPS = 12


class Killed(BaseException):
    """Stands for a kill signal: nothing catches it."""


class Stepping:
    """Passes every call on to `target`, after telling `step` if it changes something."""

    def __init__(self, target, step):
        self._target, self._step = target, step

    def __getattr__(self, name):
        value = getattr(self._target, name)
        if name not in STEPS:
            return value

        def call(*args, **kwargs):
            self._step(name)
            return value(*args, **kwargs)

        return call


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


def ready(world):
    """A world with OLD live and NEW indexed, not committed; returns the job."""
    world.put(OLD, revision="1")
    job = world.start(NEW, revision="2")
    world.index_all(job)
    return world.ledger.job(job.id)


def stepped(world, job, step, **how):
    parts = {name: Stepping(part, step) for name, part in world.parts.items()}
    return commit(job.id, **parts, **how)


def test_a_commit_replaces_the_old_revision_by_the_new(world):
    job = ready(world)
    assert world.visible() == expected(OLD)

    counts = commit(job.id, **world.parts)

    assert world.visible() == expected(NEW)
    assert world.vectors.count(Filter()) == len(expected(NEW))
    repo = world.catalog.get("r")
    manifest = Manifest.load(world.blobs, repo.manifest)
    assert (repo.revision, repo.files, repo.chunks) == ("2", 4, 7)
    assert [file.path for file in manifest.files] == sorted(NEW)
    assert (counts["files"], counts["changed"], counts["skipped"]) == (4, 3, {"binary": 1})
    assert world.ledger.job(job.id).cleanup is Cleanup.NOTHING


@pytest.mark.parametrize("shard_points", [3, 100_000])
def test_a_search_between_any_two_steps_sees_one_revision(tmp_path, shard_points):
    world = World(tmp_path, shard_points=shard_points)
    job = ready(world)
    under_way, seen = [], []

    def search(_name):
        # Searches that read the fences at an earlier step and go on until now, and one that begins now.
        under_way.append(world.ledger.fences())
        seen.extend(world.visible(fences) for fences in under_way)

    def wait_for_searches():
        search("barrier")
        under_way.clear()

    stepped(world, job, search, barrier=wait_for_searches)
    search("end")
    world.close()

    assert len(seen) > 15
    assert {tuple(s) for s in seen} == {tuple(expected(OLD)), tuple(expected(NEW))}
    assert seen[-1] == expected(NEW)


def kill_at(world, job, number):
    """Run a commit that is killed before its step `number`; False if it has fewer."""
    steps = 0

    def step(_name):
        nonlocal steps
        steps += 1
        if steps > number:
            raise Killed

    try:
        stepped(world, job, step)
    except Killed:
        world.crash()
        return True
    return False


def test_a_commit_killed_at_any_step_is_finished_by_the_next(tmp_path):
    for number in range(MOST_STEPS):
        directory = tmp_path / str(number)
        directory.mkdir()
        world = World(directory)
        job = ready(world)
        killed = kill_at(world, job, number)
        assert world.visible() in (expected(OLD), expected(NEW))

        commit(job.id, **world.parts)

        assert world.visible() == expected(NEW)
        assert world.vectors.count(Filter()) == len(expected(NEW))
        world.close()
        if not killed:
            return
    pytest.fail("a commit takes more steps than were tried")


def test_a_commit_killed_at_any_step_can_be_given_up_or_cleaned_up(tmp_path):
    for number in range(MOST_STEPS):
        directory = tmp_path / str(number)
        directory.mkdir()
        world = World(directory)
        job = ready(world)
        killed = kill_at(world, job, number)

        went_live = world.ledger.job(job.id).state is JobState.DONE
        if not went_live:
            world.ledger.finish_job(job.id, JobState.FAILED, error="given up")
        for _ in range(2):
            clean_up(world.ledger.job(job.id), ledger=world.ledger, vectors=world.vectors)

        kept = expected(NEW if went_live else OLD)
        assert world.visible() == kept
        assert world.vectors.count(Filter()) == len(kept)
        world.close()
        if not killed:
            return
    pytest.fail("a commit takes more steps than were tried")


def test_every_step_may_be_repeated(world):
    job = ready(world)

    class Twice(Stepping):
        def __getattr__(self, name):
            value = getattr(self._target, name)
            if name not in STEPS:
                return value

            def call(*args, **kwargs):
                value(*args, **kwargs)
                return value(*args, **kwargs)

            return call

    commit(job.id, **{name: Twice(part, None) for name, part in world.parts.items()})
    counts = commit(job.id, **world.parts)

    assert world.visible() == expected(NEW)
    assert world.vectors.count(Filter()) == len(expected(NEW))
    assert counts == world.ledger.job(job.id).counts


def test_a_file_that_goes_and_comes_back_is_found(world):
    world.put(OLD, revision="1")
    world.put(NEW, revision="2")
    world.put(OLD, revision="3")

    assert world.visible() == expected(OLD)
    assert world.vectors.count(Filter()) == len(expected(OLD))


def test_a_job_given_up_does_not_take_live_points_with_it(world):
    world.put(OLD, revision="1")
    job = world.start(OLD, revision="2", fingerprints=dict.fromkeys(OLD, "touched"))
    world.index_all(job)
    assert world.visible() == expected(OLD)

    world.ledger.finish_job(job.id, JobState.FAILED)
    clean_up(world.ledger.job(job.id), ledger=world.ledger, vectors=world.vectors)

    assert world.visible() == expected(OLD)


def test_a_revision_without_files_leaves_nothing(world):
    world.put(OLD, revision="1")
    world.put({}, revision="2")

    assert world.visible() == []
    assert world.vectors.count(Filter()) == 0


def test_an_unfinished_job_can_not_be_committed(world):
    job = world.start(NEW)

    with pytest.raises(InvalidRequest, match="2 batches"):
        commit(job.id, **world.parts)
    world.ledger.finish_job(job.id, JobState.FAILED)
    with pytest.raises(InvalidRequest, match="failed"):
        commit(job.id, **world.parts)


def test_the_figures_of_the_caller_are_kept_with_the_job(world):
    job = world.start(NEW)
    world.index_all(job)

    counts = commit(job.id, **world.parts, figures=lambda manifest: {"n": manifest.chunks})

    assert counts == world.ledger.job(job.id).counts == {"n": 7}


def test_a_removed_repository_leaves_the_others_alone(world):
    world.put(OLD, repo="r")
    world.put(NEW, repo="other")
    running = world.start(NEW, repo="r", revision="2")
    world.index_all(running)

    remove("r", ledger=world.ledger, catalog=world.catalog, vectors=world.vectors)

    assert world.visible() == expected(NEW, "other")
    assert [repo.name for repo in world.catalog.list()] == ["other"]
    assert world.ledger.job(running.id).state is JobState.FAILED
    with pytest.raises(NotFound):
        world.catalog.get("r")


def test_a_removal_killed_at_any_step_can_be_repeated_or_indexed_again(tmp_path):
    for number in range(MOST_STEPS):
        directory = tmp_path / str(number)
        directory.mkdir()
        world = World(directory)
        world.put(OLD)
        steps = []

        def step(name, number=number, steps=steps):
            steps.append(name)
            if len(steps) > number:
                raise Killed

        parts = {name: Stepping(part, step) for name, part in world.parts.items() if name != "blobs"}
        killed = False
        try:
            remove("r", **parts)
        except Killed:
            killed = True
            world.crash()
        if number % 2 and killed:
            remove("r", ledger=world.ledger, catalog=world.catalog, vectors=world.vectors)
        purge_unindexed(ledger=world.ledger, catalog=world.catalog, vectors=world.vectors)
        world.put(NEW, revision="2")

        assert world.visible() == expected(NEW)
        world.close()
        if not killed:
            return
    pytest.fail("a removal takes more steps than were tried")


def test_points_of_a_first_index_under_way_are_no_leftovers(world):
    job = world.start(OLD)
    world.index_all(job)

    purge_unindexed(ledger=world.ledger, catalog=world.catalog, vectors=world.vectors)

    assert world.visible() == expected(OLD)


@pytest.mark.parametrize("empty_first", [True, False])
def test_rebuilding_gives_the_same_points(world, empty_first):
    world.put(OLD, revision="1")
    world.put(NEW, revision="2")
    if empty_first:
        world.vectors.purge(repo="r")

    for _ in range(2):
        count = rebuild("r", **world.parts)

    assert count == world.vectors.count(Filter()) == len(expected(NEW))
    assert world.visible() == expected(NEW)
    world.put(OLD, revision="3")
    assert world.visible() == expected(OLD)


def test_a_repository_without_a_revision_can_not_be_rebuilt(world):
    world.catalog.add("r", "git", "/src", "")

    with pytest.raises(NotFound, match="index it first"):
        rebuild("r", **world.parts)


def test_a_missing_pack_stops_the_rebuilding(world):
    world.put(OLD)
    pack = world._live("r", SCHEMA).files[0].pack
    world.blobs.delete(pack)

    with pytest.raises(NotFound):
        rebuild("r", **world.parts)


def test_garbage_is_what_neither_live_manifests_nor_open_jobs_need(world):
    first = world.put(OLD, revision="1")
    world.put(NEW, revision="2")
    running = world.start({"o.py": ("o1\n", "o2\n")}, repo="other")
    with_same, without = (batch.pack for batch in world.ledger.batches(first.id))

    dead = garbage(world.blobs, catalog=world.catalog, ledger=world.ledger)
    for name in dead:
        world.blobs.delete(name)

    assert without in dead
    assert with_same not in dead
    assert rebuild("r", **world.parts) == len(expected(NEW))
    world.index_all(running)
    commit(running.id, **world.parts)
