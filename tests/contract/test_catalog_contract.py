"""What the catalog and a database itself promise: SQLite, and PostgreSQL with many processes at once."""

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.core.catalog import Schema
from services.core.database import open_database
from services.core.errors import InvalidRequest, NotFound, Unavailable
from services.core.ledger import Ledger
from tests.contract.ledger_results import AT_ONCE, caller, in_threads
from tests.servers import NotToBeHad, free_port, postgres_server


@pytest.fixture
def url(database_url):
    return database_url


@pytest.fixture
def at_once(engine):
    return caller(engine)


@contextmanager
def restarting(folder, port):
    """Yield a database on a server of its own, and what stops that for the length of a block."""
    servers = [postgres_server(folder, port=port)]
    engine = open_database(servers[0].url)

    @contextmanager
    def restart():
        servers[-1].stop()
        yield
        servers.append(postgres_server(folder, port=port))

    try:
        yield engine, restart
    finally:
        engine.dispose()
        servers[-1].stop()


def test_a_repository_may_be_added_by_several_at_once(catalog):
    added = in_threads(lambda _: catalog.add("r", "git", "/r", "main"))

    assert {repo.source for repo in added} == {"/r"}
    assert [repo.name for repo in catalog.list()] == ["r"]


def test_a_name_belongs_to_one_source(catalog):
    catalog.add("r", "git", "/r", "")

    assert catalog.add("r", "directory", "/r", "main").kind == "directory"
    with pytest.raises(InvalidRequest, match="--name"):
        catalog.add("r", "git", "/other", "")


def test_a_repository_that_is_being_removed_is_seen_by_nobody(catalog):
    catalog.add("r", "git", "/r", "")

    catalog.start_removal("r")

    assert ([repo.name for repo in catalog.removing()], catalog.list()) == (["r"], [])
    with pytest.raises(NotFound):
        catalog.get("r")
    with pytest.raises(InvalidRequest, match="being removed"):
        catalog.add("r", "git", "/r", "")


def test_a_schema_may_be_registered_by_several_at_once(catalog, at_once):
    catalog.register_schema(Schema("old", 256))

    at_once(lambda _: catalog.register_schema(Schema("new", 384)))

    assert catalog.schemas() == [Schema("new", 384), Schema("old", 256)]


def test_several_processes_may_open_a_new_database_at_once(postgres_url):
    def opened(_):
        engine = open_database(postgres_url)
        engine.dispose()

    assert in_threads(opened) == [None] * AT_ONCE


def test_a_database_of_another_version_is_refused(url, engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE meta SET version = 99")

    with pytest.raises(InvalidRequest, match="version 99"):
        open_database(url)


def test_a_database_that_does_not_answer_is_unavailable():
    with pytest.raises(Unavailable, match="PostgreSQL"):
        open_database(f"postgresql+psycopg://quarry@127.0.0.1:{free_port()}/quarry")


@pytest.mark.parametrize("asked_meanwhile", [True, False])
def test_a_restart_of_the_database_server_costs_only_the_time_it_takes(asked_meanwhile):
    folder, port = Path(tempfile.mkdtemp(prefix="quarry-postgres-")), free_port()
    try:
        with restarting(folder, port) as (engine, restart):
            ledger = Ledger(engine)
            job = ledger.create_job("r")
            in_threads(lambda _: ledger.job(job.id))

            with restart():
                if asked_meanwhile:
                    with pytest.raises(Unavailable, match="PostgreSQL"):
                        ledger.job(job.id)

            assert in_threads(lambda _: ledger.job(job.id)) == [job] * AT_ONCE
    except NotToBeHad as reason:
        pytest.skip(str(reason))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
