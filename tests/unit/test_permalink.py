import pytest

from services.api.permalink import Place, forge_link, permalink, public_source

PLACE = Place("team/app", "src/a b#.py", "abc", 3, 9)
PATH = "src/a%20b%23.py"


@pytest.mark.parametrize(
    ("source", "link"),
    [
        ("https://github.com/o/r.git", f"https://github.com/o/r/blob/abc/{PATH}#L3-L9"),
        ("https://user:secret@github.com/o/r", f"https://github.com/o/r/blob/abc/{PATH}#L3-L9"),
        ("git@github.com:o/r.git", f"https://github.com/o/r/blob/abc/{PATH}#L3-L9"),
        ("ssh://git@github.com:22/o/r.git", f"https://github.com/o/r/blob/abc/{PATH}#L3-L9"),
        ("https://gitlab.example.com/g/s/r.git", f"https://gitlab.example.com/g/s/r/-/blob/abc/{PATH}#L3-9"),
        ("https://bitbucket.org/o/r", f"https://bitbucket.org/o/r/src/abc/{PATH}#lines-3:9"),
        ("https://codeberg.org/o/r", f"https://codeberg.org/o/r/src/commit/abc/{PATH}#L3-L9"),
        ("https://git.example.com/o/r", ""),
        ("/srv/repos/github.com/o/r", ""),
        ("C:/repos/r", ""),
        ("https://[::1/o/r", ""),
    ],
)
def test_a_forge_is_linked_to_in_its_own_way(source, link):
    assert forge_link(source, PLACE) == link


def test_everything_else_is_linked_to_on_the_own_page():
    assert permalink("/srv/app", PLACE) == "/file/team/app?path=src%2Fa+b%23.py&lines=3-9&rev=abc#L3"
    assert permalink("/srv/app", PLACE, "http://q").startswith("http://q/file/")


def test_credentials_are_never_shown():
    assert public_source("https://user:secret@host/o/r") == "https://host/o/r"
    assert public_source("/srv/a@b") == "/srv/a@b"
