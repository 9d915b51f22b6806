"""The loss of each row, in the units of the figure that ranks models: smaller is better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.metrics import deviance_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.families.base import Objective

    Array = NDArray[np.float64]

# The figure that ranks models, by objective.
FIGURES: dict[Objective, str] = {
    "poisson": "deviance_x100",
    "gamma": "deviance",
    "tweedie": "deviance",
    "binary": "logloss",
}


def row_losses(objective: Objective, actual: Array, expected: Array, exposure: Array) -> Array:
    """Give the loss of each row; the mean over rows is the figure `FIGURES[objective]`.

    Parameters
    ----------
    objective
        `poisson`: 100 x deviance of the row, so that the mean is the deviance x100 per policy of published
        tables. `gamma`, `tweedie`: deviance of the row over the mean exposure, so that the mean is the
        deviance per unit of exposure (per claim, for severities). `binary`: negative log likelihood of the
        row (nats), half its deviance.
    actual
        Claims, amounts or events of each row, shape (n,).
    expected
        Rate x exposure, or probability, shape (n,).
    exposure
        Units of exposure (claims, for severities), shape (n,).
    """
    scale = {"poisson": 100.0, "binary": 0.5}.get(objective) or 1.0 / float(exposure.mean())
    return np.asarray(scale * deviance_rows(actual, expected, exposure, objective))
