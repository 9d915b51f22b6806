"""A category of many levels as one number, credited by credibility, without leaking the target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data

from data.hashing import unit_share
from models.errors import TrainingDataError
from models.level_credibility import LevelCredibility, as_levels, buhlmann_straub, checked, hierarchical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray
    from sklearn.utils import Tags

    Floats = NDArray[np.float64]

# A level believed fully that never had a claim has the logarithm of this, not of zero.
LEAST_RELATIVITY = 1e-6


class CredibilityEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn categories into credibility-weighted log relativities.

    A level becomes log(estimate / collective), with the Buhlmann-Straub estimate of its rate, or the
    hierarchical one where the column has a parent. With `expected`, the rate of a base model, the ratio of
    actual to expected is credited, that is what the base model leaves over.

    `fit_transform` gives each row the estimate of the other folds, so that no row sees its own target, nor
    that of its group; `transform` uses all rows. A level not seen falls back on its parent, or on the
    collective (0.0).

    Parameters
    ----------
    columns
        Columns to encode; all when absent. Only these are given back.
    parents
        Column -> column of its parent (`{"area": "region"}`); the parent need not be encoded itself.
    folds
        Folds of `fit_transform`, at least 2.

    Attributes
    ----------
    credibilities_
        Column -> `LevelCredibility` on all rows, with credibility and estimate of each level.
    n_features_in_, feature_names_in_
        As scikit-learn has them.

    See Also
    --------
    sklearn.preprocessing.TargetEncoder : Shrinks by rows, without exposure, variance or hierarchy.
    """

    def __init__(
        self,
        columns: Sequence[str | int] | None = None,
        *,
        parents: Mapping[str, str] | None = None,
        folds: int = 5,
    ) -> None:
        self.columns = columns
        self.parents = parents
        self.folds = folds

    def fit(
        self,
        X: pd.DataFrame | ArrayLike,  # noqa: N803 - scikit-learn's name
        y: ArrayLike,
        exposure: ArrayLike | None = None,
        expected: ArrayLike | None = None,
    ) -> CredibilityEncoder:
        """Estimate all levels from all rows.

        Parameters
        ----------
        X
            Categories, shape (n, columns).
        y
            Rate per unit of exposure, or mean amount, not negative, shape (n,).
        exposure
            Weight of each row, positive; 1 when absent.
        expected
            Rate that a base model expects, positive; 1 when absent.
        """
        frame, value, weight = self._read(X, y, exposure, expected)
        self.credibilities_ = {
            name: self._estimate(frame, name, value, weight, np.ones(len(frame), bool))
            for name in self._names(frame)
        }
        return self

    def transform(self, X: pd.DataFrame | ArrayLike) -> Floats:  # noqa: N803
        """Give log relativities of new rows, shape (n, encoded columns)."""
        check_is_fitted(self)
        frame = self._frame(X, reset=False)
        columns = [self._look_up(frame, name, found) for name, found in self.credibilities_.items()]
        return np.column_stack(columns)

    def fit_transform(
        self,
        X: pd.DataFrame | ArrayLike,  # noqa: N803
        y: ArrayLike,
        exposure: ArrayLike | None = None,
        expected: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Floats:
        """Fit on all rows, and give the learn rows log relativities that know nothing of their own fold.

        Parameters
        ----------
        X, y, exposure, expected
            See `fit`.
        groups
            Rows of one group (a customer, a policy) share a fold, shape (n,).
        """
        self.fit(X, y, exposure, expected)
        frame, value, weight = self._read(X, y, exposure, expected)
        fold = self.fold_of(len(frame), groups)
        encoded = np.empty((len(frame), len(self.credibilities_)))
        for number in np.unique(fold):
            own = fold == number
            for position, name in enumerate(self.credibilities_):
                found = self._estimate(frame, name, value, weight, ~own)
                encoded[own, position] = self._look_up(frame[own], name, found)
        return encoded

    def fold_of(self, rows: int, groups: ArrayLike | None = None) -> NDArray[np.int64]:
        """Give the fold of each row, shape (rows,), by a keyed hash of its place, or of its group's."""
        codes = np.arange(rows) if groups is None else pd.factorize(np.asarray(groups))[0]
        if len(codes) != rows or codes.min() < 0:
            raise TrainingDataError([f"groups must be given for all {rows} rows, and none be missing"])
        units = int(codes.max()) + 1
        if not 2 <= self.folds <= units:
            raise TrainingDataError(
                [f"folds = {self.folds} must lie between 2 and the {units} units to part"]
            )
        rank = np.argsort(np.argsort(unit_share(np.arange(units), "credibility"), kind="stable"))
        return np.asarray(rank[codes] % self.folds, np.int64)

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Give the names of the encoded columns."""
        check_is_fitted(self)
        return np.asarray([str(name) for name in self.credibilities_], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.positive_only = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        return tags

    def _frame(self, values: pd.DataFrame | ArrayLike, *, reset: bool) -> pd.DataFrame:
        if isinstance(values, pd.DataFrame):
            validate_data(self, values, reset=reset, skip_check_array=True)
            if not len(values):
                raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required.")
            return values
        array = validate_data(
            self,
            check_array(values, dtype=None, ensure_all_finite="allow-nan"),
            reset=reset,
            skip_check_array=True,
        )
        return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])

    def _read(
        self,
        values: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        exposure: ArrayLike | None,
        expected: ArrayLike | None,
    ) -> tuple[pd.DataFrame, Floats, Floats]:
        """Give the categories, the ratio of actual to expected and its weight."""
        if y is None:
            raise ValueError("CredibilityEncoder requires y to be passed, but the target y is None.")
        frame = self._frame(values, reset=True)
        target: Floats = column_or_1d(y, warn=True)
        if len(target) != len(frame):
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {len(frame)}, {len(target)}"
            )
        bad = ~np.isfinite(np.asarray(target, np.float64))
        if bad.any():
            raise ValueError(f"{int(bad.sum())} rows: Input y contains NaN or infinity.")
        rate, weight = checked(target, np.ones(len(frame)) if exposure is None else exposure)
        if (rate < 0).any():
            raise TrainingDataError([f"{int((rate < 0).sum())} rows: the rate is negative"])
        if expected is None:
            return frame, rate, weight
        _, base = checked(rate, expected)
        return frame, rate / base, weight * base

    def _names(self, frame: pd.DataFrame) -> list[Any]:
        names = list(frame.columns) if self.columns is None else list(self.columns)
        wanted = [*names, *(self.parents or {}).values()]
        absent = sorted({str(name) for name in wanted if name not in frame.columns})
        strangers = sorted(set(self.parents or {}) - set(names))
        if absent or strangers:
            raise TrainingDataError([f"columns {absent} are absent; parents are given for {strangers}"])
        return names

    def _estimate(
        self, frame: pd.DataFrame, name: str, value: Floats, weight: Floats, rows: NDArray[np.bool_]
    ) -> LevelCredibility:
        levels = frame.loc[rows, name]
        if name not in (self.parents or {}):
            return buhlmann_straub(value[rows], weight[rows], levels)
        parent = (self.parents or {})[name]
        return hierarchical(value[rows], weight[rows], levels, frame.loc[rows, parent])

    def _look_up(self, frame: pd.DataFrame, name: str, found: LevelCredibility) -> Floats:
        known = _log(found.frame["estimate"], found.collective)
        encoded = as_levels(frame[name]).map(known).to_numpy(np.float64, copy=True)
        unseen = np.isnan(encoded)
        if unseen.any() and found.parents is not None:
            above = _log(found.parents["estimate"], found.collective)
            parent = as_levels(frame[(self.parents or {})[name]][unseen])
            encoded[unseen] = parent.map(above).to_numpy(np.float64)
        return np.asarray(np.nan_to_num(encoded, nan=0.0))


def _log(estimate: pd.Series, collective: float) -> pd.Series:
    if collective <= 0:
        return estimate * 0.0
    return np.log(np.maximum(estimate / collective, LEAST_RELATIVITY))
