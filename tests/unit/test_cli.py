import socket
from argparse import Namespace

import pytest

from services.cli.render import print_hits
from services.cli.serve import serve
from services.cli.status import status
from services.core.catalog import Catalog
from services.core.database import open_database
from services.core.errors import InvalidRequest, NotFound
from services.core.ledger import Ledger
from services.core.settings import Settings
from services.embedded.home import Home


def asked_for(name):
    return Namespace(name=name, skipped=False, json=False)


def test_the_status_of_an_unknown_repository_is_not_found(tmp_path):
    settings = Settings(home=tmp_path / "home")
    with pytest.raises(NotFound, match="nothing is indexed"):
        status(asked_for("nosuch"), settings)

    Home(settings.home).prepare()
    open_database(Home(settings.home).database).dispose()

    with pytest.raises(NotFound, match="quarry repos"):
        status(asked_for("nosuch"), settings)


def test_the_status_of_one_repository_shows_its_jobs_only(tmp_path, capsys):
    home = Home(tmp_path)
    engine = open_database(home.database)
    for name in ("mine", "other"):
        Catalog(engine).add(name, "git", f"/{name}", "")
        Ledger(engine).create_job(name)
    engine.dispose()

    status(asked_for("mine"), Settings(home=tmp_path))
    shown = capsys.readouterr().out

    assert "job 1 on mine" in shown
    assert "other" not in shown


@pytest.mark.enable_socket
def test_serve_on_a_busy_port_gives_everything_back(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        with pytest.raises(InvalidRequest, match="in use"):
            serve(Namespace(host="127.0.0.1", port=other.getsockname()[1]), Settings(home=tmp_path))

    assert Home(tmp_path).try_own("serve")


def test_long_lines_are_not_folded(capsys):
    path, line = "long folder/" * 20 + "a.py", "word " * 60 + "end"
    hit = {"repo": "r", "path": path, "symbol": "", "start_line": 1, "end_line": 1, "score": 1.0, "text": line}

    print_hits({"hits": [hit], "took_ms": 1.0, "query": "x"})

    assert [text.strip() for text in capsys.readouterr().out.splitlines()][::2] == [f"r/{path}", f"1 {line}"]


@pytest.mark.parametrize(
    ("where", "matches", "first"),
    [(45, [], 30), (2, [], 1), (None, [], 1), (2, [(41, 1, 5)], 33)],
    ids=["below", "at-the-top", "nowhere", "a-match-comes-first"],
)
def test_of_a_long_hit_the_lines_that_say_most_of_the_query_are_shown(capsys, where, matches, first):
    lines = [f"line {number}" for number in range(1, 61)]
    if where is not None:
        lines[where - 1] = "parse_header(request)"
    hit = {"repo": "r", "path": "a.py", "symbol": "", "start_line": 1, "end_line": 60, "score": 1.0}

    print_hits(
        {"hits": [hit | {"text": "\n".join(lines), "matches": matches}], "took_ms": 1.0, "query": "parse headers"}
    )

    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    numbers = [
        int(words[0]) for words in shown if words and words[0].isdigit() and len(words) > 1 and words[1] != "hit"
    ]
    assert (numbers[0], len(numbers)) == (first, 24)
