import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import CorruptData
from services.core.texts import Texts
from services.core.word_index import WordList, WordPlaces, index_words

LINES = st.lists(st.text("abK_ .\n0é\u212a", max_size=12), max_size=6)


def stored(texts, files=(0,)):
    words, places = index_words(Texts(texts), files)
    return WordList.unpack(words.pack()), WordPlaces.unpack(places.pack())


def chunks_with(texts, run, *, begins=False, ends=False, any_case=False):
    words, places = stored(texts)
    found = words.find(run, begins=begins, ends=ends, any_case=any_case)
    return np.flatnonzero(places.holding(found)).tolist()


def test_a_chunk_is_found_by_any_part_of_its_words():
    texts = ["def read_file(path):", "read(file)", "", "re ad_"]

    assert chunks_with(texts, b"read") == [0, 1]
    assert chunks_with(texts, b"read_") == [0]
    assert chunks_with(texts, b"ad_") == [0, 3]
    assert chunks_with(texts, b"missing") == []


def test_where_the_word_begins_and_ends_can_be_said():
    texts = ["reader", "bread", "read", "breads"]

    assert chunks_with(texts, b"read", begins=True) == [0, 2]
    assert chunks_with(texts, b"read", ends=True) == [1, 2]
    assert chunks_with(texts, b"read", begins=True, ends=True) == [2]


def test_case_counts_unless_said_otherwise():
    texts = ["Read", "read", "bREAD"]

    assert chunks_with(texts, b"read") == [1]
    assert chunks_with(texts, b"read", any_case=True) == [0, 1, 2]


@given(LINES, st.text("abK_0é", min_size=1, max_size=3))
def test_every_chunk_that_contains_a_run_of_word_characters_is_found(texts, run):
    assert chunks_with(texts, run.encode()) == [row for row, text in enumerate(texts) if run in text]


def test_words_across_the_edge_of_chunks_and_letters_that_fold_to_ascii_are_torn():
    words, _ = stored(["begin", "ning of\n", "x", "y", "\u212aelvin"], files=(0, 3))

    # The edges 0|1 and 3|4 lie within a word; 2|3 is the edge of a file.
    assert words.torn.tolist() == [1, 4]


@pytest.mark.parametrize("count", [3, 70_000])
def test_places_come_back_in_packs_of_any_size(count):
    texts = [f"w{i % 7}" for i in range(count)]
    words, places = stored(texts)

    (number,) = words.find(b"w2", begins=True, ends=True, any_case=False)
    assert np.flatnonzero(places.holding([number])).tolist() == list(range(2, count, 7))


def test_the_same_texts_give_the_same_bytes_whatever_was_cut_before():
    first = [part.pack() for part in index_words(Texts(["one two", "two"]), (0,))]
    index_words(Texts(["three two one"]), (0,))

    assert [part.pack() for part in index_words(Texts(["one two", "two"]), (0,))] == first


@pytest.mark.parametrize("kind", [WordList, WordPlaces])
def test_damaged_words_are_refused(kind):
    part = index_words(Texts(["one two", "two"]), (0,))[kind is WordPlaces].pack()
    for wrong in (b"", part[:-1], part[:-5] + b"?????", b"x" + part):
        with pytest.raises(CorruptData):
            kind.unpack(wrong)
