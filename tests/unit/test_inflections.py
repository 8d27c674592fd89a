import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.inflections import inflections


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("parses", {"parse"}),
        ("parse", {"parses", "parsing", "parsed", "parser"}),
        ("parsing", {"parse"}),
        ("running", {"run"}),
        ("caches", {"cache"}),
        ("retries", {"retry"}),
        ("classes", {"class"}),
        ("connection", {"connect"}),
    ],
)
def test_forms_of_a_word_are_among_its_inflections(word, forms):
    assert forms <= inflections(word)


@pytest.mark.parametrize("word", ["", "a", "id", "utf8", "größe", "x_y"])
def test_what_is_no_english_word_has_none(word):
    assert inflections(word) == frozenset()


@given(st.text(alphabet="abcdeginorsy", max_size=12))
def test_inflections_are_few_lower_case_and_never_the_word_itself(word):
    forms = inflections(word)

    assert word not in forms
    assert len(forms) <= 9
    assert all(form.isalpha() and form.islower() and len(form) > 2 for form in forms)
