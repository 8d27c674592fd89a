"""A distributed world in one process."""

import pytest

from tests.distributed_world import World


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path, monkeypatch=monkeypatch)
    yield made
    made.close()
