"""Claims about what people may type as a source."""

import pytest

from services.chunker import mirror
from services.chunker.source import check_name, default_name, describe
from services.core.errors import InvalidRequest
from tests.repositories import call, commit


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("https://example.com/team/quarry.git", "quarry"),
        ("https://example.com/team/quarry/", "quarry"),
        ("git@example.com:team/quarry.git", "quarry"),
        ("git@example.com:quarry", "quarry"),
        ("ssh://git@example.com:2222/team/quarry", "quarry"),
    ],
)
def test_an_address_is_named_by_its_last_part(location, name):
    assert describe(location) == ("url", location, name)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("https://10.0.0.5/team/app", "not a public address"),
        ("git@10.0.0.1:x", "not a public address"),
        ("https://127.1/x", "short form"),
        ("http://forge.example/x", "use https or ssh"),
        ("https://user:hunter2@10.0.0.5/x", "holds a password"),
    ],
)
def test_hosts_of_addresses_can_be_checked(location, message):
    with pytest.raises(InvalidRequest, match=message) as raised:
        describe(location, allow_local=False, check_hosts=True)

    assert "hunter2" not in str(raised.value)


def test_a_host_on_the_list_passes_every_check():
    url = "http://10.0.0.5:3000/team/app"

    assert describe(url, allow_local=False, allow_hosts={"10.0.0.5:3000"}, check_hosts=True) == ("url", url, "app")
    assert mirror.protocols_for(url, {"10.0.0.5:3000"}) == ("https", "ssh", "http")
    assert mirror.protocols_for(url, ()) == mirror.PROTOCOLS


def test_paths_are_described_by_what_they_are(tmp_path, monkeypatch):
    commit(tmp_path / "my repo", {"sub/a.py": b"x"})
    call(tmp_path, "clone", "-q", "--bare", str(tmp_path / "my repo"), str(tmp_path / "bare.git"))
    (tmp_path / "link").symlink_to(tmp_path / "my repo")
    (tmp_path / "git@host:x").mkdir()
    monkeypatch.chdir(tmp_path)

    assert describe("my repo") == ("git", str(tmp_path / "my repo"), "my-repo")
    assert describe("my repo/.git") == ("git", str(tmp_path / "my repo/.git"), "my-repo")
    assert describe("my repo/sub") == ("directory", str(tmp_path / "my repo/sub"), "sub")
    assert describe("link") == ("git", str(tmp_path / "my repo"), "my-repo")
    assert describe(f"file://{tmp_path}/bare.git") == ("git", str(tmp_path / "bare.git"), "bare")
    assert describe("git@host:x") == ("directory", str(tmp_path / "git@host:x"), "git-host-x")
    assert describe(".") == ("directory", str(tmp_path), default_name(tmp_path.name))
    assert describe("/")[2] == ""


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("missing", "can't be read: No such file"),
        ("file.py", "is a file; index the directory"),
        ("a\0b", "can't be read"),
        ("loop", "can't be read"),
        ("\udcff", "is not UTF-8"),
        ("~nobody-of-that-name/x", "can't be read"),
        ("https://user:hunter2@example.com/x", r"'https://\*\*\*@example.com/x' holds a password"),
        ("https://token@example.com/x", "holds a password"),
        ("ext::sh -c true", "white space"),
    ],
)
def test_what_can_not_be_a_source_says_why(tmp_path, monkeypatch, location, message):
    (tmp_path / "file.py").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "\udcff").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InvalidRequest, match=message) as raised:
        describe(location)

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("location", ["/etc", "file:///etc", ".", "~", "git@host:x"])
def test_paths_can_be_refused(tmp_path, monkeypatch, location):
    (tmp_path / "git@host:x").mkdir()
    monkeypatch.chdir(tmp_path)

    if location == "git@host:x":
        assert describe(location, allow_local=False)[0] == "url"
    else:
        with pytest.raises(InvalidRequest, match="not an https or ssh address"):
            describe(location, allow_local=False)


@pytest.mark.parametrize("name", ["a", "team/repo-1.x_y", ".github", "a" * 200])
def test_names_of_letters_digits_and_separators_are_valid(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/../b", "/a", "a/", "a//b", "a b", "a\n", "ä", "<img>", "a" * 201, ";rm"]
)
def test_other_names_are_refused(name):
    with pytest.raises(InvalidRequest, match=r"--name|is not valid"):
        check_name(name)
