"""The bootstrap of rows that curves and their differences share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Counts = NDArray[np.uint8]


def row_weights(size: int, draws: int, seed: int) -> Iterator[Counts]:
    """Give how often each row is drawn: multinomial bootstrap, n of n rows with replacement.

    One draw is held at a time, so memory is that of a few columns. Models that are compared read the same
    weights, which pairs the comparison.

    Parameters
    ----------
    size
        Number of rows n.
    draws
        Number of resamples.
    seed
        Of the random numbers.

    Yields
    ------
    ndarray
        Shape (n,), whole numbers that add up to n.
    """
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        # No row of a hundred million is drawn more than 255 times, and bytes are gathered five times as fast.
        yield np.bincount(rng.integers(0, size, size), minlength=size).astype(np.uint8)


def percentiles(draws: Array, level: float) -> tuple[float, float]:
    """Give the percentile interval of bootstrap draws, shape (draws,)."""
    low, high = np.quantile(draws, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def two_sided(draws: Array) -> float:
    """Give the bootstrap p-value of "no difference": twice the smaller share beyond zero, never zero."""
    size = len(draws)
    beyond = min(int(np.count_nonzero(draws <= 0)), int(np.count_nonzero(draws >= 0)))
    return min(1.0, 2.0 * (beyond + 1) / (size + 1))
