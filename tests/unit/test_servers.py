import os

import pytest

from tests import servers
from tests.servers import NotToBeHad, free_port, object_store, redis_server


def test_a_server_that_is_not_installed_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotToBeHad, match="apt install redis-server"):
        redis_server(tmp_path)


def test_an_object_store_that_can_not_be_had_says_why_of_each(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "BIN", tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotToBeHad, match=r"minio .* no Go .*; versitygw .* no Go"):
        object_store(tmp_path)


def test_a_build_that_fails_says_what_the_builder_said(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "BIN", tmp_path / "bin")
    (tmp_path / "go").write_text("#!/bin/sh\necho 'not available' >&2\nexit 1\n")
    (tmp_path / "go").chmod(0o755)
    monkeypatch.setattr(servers.shutil, "which", lambda name, path=None: str(tmp_path / "go") if name == "go" else None)

    with pytest.raises(NotToBeHad, match=r"minio can't be built: 'not available'; versitygw can't"):
        object_store(tmp_path)


def test_a_server_that_does_not_start_shows_its_log(tmp_path):
    if not servers.shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")

    with pytest.raises(RuntimeError, match="maxmemory-policy"):
        redis_server(tmp_path, policy="no-such-policy")


def test_a_server_is_stopped_by_its_process_id_and_may_be_stopped_twice(tmp_path):
    if not servers.shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")
    server = redis_server(tmp_path, port=free_port())

    server.stop()
    server.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
