"""The bootstrap of rows that curves and their differences share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from models.diagnostics.inputs import check_column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Counts = NDArray[np.uint8]


# How often a row is drawn, by 16 random bits: Poisson of mean 1, each chance to the next 1/65536.
_EDGES = np.rint(65536 * stats.poisson.cdf(np.arange(9), 1.0)).astype(np.int64)
TIMES = np.repeat(np.arange(9, dtype=np.uint8), np.diff(_EDGES, prepend=0))


def cluster_codes(cluster: ArrayLike | None, size: int) -> NDArray[np.int64] | None:
    """Give each policy or customer a number from 0, in order of appearance, shape (size,).

    A row without one stands for itself. None where every row does, so that nothing hangs together.
    """
    if cluster is None:
        return None
    check_column("cluster", cluster, size)
    codes, known = pd.factorize(np.asarray(cluster))
    alone = codes < 0
    codes = codes.astype(np.int64)
    codes[alone] = len(known) + np.arange(np.count_nonzero(alone))
    return None if codes.max(initial=-1) + 1 == size else codes


def row_weights(
    size: int, draws: int, seed: int, cluster: NDArray[np.int64] | None = None
) -> Iterator[Counts]:
    """Give how often each row is drawn: Poisson bootstrap, every row Poisson(1) times on its own.

    For large n it is the bootstrap of n rows with replacement (Chamandy et al. 2012), and it needs no access
    out of order. One draw is held at a time, as bytes. Models that are compared read the same weights, which
    pairs the comparison.

    Parameters
    ----------
    size
        Number of rows n.
    draws
        Number of resamples.
    seed
        Of the random numbers.
    cluster
        From `cluster_codes`: rows of one policy or customer are drawn together.

    Yields
    ------
    ndarray
        Shape (n,), whole numbers of mean 1.
    """
    rng = np.random.default_rng(seed)
    drawn = size if cluster is None else int(cluster.max()) + 1
    for _ in range(draws):
        times = TIMES.take(rng.integers(0, len(TIMES), drawn, dtype=np.uint16))
        yield times if cluster is None else times.take(cluster)


def percentiles(draws: Array, level: float) -> tuple[float, float]:
    """Give the percentile interval of bootstrap draws, shape (draws,)."""
    low, high = np.quantile(draws, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def two_sided(draws: Array) -> float:
    """Give the bootstrap p-value of "no difference": twice the smaller share beyond zero, never zero."""
    size = len(draws)
    beyond = min(int(np.count_nonzero(draws <= 0)), int(np.count_nonzero(draws >= 0)))
    return min(1.0, 2.0 * (beyond + 1) / (size + 1))
