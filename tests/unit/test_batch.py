"""Batches of texts within a budget of tokens."""

from hypothesis import given
from hypothesis import strategies as st

from services.core.batch import token_batches

LENGTHS = st.lists(st.integers(0, 300), max_size=200)


@given(LENGTHS, st.integers(1, 2000))
def test_every_text_is_in_one_batch(lengths, budget):
    batches = list(token_batches(lengths, budget))

    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 2000))
def test_a_batch_keeps_to_the_budget_unless_it_is_one_text(lengths, budget):
    for batch in token_batches(lengths, budget):
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@given(LENGTHS, st.integers(1, 2000))
def test_texts_come_longest_first_so_that_little_is_padded(lengths, budget):
    order = [lengths[row] for batch in token_batches(lengths, budget) for row in batch]

    assert order == sorted(lengths, reverse=True)
