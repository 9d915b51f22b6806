"""What effects of a predict function share: a sample of rows, grids of values, checked predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from models.diagnostics.bands import MOST_LEVELS
from models.diagnostics.inputs import check_rows
from models.errors import DiagnosticError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Predict = Callable[[pd.DataFrame], ArrayLike]

Scale = Literal["response", "log"]
EXTREMES = 0.01


def sample_rows(
    X: pd.DataFrame,  # noqa: N803 - the name scikit-learn gives it
    exposure: ArrayLike | None,
    rows: int,
    seed: int,
) -> tuple[pd.DataFrame, Array]:
    """Draw rows without replacement, at most `rows`; give them with their exposure (1 when absent)."""
    if not len(X):
        raise DiagnosticError(["X has no rows"])
    weight = np.ones(len(X)) if exposure is None else np.asarray(exposure, dtype=np.float64)
    if len(weight) != len(X):
        raise DiagnosticError([f"exposure has {len(weight)} rows, X has {len(X)}"])
    check_rows(None, weight, weight)
    if len(X) <= rows:
        return X.reset_index(drop=True), weight
    chosen = np.random.default_rng(seed).choice(len(X), rows, replace=False)
    return X.iloc[chosen].reset_index(drop=True), weight[chosen]


def check_features(X: pd.DataFrame, features: Sequence[str] | None) -> list[str]:  # noqa: N803
    """Give the features, all columns when None; refuse what X does not hold."""
    chosen = list(X.columns) if features is None else list(features)
    if unknown := [name for name in chosen if name not in X.columns]:
        raise DiagnosticError(
            [f"X has no column {', '.join(map(repr, unknown))}; there are {', '.join(X.columns)}"]
        )
    return chosen


def predicted(predict: Predict, X: pd.DataFrame, scale: Scale) -> Array:  # noqa: N803
    """Predict and check: one finite number per row, positive where logarithms are taken; shape (n,)."""
    found = np.asarray(predict(X), dtype=np.float64)
    if found.shape != (len(X),):
        raise DiagnosticError(
            [f"predict gave shape {found.shape} for {len(X)} rows; allowed: one number per row"]
        )
    if scale == "log":
        if low := int(np.count_nonzero(found <= 0)):
            raise DiagnosticError(
                [f"predict gave {low} of {len(X)} rows that are not positive; no log. Hint: scale"]
            )
        found = np.log(found)
    if unknown := int(np.count_nonzero(~np.isfinite(found))):
        raise DiagnosticError([f"predict gave {unknown} of {len(X)} rows that are not finite"])
    return found


def is_number(column: pd.Series) -> bool:
    """Tell numbers from levels."""
    return bool(pd.api.types.is_numeric_dtype(column.dtype)) and not pd.api.types.is_bool_dtype(column.dtype)


def replaced(X: pd.DataFrame, values: dict[str, object]) -> pd.DataFrame:  # noqa: N803
    """Give X with columns set to one value or to an array, in their own types."""
    new = {
        name: pd.Series(np.full(len(X), value) if np.isscalar(value) else value, index=X.index)
        for name, value in values.items()
    }
    return X.assign(**{name: column.astype(X[name].dtype) for name, column in new.items()})


def number_grid(column: pd.Series, weight: Array, points: int, cut: float = EXTREMES) -> Array:
    """Give ascending values of a number that cut its exposure into equal parts, ends included.

    The share `cut` of the exposure lies beyond either end, where hardly any row would support an effect.
    """
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    known = ~np.isnan(numbers)
    if not known.any():
        raise DiagnosticError([f"{column.name}: all {len(column)} rows are missing"])
    distinct, place = np.unique(numbers[known], return_inverse=True)
    held = np.bincount(place, weight[known])
    # A value that holds much exposure takes one point, not the points of its neighbours.
    held = np.minimum(held, held.sum() / points)
    chance = np.clip(np.linspace(0.0, 1.0, points), cut, 1.0 - cut)
    return np.unique(np.quantile(distinct, chance, weights=held, method="inverted_cdf"))


def level_grid(column: pd.Series, weight: Array) -> list[object]:
    """Give the levels of a category that hold the most exposure, at most 25, in their order."""
    levels = column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("category")
    codes = levels.cat.codes.to_numpy()
    held = np.bincount(codes[codes >= 0], weight[codes >= 0], len(levels.cat.categories))
    largest = np.argsort(-held, kind="stable")[:MOST_LEVELS]
    return [levels.cat.categories[k] for k in np.sort(largest) if held[k] > 0]
