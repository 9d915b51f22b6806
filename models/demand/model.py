"""Models of acceptance by price: a spline logistic, and a booster that can only fall with the price."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import lightgbm as lgb
import numpy as np
from glum import GeneralizedLinearRegressor
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, SplineTransformer, StandardScaler
from sklearn.utils.validation import check_is_fitted

from models.demand.effects import Curve, Effects, Levels, curve_of
from models.demand.rows import check_demand
from models.errors import ArtifactError, DemandError
from models.families.frame import FrameEncoding

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from models.demand.rows import DemandRows

    Array = NDArray[np.float64]

CHUNK = 100_000
STEP = 0.01  # of the log price, for slopes by difference
ROUNDING = 1e-6


@dataclass(eq=False, repr=False, kw_only=True)
class DemandModel(BaseEstimator, ABC):  # type: ignore[misc]
    """What demand models have in common. For renewals `accepted` is 1 - lapse."""

    def fit(
        self,
        X: pd.DataFrame,
        accepted: ArrayLike,
        log_price: ArrayLike,
        propensity: ArrayLike | None = None,
    ) -> Self:
        """Learn from quotes or renewals.

        Parameters
        ----------
        X
            Features known before the price: numbers (may be missing) and categories; not the price.
        accepted
            1 or 0, shape (n,).
        log_price
            log(multiplier) of a price test, log(new / last premium) of renewals, shape (n,).
        propensity
            Probability with which each row was given its price cell, shape (n,); rows count by its inverse.
        """
        rows = check_demand(X, accepted, log_price, propensity)
        self.encoding_ = FrameEncoding.learn(X, rows.weight, "auto")
        self._fit(self.encoding_.encode(X, "refuse"), rows)
        return self

    @abstractmethod
    def _fit(self, values: Array, rows: DemandRows) -> None: ...

    @abstractmethod
    def _ladder(self, values: Array, prices: Array) -> Array:
        """Give acceptance at each of (k, n) log prices, shape (k, n)."""

    def predict_proba(self, X: pd.DataFrame, log_price: ArrayLike) -> Array:
        """Give (refused, accepted) at one log price a row, shape (n, 2)."""
        found = self._read(X, np.broadcast_to(np.asarray(log_price, dtype=np.float64), (1, len(X))))[0]
        return np.column_stack([1.0 - found, found])

    def slopes(self, X: pd.DataFrame, log_price: ArrayLike) -> Array:
        """Give the change of acceptance per unit of log price, by central difference, shape (n,)."""
        at = np.broadcast_to(np.asarray(log_price, dtype=np.float64), (len(X),))
        found = self._read(X, np.stack([at - self._width, at + self._width]))
        return np.asarray((found[1] - found[0]) / (2 * self._width))

    _width = STEP

    def accept(self, X: pd.DataFrame, multipliers: ArrayLike, start: ArrayLike = 0.0) -> NDArray[np.float32]:
        """Give the `accept` of `pricing.optimiser.Book`.

        Parameters
        ----------
        X
            Features, n rows.
        multipliers
            Ladder, ascending and positive, shape (k,).
        start
            Log price at multiplier 1: 0 for a price test, log(base / last premium) for renewals; one or (n,).

        Returns
        -------
        ndarray
            Probability of acceptance, float32, shape (k, n), never rising along the ladder.

        Raises
        ------
        DemandError
            If the ladder is none, or acceptance rises with the price for some rows.
        """
        ladder = np.asarray(multipliers, dtype=np.float64)
        if ladder.ndim != 1 or len(ladder) < 2 or not ladder[0] > 0 or not (np.diff(ladder) > 0).all():
            raise DemandError(
                [f"multipliers {ladder.tolist()} are not two or more ascending positive numbers"]
            )
        at = np.broadcast_to(np.asarray(start, dtype=np.float64), (len(X),))
        if not np.isfinite(at).all():
            raise DemandError([f"start: {int((~np.isfinite(at)).sum())} of {len(X)} rows are not finite"])
        out = np.empty((len(ladder), len(X)), dtype=np.float32)
        rising = 0
        for first in range(0, len(X), CHUNK):
            rows = slice(first, first + CHUNK)
            found = self._read(X.iloc[rows], np.log(ladder)[:, None] + at[rows])
            rising += int((np.diff(found, axis=0) > ROUNDING).any(axis=0).sum())
            out[:, rows] = np.minimum.accumulate(found, axis=0)
        if rising:
            raise DemandError(
                [
                    f"{rising} of {len(X)} rows: acceptance rises with the price. Hint: look at "
                    "price_elasticity first; then a larger ridge, or MonotoneDemand"
                ]
            )
        return out

    def accept_known(
        self, X: pd.DataFrame, multipliers: ArrayLike
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Give acceptance along a ladder where the model can tell it; `accept_one` does it for one row.

        Parameters
        ----------
        X
            Features, n rows.
        multipliers
            Ladder, ascending and positive, shape (k,).

        Returns
        -------
        tuple
            Acceptance, float32, shape (k, n), and the rows of which it is known, shape (n,): not those with a
            value that the fit has not seen, nor those whose acceptance would rise with the price.
        """
        check_is_fitted(self)
        prices = np.log(np.asarray(multipliers, dtype=np.float64))
        out = np.zeros((len(prices), len(X)), dtype=np.float32)
        known = np.zeros(len(X), dtype=bool)
        for first in range(0, len(X), CHUNK):
            part = X.iloc[first : first + CHUNK]
            values = self.encoding_.encode(part[list(self.encoding_.inputs)], "average")
            seen = np.flatnonzero(~self.encoding_.unseen(values))
            found = self._ladder(values[seen], np.broadcast_to(prices[:, None], (len(prices), len(seen))))
            falls = (np.diff(found, axis=0) <= ROUNDING).all(axis=0)
            known[first + seen] = falls
            out[:, first + seen] = np.minimum.accumulate(found, axis=0)
        return out, known

    def accept_one(self, row: Mapping[str, object], log_ladder: Array) -> Array | None:
        """Give acceptance of one row along a ladder, bit-equal to `accept_known`; None where it is not known.

        Parameters
        ----------
        row
            Features by name.
        log_ladder
            Logarithms of the multipliers, shape (k,).
        """
        values = self.encoding_.encode_one(row)
        if values is None:
            return None
        found = self._ladder_of_one(values, log_ladder)
        if not (np.diff(found) <= ROUNDING).all():
            return None
        return np.minimum.accumulate(found.astype(np.float32))

    def _ladder_of_one(self, values: list[float], log_ladder: Array) -> Array:
        return self._ladder(np.array([values]), log_ladder[:, None])[:, 0]

    def to_json(self) -> dict[str, Any]:
        """Give the fitted model as a JSON object (`model_from_json` reads it)."""
        check_is_fitted(self)
        return {
            "family": self._family,
            "settings": self.get_params(),
            "encoding": self.encoding_.to_json(),
            "fitted": self._fitted(),
        }

    _family: ClassVar[str]

    @abstractmethod
    def _fitted(self) -> Any: ...  # noqa: ANN401 - whatever JSON holds

    @abstractmethod
    def _take(self, fitted: Any) -> None: ...  # noqa: ANN401

    def _read(self, X: pd.DataFrame, prices: Array) -> Array:
        check_is_fitted(self)
        if missing := [name for name in self.encoding_.inputs if name not in X.columns]:
            raise DemandError([f"columns {missing} of the fit are not in the frame"])
        return self._ladder(self.encoding_.encode(X[list(self.encoding_.inputs)], "refuse"), prices)


@dataclass(eq=False, repr=False, kw_only=True)
class SplineDemand(DemandModel):
    """Logistic: logit P = a + f(x) + t (b + g(x)) with t the log price, f and g splines and levels.

    The default. b is free of penalty, so that the mean slope is not shrunk.

    Parameters
    ----------
    knots
        Most knots of a number, at quantiles.
    ridge
        Penalty on each standardised effect of f and g, in rows of the fit.
    least_rows
        Levels with fewer rows are pooled.
    """

    knots: int = 5
    ridge: float = 10.0
    least_rows: int = 20

    def _fit(self, values: Array, rows: DemandRows) -> None:
        parts: list[tuple[str, Any, list[int]]] = []
        for i, column in enumerate(self.encoding_.columns):
            if column.category:
                levels = OneHotEncoder(min_frequency=self.least_rows, handle_unknown="infrequent_if_exist")
                parts.append((column.name, levels.set_params(sparse_output=False), [i]))
                continue
            marks = np.unique(np.nanquantile(values[:, i], np.linspace(0, 1, self.knots)))
            if len(marks) > 1:
                spline = SplineTransformer(
                    degree=min(3, len(marks) - 1), knots=marks[:, None], handle_missing="zeros"
                )
                parts.append((column.name, spline, [i]))
        basis = make_pipeline(ColumnTransformer(parts), StandardScaler())
        x = basis.fit_transform(values)
        t = rows.log_price[:, None]
        scale = float(t.std())
        t = t / scale
        design = np.hstack([t, x, t * x])
        ridge = np.ones(design.shape[1])
        ridge[0] = 0.0
        solver = GeneralizedLinearRegressor(
            family="binomial", alpha=self.ridge / len(t), P2=ridge, gradient_tol=1e-6
        )
        solver.fit(design, rows.accepted, sample_weight=rows.weight)
        width = x.shape[1]
        coef = np.asarray(solver.coef_)
        self.effects_ = _effects(
            basis,
            float(solver.intercept_),
            float(coef[0] / scale),
            coef[1 : width + 1],
            coef[width + 1 :] / scale,
        )

    def _ladder(self, values: Array, prices: Array) -> Array:
        level, slope = self.effects_.many(values)
        return np.asarray(expit(level + slope * prices))

    def _ladder_of_one(self, values: list[float], log_ladder: Array) -> Array:
        level, slope = self.effects_.one(values)
        return np.asarray(expit(level + slope * log_ladder))

    _family = "spline"

    def _fitted(self) -> dict[str, Any]:
        return self.effects_.to_json()

    def _take(self, fitted: Mapping[str, Any]) -> None:
        self.effects_ = Effects.from_json(fitted)


def _effects(basis: Pipeline, intercept: float, price: float, level: Array, slope: Array) -> Effects:
    """Write what was fitted on standardised columns of a basis as effects of the raw columns."""
    columns, scaler = basis[0], basis[1]
    level, slope = level / scaler.scale_, slope / scaler.scale_
    intercept -= float(level @ scaler.mean_)
    price -= float(slope @ scaler.mean_)
    parts: list[Levels | Curve] = []
    for name, fitted, (column,) in columns.transformers_:
        own = columns.output_indices_[name]
        if isinstance(fitted, SplineTransformer):
            parts.append(curve_of(column, fitted.bsplines_[0], level[own], slope[own]))
            continue
        marks = fitted.transform(np.arange(len(fitted.categories_[0]))[:, None])
        # A level that the fit did not see is pooled with the rare ones, as `handle_unknown` says.
        parts.append(
            Levels(
                column, tuple(zip((marks @ level[own]).tolist(), (marks @ slope[own]).tolist(), strict=True))
            )
        )
    return Effects(intercept, price, tuple(parts))


@dataclass(eq=False, repr=False, kw_only=True)
class MonotoneDemand(DemandModel):
    """LightGBM whose acceptance never rises with the price: the challenger, for level rather than slope.

    Parameters
    ----------
    rounds, learning_rate, leaves, leaf_rows
        Of the booster.
    seed
        Of the booster.
    """

    rounds: int = 150
    learning_rate: float = 0.05
    leaves: int = 15
    leaf_rows: int = 100
    seed: int = 1
    _width = 0.10  # trees are steps: a narrow difference is 0 almost everywhere

    def _fit(self, values: Array, rows: DemandRows) -> None:
        design = np.column_stack([rows.log_price, values])
        levels = [i + 1 for i, column in enumerate(self.encoding_.columns) if column.category]
        data = lgb.Dataset(design, rows.accepted, weight=rows.weight, categorical_feature=levels)
        settings = {
            "objective": "binary",
            "monotone_constraints": [-1] + [0] * values.shape[1],
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.leaf_rows,
            "seed": self.seed,
            "deterministic": True,
            "num_threads": 1,
            "verbose": -1,
        }
        self.booster_ = lgb.train(settings, data, self.rounds)

    def _ladder(self, values: Array, prices: Array) -> Array:
        found = [self.booster_.predict(np.column_stack([t, values]), num_threads=1) for t in prices]
        return np.asarray(found)

    _family = "monotone"

    def _fitted(self) -> str:
        return str(self.booster_.model_to_string())

    def _take(self, fitted: str) -> None:
        self.booster_ = lgb.Booster(model_str=fitted)


def model_from_json(content: Mapping[str, Any]) -> DemandModel:
    """Read what `DemandModel.to_json` gave.

    Raises
    ------
    ArtifactError
        If the family is unknown.
    """
    families: dict[str, type[DemandModel]] = {"spline": SplineDemand, "monotone": MonotoneDemand}
    if content["family"] not in families:
        raise ArtifactError(f"demand family {content['family']!r} is unknown; allowed: {', '.join(families)}")
    model = families[content["family"]](**content["settings"])
    model.encoding_ = FrameEncoding.from_json(content["encoding"])
    model._take(content["fitted"])
    return model
