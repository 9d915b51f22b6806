"""Figures of fit: deviances, explained share, Lorenz curve and Gini, actual over expected.

Actual values and predictions are totals per row (claims, amounts, events), not rates, unless said otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import xlogy
from sklearn.metrics import (
    log_loss,
    mean_gamma_deviance,
    mean_poisson_deviance,
    mean_tweedie_deviance,
    roc_auc_score,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.families.base import Objective

    Array = NDArray[np.float64]

__all__ = [
    "actual_over_expected",
    "auc",
    "d2",
    "deviance_rows",
    "gamma_deviance",
    "gini",
    "logloss",
    "lorenz",
    "poisson_deviance",
    "poisson_deviance_per_exposure",
    "tweedie_deviance",
    "variance_rows",
]

POWER = 1.5


def poisson_deviance(count: Array, expected: Array) -> float:
    """Mean Poisson deviance per policy: the form of the published freMTPL2 tables (there x100).

    Parameters
    ----------
    count
        Claims of each policy, shape (n,).
    expected
        Rate x exposure of each policy, shape (n,).
    """
    return float(mean_poisson_deviance(count, expected))


def poisson_deviance_per_exposure(count: Array, expected: Array, exposure: Array) -> float:
    """Poisson deviance per unit of exposure: the sum over policies divided by the total exposure."""
    return float(mean_poisson_deviance(count / exposure, expected / exposure, sample_weight=exposure))


def gamma_deviance(mean_amount: Array, expected: Array, claims: Array) -> float:
    """Mean gamma deviance per claim.

    Parameters
    ----------
    mean_amount, expected
        Actual and predicted amount per claim, positive, shape (n,).
    claims
        Number of claims of each row.
    """
    return float(mean_gamma_deviance(mean_amount, expected, sample_weight=claims))


def tweedie_deviance(amount_rate: Array, expected_rate: Array, exposure: Array, power: float) -> float:
    """Tweedie deviance per unit of exposure of amounts per unit of exposure."""
    return float(mean_tweedie_deviance(amount_rate, expected_rate, sample_weight=exposure, power=power))


def logloss(event: Array, probability: Array) -> float:
    """Mean negative log likelihood of events, nats per row (half the binomial deviance)."""
    return float(log_loss(event, probability, labels=[0, 1]))


def auc(event: Array, score: Array) -> float:
    """Area under the ROC curve."""
    return float(roc_auc_score(event, score))


def d2(deviance: float, null_deviance: float) -> float:
    """Share of the null model's deviance that is explained."""
    return 1.0 - deviance / null_deviance


def lorenz(actual: Array, rate: Array, weight: Array) -> tuple[Array, Array]:
    """Lorenz curve: cumulated share of actual against share of exposure, safest risks first.

    Parameters
    ----------
    actual
        Claims or amounts, shape (n,).
    rate
        Predicted rate per unit of exposure; rows of equal rate count as one point.
    weight
        Exposure.
    """
    order = np.argsort(rate, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(rate[order])), len(rate) - 1)
    share = np.cumsum(weight[order])[ends] / weight.sum()
    lost = np.cumsum(actual[order])[ends] / actual.sum()
    return np.append(0.0, share), np.append(0.0, lost)


def gini(actual: Array, rate: Array, weight: Array) -> float:
    """Gini coefficient: twice the area between the diagonal and the Lorenz curve (trapezoids)."""
    share, lost = lorenz(actual, rate, weight)
    return float(1.0 - 2.0 * np.trapezoid(lost, share))


def actual_over_expected(actual: Array, expected: Array) -> float:
    """Actual total over expected total."""
    return float(actual.sum() / expected.sum())


def deviance_rows(
    actual: Array, expected: Array, exposure: Array, objective: Objective, power: float = POWER
) -> Array:
    """Deviance of each row: exposure x unit deviance of the rates, shape (n,).

    The sum over the number of rows is the deviance per policy, over the exposure the deviance per unit of
    exposure.

    Parameters
    ----------
    actual, expected
        Totals, shape (n,); expected within the domain of the distribution.
    exposure
        Policy-years, claims (gamma) or trials (binary), shape (n,).
    objective, power
        Distribution, and the variance power of `tweedie` between 1 and 2.
    """
    y, m = actual / exposure, expected / exposure
    if objective == "poisson":
        unit = xlogy(y, y / m) - y + m
    elif objective == "gamma":
        unit = np.log(m / y) + y / m - 1.0
    elif objective == "binary":
        unit = xlogy(y, y / m) + xlogy(1.0 - y, (1.0 - y) / (1.0 - m))
    else:
        one, two = 1.0 - power, 2.0 - power
        unit = y**two / (one * two) - y * m**one / one + m**two / two
    return np.asarray(2.0 * exposure * unit)


def variance_rows(expected: Array, exposure: Array, objective: Objective, power: float = POWER) -> Array:
    """Variance of each row's total at dispersion 1: exposure x V(rate), V(m) = m, m^2, m^power, m (1 - m)."""
    m = expected / exposure
    if objective == "binary":
        return np.asarray(exposure * m * (1.0 - m))
    exponent = {"poisson": 1.0, "gamma": 2.0, "tweedie": power}[objective]
    return np.asarray(exposure * m**exponent)
