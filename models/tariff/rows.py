"""The rows that a tariff is measured on: encoded risks, what happened, and the fit of each component."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import log_loss, mean_tweedie_deviance

from models.families.base import TWEEDIE_POWER
from models.links import respond
from models.risk_model import COMPONENTS
from models.training import design_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.encoding import Encoding
    from models.families import Design, Objective, Scorer
    from models.response import Observed
    from models.risk_model import ComponentName
    from pricing.product import Product

# Power of the variance function of the mean.
POWERS: dict[Objective, float] = {"poisson": 1.0, "tweedie": TWEEDIE_POWER, "gamma": 2.0}


@dataclass(frozen=True, eq=False)
class Rows:
    """Learn rows, test rows or a portfolio with its experience.

    Attributes
    ----------
    values
        Encoded risks, shape (n, inputs).
    exposure, claims
        Units of exposure and number of claims, shape (n,).
    cost
        What was paid, minor units, not cut at the large-loss threshold; claims where the benefit is fixed.
    designs
        What each component is fitted on; the rows of the severity are those with a payment.
    """

    values: NDArray[np.float64]
    exposure: NDArray[np.float64]
    claims: NDArray[np.float64]
    cost: NDArray[np.float64]
    designs: dict[ComponentName, Design]

    @classmethod
    def of(
        cls,
        product: Product,
        encoding: Encoding,
        values: NDArray[np.float64],
        observed: Observed,
        part: NDArray[np.bool_],
    ) -> Rows:
        """Take a part of the rows of a training table.

        Parameters
        ----------
        product, encoding
            What is modelled.
        values, observed
            All rows.
        part
            Rows to take, shape (n,).
        """
        designs = {
            name: design_of(product, name, objective, encoding, values, observed, part)[0]
            for name, objective in COMPONENTS[product.response.kind].items()
        }
        fixed = product.cover.kind == "fixed_benefit"
        cost = observed.count if fixed else observed.amount_minor
        return cls(values[part], observed.exposure[part], observed.count[part], cost[part], designs)


def deviance(design: Design, scorer: Scorer) -> float:
    """Give the mean deviance of a component per unit of weight (exposure, claim, row).

    Parameters
    ----------
    design
        Rows: target, weight, objective.
    scorer
        Component that is judged.
    """
    return deviance_of(design, respond(scorer.predict_raw(design.values), scorer.link))


def deviance_of(design: Design, mean: NDArray[np.float64]) -> float:
    """Give the mean deviance of predicted rates, shape (n,), per unit of weight."""
    if design.objective == "binary":
        return 2.0 * float(log_loss(design.target, mean, sample_weight=design.weight, labels=[0, 1]))
    return float(
        mean_tweedie_deviance(
            design.target, mean, sample_weight=design.weight, power=POWERS[design.objective]
        )
    )


def row_information(design: Design, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the Fisher information of each row's raw score at dispersion 1, shape (n,).

    `w mu^(2 - p)` on the logarithm with variance `mu^p / w`, `w mu (1 - mu)` on the logit.
    """
    if design.objective == "binary":
        return np.asarray(design.weight * mean * (1.0 - mean))
    return np.asarray(design.weight * mean ** (2.0 - POWERS[design.objective]))


def pearson_dispersion(design: Design, mean: NDArray[np.float64]) -> float:
    """Estimate the dispersion: the mean of `w (y - mu)^2 / V(mu)`, not below 1 for counts; 1 for events."""
    if design.objective == "binary":
        return 1.0
    variance = mean ** POWERS[design.objective]
    found = float(np.mean(design.weight * (design.target - mean) ** 2 / variance))
    return max(found, 1.0) if design.objective == "poisson" else found
