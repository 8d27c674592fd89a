import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.api.patterns import literal, regex
from services.api.required import Run, of_expression, of_literal
from services.core.errors import InvalidRequest


def runs(required):
    return sorted(run.text.decode() for choice in required for run in choice)


def test_a_literal_needs_its_words_whole_but_for_its_ends():
    assert of_literal(b"get(user_id, pat") == (
        (Run(b"get", begins=False, ends=True),),
        (Run(b"user_id", begins=True, ends=True),),
        (Run(b"pat", begins=True, ends=False),),
    )


@pytest.mark.parametrize(
    ("expression", "needed"),
    [
        (r"except \w+Error:", ["Error", "except"]),
        (r"foo.*bar", ["bar", "foo"]),
        (r"fooo?bar", ["bar", "foo"]),
        (r"fooo+bar", ["bar", "fooo"]),
        (r"foob{0,2}are", ["are", "foo"]),
        (r"foob{2}are", ["are", "foob"]),
        (r"foobar{,2}", ["fooba"]),
        (r"(?:retry|again)\(", ["again", "retry"]),
        (r"(retry)?again", ["again"]),
        (r"(?P<name>retry)+again", ["again", "retry"]),
        (r"retry|a.", []),
        (r"[[:alpha:]]retry[]abc]again", ["again", "retry"]),
        (r"\bretry\x41gain\.pxd", ["gain", "pxd", "retry"]),
        (r"\pLretry\p{Greek}again", ["again", "retry"]),
        (r"retry\Qa|b\E", []),
        (r"(?i)retry", []),
        (r"^import os$", ["import"]),
        (r"a|", []),
        ("(" * 60 + "retry" + ")" * 60, []),
    ],
)
def test_an_expression_needs_the_words_that_every_match_has(expression, needed):
    assert runs(of_expression(expression, any_case=False)) == needed


def test_where_case_does_not_count_only_ascii_is_looked_up():
    assert runs(of_expression("naïveté caféteria", any_case=True)) == ["teria", "vet"]


ATOMS = st.sampled_from(["foo", "bar", "o", "_", " ", "(", r"\(", ".", r"\w", r"\W", "[a-o]", "[^]b]", "é", r"\d"])
REPEATS = st.sampled_from(["", "", "*", "+", "?", "{2}", "{0,1}", "+?"])


def grouped(inner):
    group = st.tuples(st.sampled_from(["(", "(?:", "(?P<n>"]), inner, REPEATS).map(lambda t: f"{t[0]}{t[1]}){t[2]}")
    return st.one_of(group, st.lists(inner, max_size=3).map("".join), st.tuples(inner, inner).map("|".join))


EXPRESSIONS = st.recursive(st.tuples(ATOMS.filter("(".__ne__), REPEATS).map("".join), grouped, max_leaves=8)


@given(EXPRESSIONS, st.lists(st.sampled_from(["foo", "bar", "FOO", "o", "_", " ", "(", "é", "7", "\n"]), max_size=12))
@example("foo{2}|bar", ["bar"])
def test_text_that_fits_has_what_is_required(expression, pieces):
    text = "".join(pieces).encode()
    try:
        pattern = regex(expression)
    except InvalidRequest:
        return
    if next(pattern.spans(text), None) is None:
        return

    words = re.findall(rb"[A-Za-z0-9_\x80-\xff]+", text.lower() if pattern.any_case else text)
    for choice in pattern.required:
        assert any(_fits(run, word) for run in choice for word in words), (choice, words)


@given(st.text("ab_ (é", min_size=1, max_size=8), st.text("ab_ (é", max_size=3), st.text("ab_ (é", max_size=3))
def test_text_around_a_literal_has_what_it_requires(needle, before, after):
    words = re.findall(rb"[A-Za-z0-9_\x80-\xff]+", (before + needle + after).encode())

    for (run,) in literal(needle).required:
        assert any(_fits(run, word) for word in words)


def _fits(run, word):
    return (
        run.text in word and (not run.begins or word.startswith(run.text)) and (not run.ends or word.endswith(run.text))
    )
