"""Sparse vectors of chunks and queries."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.sparse import file_query, sparse_documents, sparse_query, symbol_query
from services.core.texts import Texts
from services.core.tokens import expand, term_index

IDENTIFIERS = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,15}", fullmatch=True)


def row(text="", path="", defines=()):
    rows = sparse_documents(Texts([text]), [path], [defines])
    return dict(zip(rows.indices.tolist(), rows.values.tolist(), strict=True))


def weight(terms, word):
    return terms.get(term_index(word), 0.0)


def score(query, document):
    return sum(float(v) * document.get(int(i), 0.0) for i, v in zip(*query, strict=True))


@given(st.lists(st.tuples(st.lists(IDENTIFIERS), IDENTIFIERS, st.lists(IDENTIFIERS, max_size=3)), max_size=8))
def test_rows_are_sorted_unique_and_positive(chunks):
    texts, paths, defines = [" ".join(c[0]) for c in chunks], [f"a/{c[1]}.py" for c in chunks], [c[2] for c in chunks]

    rows = sparse_documents(Texts(texts), paths, defines)

    assert len(rows) == len(chunks)
    assert rows.indices.dtype == np.uint32
    assert rows.values.dtype == np.float32
    assert (rows.values > 0).all()
    for start, end in zip(rows.indptr, rows.indptr[1:], strict=False):
        assert (np.diff(rows.indices[start:end].astype(np.int64)) > 0).all()


@given(st.lists(IDENTIFIERS, min_size=1, max_size=20))
def test_every_term_of_a_text_is_in_its_row(words):
    expected = {term_index(term) for word in words for term in expand(word)[0]}

    assert set(row(" ".join(words))) == expected


@given(st.lists(st.lists(IDENTIFIERS), min_size=2, max_size=6))
def test_a_row_does_not_depend_on_its_neighbours(texts):
    joined = [" ".join(words) for words in texts]

    together = sparse_documents(Texts(joined), ["x.py"] * len(joined), [()] * len(joined))

    for i, text in enumerate(joined):
        start, end = together.indptr[i], together.indptr[i + 1]
        alone = row(text, "x.py")
        assert together.indices[start:end].tolist() == list(alone)
        assert together.values[start:end].tolist() == list(alone.values())


def test_a_weight_grows_with_occurrences_and_saturates():
    once, twice, often = (weight(row("cache " * n + "word " * (138 - n)), "cache") for n in (1, 2, 80))

    assert once < twice < often < 2.2
    assert once == pytest.approx(1.0, abs=0.01)


def test_a_long_chunk_gives_its_words_less_weight():
    assert weight(row("cache " + "word " * 400), "cache") < weight(row("cache"), "cache")


def test_the_stem_weighs_more_than_the_folder_and_both_more_than_nothing():
    terms = row("pass", "network/retry_policy.py")

    assert weight(terms, "retrypolicy") > weight(terms, "network") > 0
    assert weight(terms, "retry") > 0
    assert weight(terms, "py") == 0


@pytest.mark.parametrize("path", ["billing/__init__.py", "billing/index.ts", "src/billing/mod.rs", "billing/README.md"])
def test_the_folder_names_a_file_without_a_name_of_its_own(path):
    assert weight(row("pass", path), "billing") == weight(row("pass", "billing.py"), "billing")


def test_a_folder_counts_wherever_it_stands():
    assert weight(row("pass", "drivers/net/wireless/a.c"), "drivers") > 0


def test_a_definition_is_found_by_its_name_however_it_is_written():
    document = row("...", defines=["readFile"])

    assert score(symbol_query("readFile"), document) > score(symbol_query("read_file"), document) > 0
    assert score(symbol_query("pkg.io.readFile"), document) == score(symbol_query("readFile"), document)


def test_a_mention_is_no_definition():
    assert score(symbol_query("read_file"), row("read_file() read_file()")) == 0


def test_a_definition_with_a_part_of_the_name_scores_less():
    query = symbol_query("parse_header")

    whole, part = row(defines=["parse_header"]), row(defines=["parse_body"])

    assert score(query, whole) > 4 * score(query, part) > 0


def test_a_definition_weighs_the_same_in_a_long_chunk():
    name = term_index("def:run")

    assert row("word " * 500, defines=["run"])[name] == row("", defines=["run"])[name] == 1.0


@pytest.mark.parametrize("query", ["readFile", "read_file", "read file", "reading files"])
def test_a_file_is_found_by_its_name_whatever_its_text_says(query):
    named, other = row("pass", "src/read_file.py"), row("read file", "src/other.py")

    assert score(file_query(query), named) > score(file_query(query), other) == 0


def test_the_name_of_a_file_counts_more_than_its_folders():
    query = file_query("retry")

    assert score(query, row("", "net/retry.py")) > score(query, row("", "retry/net.py")) > 0
    assert score(query, row("", "retry/__init__.py")) == score(query, row("", "retry.py"))


def test_only_the_first_chunk_of_a_file_stands_for_it():
    paths = ["aa.py", "aa.py", "bb.py", "bb.py", "aa/bb.py"]
    rows = sparse_documents(Texts([""] * 5), paths, [()] * 5)
    name = term_index("file:bb")

    assert [name in rows.indices[rows.indptr[i] : rows.indptr[i + 1]] for i in range(5)] == [False] * 2 + [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("query", ["readFile", "read_file", "read file", "READ_FILE"])
def test_a_name_is_found_in_any_convention(query):
    assert int(term_index("readfile")) in sparse_query(query)[0].tolist()


def test_a_whole_name_outweighs_its_parts():
    indices, values = sparse_query("readFile")
    weights = dict(zip(indices.tolist(), values.tolist(), strict=True))

    assert weights[term_index("readfile")] > weights[term_index("read")]


def test_small_words_of_a_question_are_left_out_unless_they_are_all_there_is():
    assert term_index("how") not in sparse_query("how is a token parsed")[0]
    assert term_index("for") in sparse_query("for in")[0]


@given(st.text(max_size=200))
def test_a_query_is_sorted_unique_and_finite(text):
    for indices, values in (sparse_query(text), symbol_query(text)):
        assert indices.dtype == np.uint32
        assert values.dtype == np.float32
        assert (np.diff(indices.astype(np.int64)) > 0).all()
        assert len(indices) == len(values)
        assert np.isfinite(values).all()


def test_a_chunk_has_at_most_512_terms_and_keeps_the_heaviest():
    text = " ".join(f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600)) + " cache cache"

    terms = row(text, "storage/engine.py")

    assert len(terms) == 512
    assert weight(terms, "cache") > 0
    assert weight(terms, "engine") > 0


def test_no_chunks_make_no_rows():
    rows = sparse_documents(Texts([]), [], [])

    assert len(rows) == 0
    assert len(rows.indices) == 0


def test_a_chunk_without_a_word_is_an_empty_row():
    rows = sparse_documents(Texts(["{}", "word"]), ["", ""], [(), ()])

    assert rows.indptr.tolist() == [0, 0, 1]


def test_another_process_makes_the_same_terms():
    code = "from services.core.tokens import term_index; print(term_index('readfile'))"

    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={})

    assert int(other.stdout) == term_index("readfile") == 0x5018CEB8


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("parses requests", "parse"),
        ("parsing requests", "parse"),
        ("parser of requests", "parse"),
        ("retries requests", "retry"),
        ("running requests", "run"),
        ("handler of requests", "handle"),
        ("token requests", "tokens"),
    ],
)
def test_a_word_is_found_in_another_form_for_less_than_as_it_stands(asked, written):
    weights = dict(zip(*map(np.ndarray.tolist, sparse_query(asked)), strict=True))

    assert 0 < weights[term_index(written)] < weights[term_index(asked.split()[0])]


def test_an_identifier_is_not_looked_for_in_other_forms():
    assert len(sparse_query("parseHeader")[0]) == 3


def test_a_form_that_the_query_says_itself_keeps_its_weight():
    weights = dict(zip(*map(np.ndarray.tolist, sparse_query("parse parses")), strict=True))

    assert weights[term_index("parse")] == weights[term_index("parses")] == 1.0
