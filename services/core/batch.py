"""Cutting texts into batches for a transformer, whose cost is the tokens of the longest text times the texts."""

from collections.abc import Iterator, Sequence


def token_batches(lengths: Sequence[int], budget_tokens: int) -> Iterator[list[int]]:
    """Yield lists of text numbers, longest first, each with ``texts * longest <= budget_tokens``.

    Every text comes once; one longer than the budget comes alone. Of equal texts the first comes first.
    """
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    start = 0
    while start < len(order):
        fitting = max(1, budget_tokens // max(1, lengths[order[start]]))
        yield order[start : start + fitting]
        start += fitting
