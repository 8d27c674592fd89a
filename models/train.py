"""Tuning the table of a static model: the two texts of a pair are to be nearer than those of different pairs.

InfoNCE in both directions over the pairs of a batch (van den Oord et al., "Representation Learning with Contrastive
Predictive Coding", 2018), with Adam on the rows that a batch touches. In numpy: a step is a few matrix products.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.bags import counted
from services.core.tokens import Ragged


@dataclass(frozen=True, slots=True)
class Schedule:
    """How to train; `rate` is in units of the table's root mean square."""

    seed: int = 1
    epochs: int = 2
    batch: int = 512
    rate: float = 0.05
    temperature: float = 0.05


@dataclass(frozen=True, slots=True)
class _Side:
    """One text of each pair of a batch: counts float32[batch, pieces], unit rows float32[batch, dim], lengths."""

    numbers: np.ndarray
    counts: np.ndarray
    unit: np.ndarray
    lengths: np.ndarray


class Adam:
    """Adam (Kingma and Ba, 2015) whose moments move only in the rows that have a gradient."""

    def __init__(self, table: np.ndarray) -> None:
        self._first = np.zeros_like(table)
        self._second = np.zeros_like(table)
        self._steps = np.zeros(len(table), dtype=np.int64)

    def step(self, table: np.ndarray, rows: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        """Change the given rows of the table in place."""
        self._steps[rows] += 1
        first = 0.9 * self._first[rows] + 0.1 * gradient
        second = 0.999 * self._second[rows] + 0.001 * gradient * gradient
        self._first[rows], self._second[rows] = first, second
        done = self._steps[rows][:, None]
        table[rows] -= rate * (first / (1 - 0.9**done)) / (np.sqrt(second / (1 - 0.999**done)) + 1e-8)


# Texts of the pairs for an epoch: queries and documents.
Sample = Callable[[np.random.Generator], tuple[Ragged, Ragged]]


def train(
    table: np.ndarray,
    sample: Sample,
    schedule: Schedule,
    groups: np.ndarray,
    report: Callable[[str], None] = print,
) -> np.ndarray:
    """Return the tuned table, float32; `sample` gives the pairs of each epoch anew, `groups` the group of each."""
    scale = float(np.sqrt((table**2).mean()))
    tuned = (table / scale).astype(np.float32)
    random = np.random.default_rng(schedule.seed)
    adam = Adam(tuned)
    for epoch in range(schedule.epochs):
        queries, documents = sample(random)
        batches = _batches(groups, schedule.batch, random)
        losses = []
        for number, rows in enumerate(batches):
            done = (epoch * len(batches) + number) / (schedule.epochs * len(batches))
            rate = schedule.rate * min(1.0, 20 * done + 0.05) * (1 - done)
            losses.append(_step(tuned, adam, queries.take(rows), documents.take(rows), schedule.temperature, rate))
        report(f"epoch {epoch + 1}: loss {np.mean(losses[: len(losses) // 10 + 1]):.4f} to {np.mean(losses[-50:]):.4f}")
    return tuned * np.float32(scale)


def _batches(groups: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """Return int[n, size], row numbers in random order, those of a batch of one group but where two meet.

    Functions of one language are harder to tell apart: 0.015 NDCG@10 of dense search over mixed batches.
    """
    order = random.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    batches = order[: len(order) // size * size].reshape(-1, size)
    shuffled: np.ndarray = batches[random.permutation(len(batches))]
    return shuffled


def _step(table: np.ndarray, adam: Adam, queries: Ragged, documents: Ragged, temperature: float, rate: float) -> float:
    asked, answered = _side(table, queries), _side(table, documents)
    similar = asked.unit @ answered.unit.T / temperature
    forward, backward = _softmax(similar), _softmax(similar.T).T
    own = np.arange(len(similar))
    loss = -(np.log(forward[own, own] + 1e-12).mean() + np.log(backward[own, own] + 1e-12).mean()) / 2
    slope = (forward + backward) / (2 * len(similar) * temperature)
    slope[own, own] -= 1 / (len(similar) * temperature)
    for side, other, gradient in ((asked, answered, slope), (answered, asked, slope.T)):
        adam.step(table, side.numbers, _gradient(side, gradient @ other.unit), rate)
    return float(loss)


def _side(table: np.ndarray, bags: Ragged) -> _Side:
    rows, pieces, counts = counted(bags)
    numbers, columns = np.unique(pieces, return_inverse=True)
    held = np.zeros((len(bags), len(numbers)), dtype=np.float32)
    held[rows, columns] = counts
    sums = held @ table[numbers]
    lengths = np.maximum(np.linalg.norm(sums, axis=1), 1e-6)[:, None]
    return _Side(numbers, held, sums / lengths, lengths)


def _gradient(side: _Side, by_unit: np.ndarray) -> np.ndarray:
    along = (by_unit * side.unit).sum(axis=1, keepdims=True)
    by_sum = ((by_unit - along * side.unit) / side.lengths).astype(np.float32)
    gradient: np.ndarray = side.counts.T @ by_sum
    return gradient


def _softmax(scores: np.ndarray) -> np.ndarray:
    risen = np.exp(scores - scores.max(axis=1, keepdims=True))
    share: np.ndarray = risen / risen.sum(axis=1, keepdims=True)
    return share
