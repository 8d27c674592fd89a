"""Intervals for means over repositories, by resampling repositories: questions of one are not independent."""

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 10_000
_SEED = 1


def interval(values: Sequence[float], percent: float = 95.0) -> tuple[float, float]:
    """Return the bounds between which the mean lies with `percent` % (percentile bootstrap, fixed seed)."""
    means = _means(values)
    outside = (100.0 - percent) / 2
    low, high = np.percentile(means, [outside, 100.0 - outside])
    return float(low), float(high)


def mean(values: Sequence[float]) -> float:
    """Return the mean, 0 of nothing."""
    return float(np.mean(values)) if len(values) else 0.0


def _means(values: Sequence[float]) -> np.ndarray:
    given = np.asarray(values, dtype=np.float64)
    if not len(given):
        return np.zeros(1)
    drawn = np.random.default_rng(_SEED).integers(0, len(given), size=(_RESAMPLES, len(given)))
    means: np.ndarray = given[drawn].mean(axis=1)
    return means
