"""The slope of acceptance in log price, with what the features explain of both taken out first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import lightgbm as lgb
import numpy as np
from sklearn.model_selection import KFold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ROUNDS = 100
BOOSTER = {
    "learning_rate": 0.06, "num_leaves": 15, "min_data_in_leaf": 50, "deterministic": True, "num_threads": 1,
    "verbose": -1,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Slope:
    """A slope with its standard error.

    Attributes
    ----------
    slope, error
        Change of the probability of acceptance per unit of log price.
    left
        Var(log price | features) / Var(log price), out of fold: 1 - R2.
    outcome, price
        Residuals, shape (n,).
    """

    slope: float
    error: float
    left: float
    outcome: Array
    price: Array


def partially_linear(
    values: Array,
    categories: list[int],
    accepted: Array,
    log_price: Array,
    weight: Array | None = None,
    folds: int = 5,
    seed: int = 1,
) -> Slope:
    """Fit Y = theta T + g(X) + e by double machine learning with cross-fitting.

    theta = sum w v u / sum w v^2, with u = Y - E[Y | X], v = T - E[T | X] out of fold; its variance is
    sum w^2 v^2 (u - theta v)^2 / (sum w v^2)^2 (Chernozhukov et al. 2018, arXiv:1608.00060, eq. 4.4). A
    linear approximation of a logit: its mean slope is some 5 % too small when prices vary by 20 %.

    Parameters
    ----------
    values
        Encoded features, shape (n, p); `categories` are the columns that hold levels.
    accepted, log_price, weight
        Shape (n,).
    folds, seed
        Of the cross-fitting.
    """
    w = np.ones(len(accepted)) if weight is None else weight
    u, v = np.empty(len(accepted)), np.empty(len(accepted))
    for learn, rest in KFold(folds, shuffle=True, random_state=seed).split(values):
        for target, residual in ((accepted, u), (log_price, v)):
            data = lgb.Dataset(values[learn], target[learn], weight=w[learn], categorical_feature=categories)
            fitted = lgb.train({**BOOSTER, "objective": "regression", "seed": seed}, data, ROUNDS)
            residual[rest] = target[rest] - fitted.predict(values[rest], num_threads=1)
    left = float(np.average(v**2, weights=w) / centred_square(log_price, w))
    return Slope(*through_origin(u, v, w), left, u, v)


def through_origin(u: Array, v: Array, w: Array) -> tuple[float, float]:
    """Give the weighted slope of u on v through the origin, and its robust standard error."""
    square = np.sum(w * v**2)
    theta = float(np.sum(w * v * u) / square)
    return theta, float(np.sqrt(np.sum((w * v * (u - theta * v)) ** 2)) / square)


def centred_square(values: Array, w: Array) -> float:
    """Give the weighted variance."""
    return float(np.average((values - np.average(values, weights=w)) ** 2, weights=w))
