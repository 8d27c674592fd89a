import pytest
from pygments.lexers import get_lexer_by_name

from services.api.languages import LEXERS, canonical_language
from services.api.request import MAX_QUERY_CHARS, Mode, SearchRequest, parse_search
from services.chunker.languages import language_of
from services.core.errors import InvalidRequest


def test_parameters_become_a_request():
    request = parse_search({"q": "a b", "repo": ["x", "x"], "lang": "JS", "path": None, "mode": "exact", "limit": 5})

    assert request == SearchRequest("a b", ("x",), ("javascript",), "", Mode.EXACT, 5)


def test_names_written_out_mean_the_same():
    assert parse_search({"query": "a", "repos": ["x"], "languages": ["go"]}) == SearchRequest("a", ("x",), ("go",))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"q": ""},
        {"q": " \t\n"},
        {"q": "x" * (MAX_QUERY_CHARS + 1)},
        {"q": "a\0b"},
        {"q": "\ud800"},
        {"q": 5},
        {"q": ["a"]},
        {"q": "a", "limit": 0},
        {"q": "a", "limit": -1},
        {"q": "a", "limit": 10**9},
        {"q": "a", "limit": 10**400},
        {"q": "a", "limit": "5"},
        {"q": "a", "limit": 1.5},
        {"q": "a", "limit": True},
        {"q": "a", "offset": 2**63},
        {"q": "a", "mode": "fuzzy"},
        {"q": "a", "mode": ["exact"]},
        {"q": "a", "repo": 5},
        {"q": "a", "repo": [5]},
        {"q": "a", "repo": ["x" * 300]},
        {"q": "a", "repo": [""]},
        {"q": "a", "repo": [str(i) for i in range(300)]},
        {"q": "a", "lang": "klingon"},
        {"q": "a", "path": "x" * 600},
        {"q": "a", "explain": 1},
        {"q": "a", "query": "b"},
        {"q": "a", "colour": "red"},
    ],
    ids=lambda p: str(p)[:40],
)
def test_what_makes_no_sense_is_refused(parameters):
    with pytest.raises(InvalidRequest):
        parse_search(parameters)


def test_an_unknown_language_is_refused_with_those_that_are_close():
    with pytest.raises(InvalidRequest, match="python"):
        canonical_language("pyton")


@pytest.mark.parametrize(
    "path",
    ["a.py", "a.h", "a.tsx", "a.proto", "a.tf", "Makefile", "Dockerfile", "a.bzl", "a.unknown", "a.ipynb", "a.vue"],
)
def test_the_language_of_an_indexed_file_can_be_filtered_by(path):
    assert canonical_language(language_of(path, b"")) == language_of(path, b"")


@pytest.mark.parametrize("language", sorted(LEXERS))
def test_every_language_has_a_lexer(language):
    assert get_lexer_by_name(LEXERS[language])
