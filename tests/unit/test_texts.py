"""A batch of texts and its words."""

import numpy as np

from services.core import texts as texts_module
from services.core.texts import Texts


def test_a_batch_is_cut_once(monkeypatch):
    calls = []
    known = texts_module.vocabulary()
    monkeypatch.setattr(texts_module, "vocabulary", lambda: calls.append(1) or known)
    texts = Texts(["def f(): pass", "class A: pass"])

    first, second = texts.words, texts[[1, 0]].words

    assert calls == [1]
    assert first.vocabulary is second.vocabulary


def test_a_part_of_a_batch_has_the_words_of_its_texts():
    batch = ["open the file", "close", "", "read the file"]
    whole = Texts(batch)
    _ = whole.words

    part = whole[[3, 2, 0]]

    assert part.texts == [batch[3], batch[2], batch[0]]
    assert np.array_equal(part.words.numbers.values, Texts(part.texts).words.numbers.values)
    assert part.words.numbers.indptr.tolist() == [0, 3, 3, 6]


def test_no_texts_have_no_words():
    assert len(Texts([]).words.numbers) == 0
