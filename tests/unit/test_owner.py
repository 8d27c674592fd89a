import threading

import pytest

from services.core.ledger import Cleanup, JobState
from services.core.model import FileRef
from services.core.settings import Settings
from services.embedded.access import own


@pytest.fixture
def owner(tmp_path):
    owner = own(Settings(home=tmp_path), "test")
    yield owner
    owner.close()


def failed_job(owner, schema):
    """Return a failed job of `schema` that has points to clean up."""
    owner.catalog.add("r", "git", "/r", "")
    job = owner.ledger.create_job("r")
    files = [[FileRef("a.py", "a.py", "1", 1)]]
    owner.ledger.start_job(job.id, revision="1", schema=schema, plan="", first=False, batches=files)
    owner.ledger.finish_job(job.id, JobState.FAILED)
    assert owner.ledger.job(job.id).cleanup is Cleanup.STAGED
    return job.id


def test_a_part_is_opened_once_whichever_threads_ask(owner):
    found, together = [], threading.Barrier(8)

    def ask():
        together.wait(20)
        found.append(owner.vectors)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_what_a_job_left_is_cleaned_up_when_the_store_is_opened(owner):
    job = failed_job(owner, owner.schema)

    _ = owner.vectors

    assert owner.ledger.job(job).cleanup is Cleanup.NOTHING


@pytest.mark.parametrize(("there", "cleanup"), [(True, Cleanup.STAGED), (False, Cleanup.NOTHING)])
def test_what_a_job_left_in_another_store_waits_for_it(owner, there, cleanup):
    job = failed_job(owner, "another model")
    if there:
        owner.home.vectors("another model").mkdir(parents=True)

    _ = owner.vectors

    assert owner.ledger.job(job).cleanup is cleanup
