import json
import tempfile
from pathlib import Path

import pytest

from services.core.errors import InvalidRequest, Unavailable
from services.embedded.home import Home, check_private


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    home.prepare()
    yield home
    home.release()


def test_a_second_process_is_told_who_owns_the_directory(home):
    assert home.try_own("serve")

    with pytest.raises(Unavailable, match=r"in use by 'serve' \(process \d+\)"):
        Home(home.root).own("index")


def test_a_directory_given_back_is_free(home):
    home.own("index")
    home.release()

    assert home.try_own("search")


def test_a_shorter_note_replaces_a_longer_one(home):
    (home.root / "lock").write_text(json.dumps({"role": "x" * 500}))

    home.own("serve")

    assert home.owner()["role"] == "serve"


def test_the_socket_is_found_from_another_temporary_directory(home, tmp_path, monkeypatch):
    home.own("serve")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert Home(home.root).socket == Path(home.owner()["socket"])
    assert not Home(home.root).socket.is_relative_to(tmp_path)


@pytest.mark.parametrize("note", ["", "7", "{", '{"socket": 3}'])
def test_a_note_that_says_nothing_leaves_the_usual_socket(home, note):
    (home.root / "lock").write_text(note)

    assert home.socket.suffix == ".sock"


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda root: (root / "lock").mkdir(), InvalidRequest),
        (lambda root: (root / "lock").symlink_to("/dev/full"), Unavailable),
    ],
)
def test_a_lock_that_cannot_be_written_is_a_clear_error(home, spoil, error):
    spoil(home.root)

    with pytest.raises(error, match="can't be locked"):
        home.try_own("serve")


@pytest.mark.parametrize("name", ["file/home", "x" * 300])
def test_a_directory_that_cannot_be_is_a_clear_error(tmp_path, name):
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidRequest, match="QUARRY_HOME"):
        Home(tmp_path / name).prepare()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777])
def test_a_socket_folder_open_to_others_is_refused(tmp_path, mode):
    folder = tmp_path / "sockets"
    folder.mkdir()
    folder.chmod(mode)

    with pytest.raises(Unavailable, match="mode 700"):
        check_private(folder)


def test_a_link_is_no_socket_folder(tmp_path):
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "mine")

    check_private(tmp_path / "mine")
    check_private(tmp_path / "missing")
    with pytest.raises(Unavailable):
        check_private(tmp_path / "link")
