"""The same commands on a data directory and on the server that has it give the same answers."""

import json

import pytest

from tests.integration.conftest import Quarry

FILES = {"a_dot_py": "def apple():\n    return 'apple pie'\n", "b_dot_py": "def pear():\n    return 1\n"}


@pytest.fixture
def served(quarry, tmp_path):
    """A command line elsewhere, which asks the server of `quarry`."""
    with quarry.serving() as url:
        yield Quarry(tmp_path / "elsewhere", {"QUARRY_URL": url})


def test_everything_is_asked_of_the_server_that_is_named(quarry, served, repo):
    revision = repo.commit(**FILES, c_dot_bin="\0\1\2" * 99)

    figures = served.json("index", repo.path)
    again = served.json("index", repo.path)

    assert (figures["repo"], figures["revision"], figures["changed"]) == ("project", revision, 2)
    assert (again["revision"], again["changed"]) == (revision, 0)
    assert served.paths("apple")[0] == "a.py"
    assert not served.home.exists()
    for words in (["search", "apple", "--lang", "python"], ["repos"], ["status", "project"]):
        assert served.run(*words).returncode == 0
    assert served.run("repos").stdout == quarry.run("repos").stdout
    assert "c.bin" in served.run("status", "--skipped").stdout


def test_figures_and_errors_are_those_of_the_data_directory(quarry, served, repo, tmp_path):
    repo.commit(**FILES)
    remote, local = served.json("index", repo.path), Quarry(tmp_path / "local").json("index", repo.path)

    assert remote.keys() == local.keys()
    for words in (["index", "/no/such/path"], ["remove", "nosuch"], ["status", "nosuch"], ["search", "("]):
        mode = ["--mode", "regex"] if words[0] == "search" else []
        there, here = served.run(*words, *mode), quarry.run(*words, *mode)
        assert (there.returncode, here.returncode) == (2, 2), (words, there, here)
        assert there.stderr.startswith("quarry: ")
        assert len(there.stderr.splitlines()) == 1


def test_what_is_removed_there_is_gone(served, repo):
    repo.commit(**FILES)
    served.json("index", repo.path)

    assert served.json("remove", "project") == {"removed": "project"}

    assert served.json("repos") == {"repos": []}
    assert served.json("search", "apple")["hits"] == []


def test_a_data_directory_is_checked_and_collected_under_the_same_names(quarry, repo):
    repo.commit(**FILES)
    quarry.json("index", repo.path)
    repo.commit(a_dot_py="def plum():\n    return 2\n", b_dot_py="def fig():\n    return 3\n")
    quarry.json("index", repo.path)

    assert quarry.json("fsck") == {"problems": []}
    assert quarry.json("gc") == {"found": 0, "deleted": 0, "dry_run": False}
    dry = quarry.json("gc", "--older-than", "0", "--dry-run")
    assert dry["found"] > 2
    assert quarry.json("gc", "--older-than", "0") == dry | {"deleted": dry["found"], "dry_run": False}
    assert json.loads(quarry.run("doctor", "project", "--json").stdout) == {"problems": []}
    assert quarry.paths("plum")[0] == "a.py"
    assert quarry.run("gc", "--drop-old-schemas").returncode == 2
