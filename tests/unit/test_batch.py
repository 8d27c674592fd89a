"""Batches of texts within a budget of tokens."""

from hypothesis import given
from hypothesis import strategies as st

from services.core.batch import TokenBudget, bucket_batches, token_batches

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


BUCKETS = (32, 64, 128, 256)
TOKEN_COUNTS = st.lists(st.integers(0, 256), max_size=200)


@given(TOKEN_COUNTS, st.integers(1, 5000))
def test_every_text_is_in_one_bucket_that_holds_it(lengths, budget):
    batches = list(bucket_batches(lengths, BUCKETS, TokenBudget(budget).texts_of))

    assert sorted(row for _, batch in batches for row in batch) == list(range(len(lengths)))
    assert all(min(b for b in BUCKETS if b >= lengths[row]) == bucket for bucket, rows in batches for row in rows)


@given(TOKEN_COUNTS, st.integers(1, 5000))
def test_a_bucket_s_batch_keeps_to_the_budget_unless_it_is_one_text(lengths, budget):
    batches = bucket_batches(lengths, BUCKETS, TokenBudget(budget).texts_of)

    assert all(len(rows) == 1 or len(rows) * bucket <= budget for bucket, rows in batches)


def test_a_budget_that_shrinks_counts_from_the_next_batch():
    budget = TokenBudget(128)
    batches = bucket_batches([30] * 7, BUCKETS, budget.texts_of)

    first = next(batches)
    budget.refused(128)

    assert [len(rows) for _, rows in (first, *batches)] == [4, 2, 1]


def test_batches_of_one_size_that_are_refused_together_halve_the_budget_once():
    budget = TokenBudget(8192)

    for _ in range(4):
        budget.refused(8192)

    assert budget.tokens == 4096


def test_a_budget_never_falls_below_one_text():
    budget = TokenBudget(256)

    for _ in range(20):
        budget.refused(budget.tokens)

    assert budget.texts_of(256) == 1


def test_a_budget_recovers_up_to_its_limit():
    budget = TokenBudget(8192)
    budget.refused(8192)

    for _ in range(200):
        budget.taken()

    assert budget.tokens == 8192
