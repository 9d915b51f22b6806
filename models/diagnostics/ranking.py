"""Rows ranked once by a prediction, so that each resample costs one cumulated sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.diagnostics.resampling import row_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.diagnostics.inputs import Rows
    from models.diagnostics.resampling import Counts

    Array = NDArray[np.float64]


class Ranking:
    """Rows in the order of a model's rates.

    The area under a concentration curve needs only the rows that hold a part of the total: with F_i the share
    of exposure below row i plus half of its ties, Gini = 2 sum_i a_i F_i / sum_i a_i - 1.

    Parameters
    ----------
    rows, model
        Checked rows, and which of their models ranks.
    """

    def __init__(self, rows: Rows, model: str) -> None:
        rate = rows.rate(model)
        self._order = np.argsort(rate, kind="stable")
        self._exposure = rows.exposure[self._order]
        self._rate = rate[self._order]
        self._steps = np.diff(self._rate)
        ends = np.append(np.flatnonzero(self._steps), len(rate) - 1)
        held = np.flatnonzero(rows.actual[self._order])
        tie = np.searchsorted(ends, held)
        self._end = ends[tie] + 1
        self._start = np.append(-1, ends)[tie] + 1
        self._held = self._order[held]
        self._actual = rows.actual[self._held]
        self._below = np.zeros(len(rate) + 1)

    def gini(self, weights: Counts) -> float:
        """Gini of the actual total on a resample, weights of shape (n,) in the order of the rows."""
        below = self._below
        np.multiply(weights.take(self._order), self._exposure, out=below[1:])
        np.cumsum(below[1:], out=below[1:])
        middle = (below[self._start] + below[self._end]) / 2.0 / below[-1]
        part = self._actual * weights[self._held]
        return float(2.0 * (part @ middle) / part.sum() - 1.0)

    def ginis(self, weights: Counts) -> tuple[float, float]:
        """Gini of the actual and of the expected total on a resample.

        Within ties the Lorenz curve of the expected total is straight, so it needs no look at them.
        """
        actual = self.gini(weights)
        # Summed by parts: sums of rate x step of exposure, and of its square, without making the steps.
        inner, end, top = self._below[1:-1], float(self._below[-1]), float(self._rate[-1])
        total = top * end - float(self._steps @ inner)
        area = (top * end * end - float(np.einsum("i,i,i->", self._steps, inner, inner))) / 2.0
        return actual, 2.0 * area / total / end - 1.0


def gini_draws(rows: Rows, draws: int, seed: int, cluster: NDArray[np.int64] | None = None) -> pd.DataFrame:
    """Give the Gini of every model on each resample (see `row_weights`), shape (draws, models)."""
    rankings = [Ranking(rows, model) for model in rows.models]
    found = np.empty((draws, len(rankings)))
    for line, weights in zip(found, row_weights(len(rows.actual), draws, seed, cluster), strict=True):
        line[:] = [ranking.gini(weights) for ranking in rankings]
    return pd.DataFrame(found, columns=rows.models)
