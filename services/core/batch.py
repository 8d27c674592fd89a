"""Cutting texts into batches for a transformer, whose cost is the tokens of the longest text times the texts."""

import threading
from collections.abc import Callable, Iterator, Sequence

# Successful batches after which a reduced budget is tried again at twice its size: whatever held the memory
# may be gone, and a try costs one failed batch.
_GROW_AFTER = 64


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


def bucket_batches(
    lengths: Sequence[int], buckets: Sequence[int], fitting: Callable[[int], int]
) -> Iterator[tuple[int, list[int]]]:
    """Yield (bucket, text numbers), largest bucket first, at most ``fitting(bucket)`` texts each.

    A bucket holds texts up to its number of tokens and above that of the next smaller one: texts padded to a few
    lengths, because a server can only join requests of the same shape. `fitting` is asked again for each batch.
    `buckets` ascend, and no text is longer than the last. Every text comes once.
    """
    rest = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    for lower, bucket in reversed(list(zip((-1, *buckets), buckets, strict=False))):
        count = next((at for at, number in enumerate(rest) if lengths[number] <= lower), len(rest))
        inside, rest = rest[:count], rest[count:]
        while inside:
            texts = max(1, fitting(bucket))
            yield bucket, inside[:texts]
            inside = inside[texts:]


class TokenBudget:
    """How many tokens one batch may have: halved when a batch found no memory, restored when it does again.

    Safe for threads.
    """

    def __init__(self, limit_tokens: int) -> None:
        self._limit = limit_tokens
        self._lock = threading.Lock()
        self._good = 0
        self.tokens = limit_tokens

    def texts_of(self, length: int) -> int:
        """Return how many texts of that many tokens may come together, one at least."""
        return max(1, self.tokens // max(1, length))

    def refused(self, tokens: int) -> None:
        """Take note that a batch of `tokens` was too much; several of one size count once."""
        with self._lock:
            self._good = 0
            self.tokens = max(1, min(self.tokens, tokens // 2))

    def taken(self) -> None:
        """Take note that a batch went well."""
        with self._lock:
            self._good += 1
            if self._good >= _GROW_AFTER:
                self._good = 0
                self.tokens = min(self._limit, self.tokens * 2)
