"""The forge of the load tests: real git clones, fetches and follows what is committed to it."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from loadtest.forge import Forge, ForgeError
from services.chunker import mirror

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def forge(tmp_path):
    with Forge(tmp_path / "forge") as forge:
        yield forge


def _git(folder, *arguments):
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(["git", "-C", folder, *arguments], env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip()


def _clone(forge, name, target, *options):
    status, _ = _git(target.parent, "clone", "-q", *options, forge.url(name), str(target))
    assert status == 0
    return {str(path.relative_to(target)): path.read_text() for path in target.rglob("*.txt")}


def test_what_is_committed_is_cloned(forge, tmp_path):
    commit = forge.commit("team/app", {"a.txt": "one\n", "b/c d.txt": "two\n"})

    files = _clone(forge, "team/app", tmp_path / "clone")

    assert files == {"a.txt": "one\n", "b/c d.txt": "two\n"}
    assert _git(tmp_path / "clone", "rev-parse", "HEAD") == (0, commit)


def test_a_second_commit_adds_changes_and_deletes(forge, tmp_path):
    first = forge.commit("app", {"keep.txt": "1", "change.txt": "1", "drop.txt": "1"})
    second = forge.commit("app", {"change.txt": "2", "drop.txt": None, "new.txt": b"3"})

    assert _clone(forge, "app", tmp_path / "clone") == {"keep.txt": "1", "change.txt": "2", "new.txt": "3"}
    assert forge.git("app", "rev-parse", "main~1", "main").split() == [first, second]


def test_a_fetch_brings_the_commits_made_since(forge, tmp_path):
    forge.commit("app", {"a.txt": "1"})
    _clone(forge, "app", tmp_path / "clone")
    later = forge.commit("app", {"a.txt": "2"})

    assert _git(tmp_path / "clone", "fetch", "-q") == (0, "")
    assert _git(tmp_path / "clone", "rev-parse", "origin/main") == (0, later)


def test_a_fresh_commit_replaces_the_history(forge, tmp_path):
    forge.commit("app", {"old.txt": "1"})
    forge.commit("app", {"new.txt": "2"}, fresh=True)

    assert _clone(forge, "app", tmp_path / "clone") == {"new.txt": "2"}
    assert forge.git("app", "rev-list", "--count", "main") == "1"


def test_branches_are_apart(forge, tmp_path):
    forge.commit("app", {"a.txt": "main"})
    forge.commit("app", {"a.txt": "dev"}, branch="dev")

    assert _clone(forge, "app", tmp_path / "main") == {"a.txt": "main"}
    assert _clone(forge, "app", tmp_path / "dev", "--branch", "dev") == {"a.txt": "dev"}


@pytest.mark.parametrize("path", ['with "quotes".txt', "back\\slash.txt", "new\nline.txt", "ünï/çödé.txt"])
def test_any_path_can_be_committed(forge, tmp_path, path):
    forge.commit("app", {path: "text"})

    assert _clone(forge, "app", tmp_path / "clone") == {path: "text"}


def test_equal_commits_have_equal_ids(forge):
    assert forge.commit("one", {"a.txt": "1"}) == forge.commit("two", {"a.txt": "1"})


def test_a_repository_that_is_not_there_is_an_error(forge, tmp_path):
    assert _git(tmp_path, "ls-remote", forge.url("missing"))[0] != 0
    with pytest.raises(ForgeError, match="rev-parse"):
        forge.git("missing", "rev-parse", "HEAD")


def test_nothing_outside_the_folder_is_served(forge, tmp_path):
    forge.commit("app", {"a.txt": "1"})
    outside = Forge(tmp_path / "outside")
    outside.commit("secret", {"a.txt": "1"})
    outside.close()

    assert _git(tmp_path, "ls-remote", f"http://{forge.host}/../outside/secret.git")[0] != 0
    assert _git(tmp_path, "ls-remote", f"http://{forge.host}/%2e%2e/outside/secret.git")[0] != 0


def test_quarry_mirrors_from_it(forge, tmp_path):
    commit = forge.commit("app", {"a.txt": "1"})

    _, fetched = mirror.fetch(forge.url("app"), tmp_path / "mirrors", allow_protocols=("http",))

    assert fetched == commit


def test_many_clone_at_once(forge, tmp_path):
    files = {f"{number}.txt": "line\n" * number for number in range(200)}
    forge.commit("app", files)

    with ThreadPoolExecutor(8) as pool:
        clones = list(pool.map(lambda number: _clone(forge, "app", tmp_path / str(number)), range(8)))

    assert clones == [files] * 8
