"""Words, their terms and their parts."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core import tokens
from services.core.tokens import Ragged, Vocabulary, expand, offsets, term_index, vocabulary


@pytest.mark.parametrize(
    ("word", "terms", "parts"),
    [
        ("parse", ["parse"], ["parse"]),
        ("readFile", ["readfile", "read", "file"], ["read", "file"]),
        ("read_file", ["readfile", "read", "file"], ["read", "file"]),
        ("READ_FILE", ["readfile", "read", "file"], ["read", "file"]),
        ("__init__", ["init"], ["init"]),
        ("HTTPServer", ["httpserver", "http", "server"], ["http", "server"]),
        ("sha256sum", ["sha256sum", "sha", "256", "sum"], ["sha", "256", "sum"]),
        ("x", [], []),
        ("_", [], []),
        ("404", ["404"], ["404"]),
        ("0xdeadbeef", ["0xdeadbeef"], []),
        ("da39a3ee5e6b4b0d3255bfef95601890afd80709", ["da39a3ee5e6b4b0d3255bfef95601890afd80709"], []),
        ("aB3dE5gH7jK9", ["ab3de5gh7jk9"], []),
        ("Größe", ["grosse"], ["grosse"]),
        ("café", ["cafe"], ["cafe"]),
        ("наЙти", ["наити"], ["наити"]),
        ("检查文件", ["检查", "查文", "文件"], ["检查", "查文", "文件"]),
        ("“quoted”", ["quoted"], ["quoted"]),
    ],
)
def test_a_word_is_expanded_to_terms_and_parts(word, terms, parts):
    assert expand(word) == (terms, parts)


def test_a_long_name_is_found_by_its_parts_only():
    name = "a_name_that_somebody_really_wrote_down_and_that_is_longer_than_any_limit"

    terms, parts = expand(name)

    assert terms == parts
    assert {"name", "somebody", "longer"} <= set(parts)


@pytest.mark.parametrize("junk", ["QWxhZGRpbjpvcGVuIHNlc2FtZQ" * 4, "0" * 100, "a" * 10_000])
def test_what_nobody_would_type_is_dropped(junk):
    assert expand(junk) == ([], [])


@given(st.text())
def test_any_text_is_cut_without_an_error(text):
    rows = Vocabulary().numbers([text, "after"])

    assert len(rows) == 2
    assert rows.lengths[1] == 1


@given(st.from_regex(r"[A-Za-z0-9_]{1,30}", fullmatch=True))
def test_terms_and_parts_are_lower_case_words_of_at_least_two_characters(word):
    terms, parts = expand(word)

    assert all(t == t.lower() and t.isalnum() and len(t) > 1 for t in terms)
    assert set(parts) <= set(terms)


def test_equal_words_have_one_number():
    known = Vocabulary()

    rows = known.numbers(["open(file)", "file = file"])

    assert rows.values.tolist() == [0, 1, 1, 1]
    assert rows.indptr.tolist() == [0, 2, 4]


def test_a_full_vocabulary_is_replaced_and_texts_keep_theirs(monkeypatch):
    monkeypatch.setattr(tokens, "_MAX_WORDS", 10)
    monkeypatch.setattr(tokens, "_newest", Vocabulary())
    first = vocabulary()
    first.numbers([" ".join(f"word{i}" for i in range(11))])

    second = vocabulary()

    assert second is not first
    assert len(first) == 11
    assert len(second) == 0


def test_threads_agree_on_every_number():
    known = Vocabulary()
    words = [f"name{i}" for i in range(2000)]
    texts = [" ".join(random.Random(seed).sample(words, len(words))) for seed in range(8)]

    with ThreadPoolExecutor(8) as threads:
        rows = list(threads.map(lambda text: known.numbers([text]), texts))

    assert sorted(known.values()) == list(range(len(words)))
    terms = known.word_terms()
    for text, row in zip(texts, rows, strict=True):
        assert terms.take(row.values).values.tolist() == [t for w in text.split() for t in _indices(w)]


def _indices(word):
    return [term_index(term) for term in expand(word)[0]]


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6), st.data())
def test_taking_rows_is_taking_rows(lists, data):
    rows = Ragged(offsets(np.array([len(x) for x in lists])), np.array([v for x in lists for v in x], dtype=np.int32))
    chosen = data.draw(st.lists(st.integers(0, len(lists) - 1)))

    taken = rows.take(np.array(chosen, dtype=np.int64))

    assert [taken.values[a:b].tolist() for a, b in zip(taken.indptr, taken.indptr[1:], strict=False)] == [
        lists[i] for i in chosen
    ]
