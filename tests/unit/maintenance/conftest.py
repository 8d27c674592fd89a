"""A distributed world whose vector store can be listed."""

import pytest

from tests.maintenance_world import ListedWorld


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = ListedWorld(tmp_path, monkeypatch=monkeypatch)
    yield made
    made.close()
