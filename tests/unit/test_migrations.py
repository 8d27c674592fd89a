"""Claims about databases of an older version."""

import sqlite3

import pytest
from sqlalchemy import inspect

from services.core import database as db
from services.core.catalog import Catalog
from services.core.database import open_database
from services.core.leases import Leases, Priority, Waiting
from services.core.ledger import JobState, Ledger
from tests.unit.ledger_rows import AT_ONCE, at_once

VERSION_2 = """
CREATE TABLE meta (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE repos (name VARCHAR NOT NULL, kind VARCHAR NOT NULL, source TEXT NOT NULL, ref VARCHAR NOT NULL,
  revision VARCHAR NOT NULL, manifest VARCHAR NOT NULL, schema VARCHAR NOT NULL, files INTEGER NOT NULL,
  chunks INTEGER NOT NULL, created_at FLOAT NOT NULL, indexed_at FLOAT, PRIMARY KEY (name));
CREATE TABLE jobs (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, repo VARCHAR NOT NULL, state VARCHAR NOT NULL,
  revision VARCHAR NOT NULL, schema VARCHAR NOT NULL, plan VARCHAR NOT NULL, ref VARCHAR NOT NULL,
  first BOOLEAN NOT NULL, cleanup VARCHAR NOT NULL, error TEXT NOT NULL, counts TEXT NOT NULL,
  created_at FLOAT NOT NULL, finished_at FLOAT);
CREATE INDEX ix_jobs_repo ON jobs (repo);
CREATE TABLE batches (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, state VARCHAR NOT NULL,
  attempts INTEGER NOT NULL, lease_until FLOAT NOT NULL, error TEXT NOT NULL, files BLOB NOT NULL,
  file_count INTEGER NOT NULL, source_bytes BIGINT NOT NULL, suspects TEXT NOT NULL, skipped BLOB,
  pack VARCHAR NOT NULL, vectors VARCHAR NOT NULL, result BLOB, chunks INTEGER NOT NULL, embedded INTEGER NOT NULL,
  cached INTEGER NOT NULL, FOREIGN KEY(job) REFERENCES jobs (id));
INSERT INTO meta VALUES (2);
INSERT INTO repos VALUES ('old', 'git', '/src/old', '', 'abc', 'digest', 's', 1, 2, 1.0, 2.0);
INSERT INTO jobs VALUES (7, 'old', 'interrupted', 'abc', 's', 'p', '', 0, '', '', '{}', 1.0, NULL);
INSERT INTO batches VALUES (3, 7, 'planned', 1, 0, '', x'', 1, 2, '{}', NULL, '', '', NULL, 0, 0, 0);
"""


@pytest.fixture
def version_2(tmp_path):
    path = tmp_path / "catalog.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_2)
    connection.close()
    return path


def test_a_database_of_version_2_is_brought_up_to_date_with_what_it_holds(version_2):
    engine = open_database(version_2)

    assert Catalog(engine).get("old").revision == "abc"
    assert Ledger(engine).job(7).priority == Priority.BULK
    assert (Ledger(engine).batch(3).attempts, Ledger(engine).batch(3).source) == (1, "")
    assert Leases(engine).waiting(9) == [Waiting("chunk", 3, Priority.BULK)]
    for table in db.metadata.sorted_tables:
        assert {column["name"] for column in inspect(engine).get_columns(table.name)} == set(table.c.keys())
    engine.dispose()
    open_database(version_2).dispose()


def test_a_migration_that_was_killed_is_done_by_the_next(version_2, monkeypatch):
    columns = db._MIGRATIONS[2]
    monkeypatch.setitem(db._MIGRATIONS, 2, (*columns[:4], ("no_such_table", "x", "TEXT")))
    with pytest.raises(Exception, match="no_such_table"):
        open_database(version_2)

    monkeypatch.setitem(db._MIGRATIONS, 2, columns)
    engine = open_database(version_2)

    assert Ledger(engine).job(7).state is JobState.INTERRUPTED
    engine.dispose()


def test_several_processes_may_bring_a_database_up_to_date(version_2):
    def opened(_):
        open_database(version_2).dispose()

    assert at_once(opened) == [None] * AT_ONCE
