"""Partial dependence: the mean prediction when one factor is set to a value for everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.diagnostics.effects import Effects, make_effects
from models.diagnostics.grids import (
    Scale,
    check_features,
    is_number,
    level_grid,
    number_grid,
    predicted,
    replaced,
    sample_rows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from models.diagnostics.grids import Predict

    Array = NDArray[np.float64]

POINTS = 16
ROWS = 1000


def partial_dependence(
    predict: Predict,
    X: pd.DataFrame,  # noqa: N803
    features: Sequence[str] | None = None,
    *,
    exposure: ArrayLike | None = None,
    scale: Scale = "response",
    points: int = POINTS,
    rows: int = ROWS,
    seed: int = 1,
) -> Effects:
    """Average predictions over the book with one factor set to a value for all rows (Friedman 2001).

    Pairs of values that do not occur together are predicted too; where factors are strongly tied, read `ale`.
    Categories keep their type, which `model_diagnostics.compute_partial_dependence` does not do; on numbers
    both agree.

    Parameters
    ----------
    predict
        Frame -> prediction, shape (n,).
    X
        Rows of the book.
    features
        All columns when absent.
    exposure
        Weights of the rows; 1 when absent.
    scale
        `log` averages logarithms, so that the effect of a multiplicative tariff is its relativity.
    points
        Values of a number.
    rows, seed
        Rows that are drawn, and seed.
    """
    drawn, weight = sample_rows(X, exposure, rows, seed)
    parts = []
    for name in check_features(X, features):
        grid: Sequence[object] = (
            list(number_grid(drawn[name], weight, points))
            if is_number(drawn[name])
            else level_grid(drawn[name], weight)
        )
        means = np.array([dependence(predict, drawn, weight, {name: value}, scale) for value in grid])
        held = _held(drawn[name], weight, grid)
        parts.append(
            pd.DataFrame(
                {
                    "factor": name,
                    "value": [f"{value:,.4g}" if isinstance(value, float) else str(value) for value in grid],
                    "place": grid if is_number(drawn[name]) else np.arange(len(grid), dtype=np.float64),
                    "effect": means - np.average(means, weights=held),
                    "low": np.nan,
                    "high": np.nan,
                    "exposure": held,
                    "ordered": is_number(drawn[name]),
                }
            )
        )
    return make_effects(parts, "Partial dependence", scale)


def dependence(
    predict: Predict,
    X: pd.DataFrame,
    weight: Array,
    values: dict[str, object],
    scale: Scale,  # noqa: N803
) -> float:
    """Give the mean prediction with columns set to one value each."""
    return float(np.average(predicted(predict, replaced(X, values), scale), weights=weight))


def _held(column: pd.Series, weight: Array, grid: Sequence[object]) -> Array:
    """Give the exposure nearest to each value of a grid, never zero."""
    if is_number(column):
        values = np.array(grid, dtype=np.float64)
        known = column.notna().to_numpy()
        numbers = column[known].to_numpy(dtype=np.float64)
        nearest = np.searchsorted((values[1:] + values[:-1]) / 2.0, numbers)
        held = np.bincount(nearest, weight[known], len(values))
    else:
        held = np.array([weight[(column == value).to_numpy()].sum() for value in grid])
    return np.maximum(held, 1e-12)
