import pytest

from services.api.names import chunk_names, definition_boost, name_boost, symbol_boost, title_boost
from services.api.paths import path_words
from services.api.query import understand
from tests.unit.ranking_samples import chunk


def test_a_definition_in_the_file_of_that_name_is_its_home():
    query = understand("RetryPolicy")

    home, elsewhere = (
        definition_boost(query, chunk(path, defines=["RetryPolicy"]), path_words(path))
        for path in ("retry_policy.py", "stubs.py")
    )

    assert home > elsewhere == 1.0


def test_other_case_and_names_within_words_count_less():
    exact, other = chunk(defines=["readFile"]), chunk(defines=["ReadFile"])
    path = path_words("src/a.py")

    alone = definition_boost(understand("readFile"), exact, path)

    assert alone > definition_boost(understand("readFile"), other, path) > 0
    assert alone > definition_boost(understand("what does readFile return"), exact, path) > 0


def test_a_chunk_that_only_lies_in_the_name_does_not_define_it():
    assert definition_boost(understand("readFile"), chunk(symbol="readFile"), path_words("a.py")) == 0


def test_words_of_the_query_in_names_are_counted_by_their_share():
    assert name_boost(understand("load user settings"), chunk_names(chunk(defines=["load_settings"]))) == 2 / 3
    assert name_boost(understand("load settings"), chunk_names(chunk(symbol="Settings.load"))) == 1


@pytest.mark.parametrize(
    ("defines", "value"),
    [
        (["parse_header"], 1.0),
        (["parseHeaders"], 1.0),
        (["parse_header_line"], 2 / 3),
        (["header"], 0.5),
        (["body", "parse_header"], 1.0),
        (["body"], 0.0),
        ([], 0.0),
    ],
)
def test_a_name_that_the_query_says_whole_counts_most_and_one_word_is_half_an_accident(defines, value):
    assert title_boost(understand("how to parse the header of a request"), defines) == pytest.approx(value)


@pytest.mark.parametrize(("symbol", "value"), [("Request.parse_header", 1.0), ("Header.of", 0.0), ("", 0.0)])
def test_only_the_innermost_symbol_counts(symbol, value):
    assert symbol_boost(understand("parse the header"), symbol) == value


def test_an_identifier_is_matched_by_its_definition_alone():
    query, found = understand("LoadSettings"), chunk(symbol="load_settings", defines=["load_settings"])

    assert name_boost(query, chunk_names(found)) == 0
    assert title_boost(query, found.defines) == 0
    assert symbol_boost(query, found.symbol) == 0
