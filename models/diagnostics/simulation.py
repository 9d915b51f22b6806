"""Totals of groups of rows as they would be if a model were right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models import metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.diagnostics.inputs import Rows
    from models.families.base import Objective

    Array = NDArray[np.float64]


def pearson_dispersion(rows: Rows, model: str, objective: Objective, power: float) -> float:
    """Mean of (actual - expected)^2 over the variance at dispersion 1, rows that the model has not seen."""
    variance = metrics.variance_rows(rows.expected[model], rows.exposure, objective, power)
    return float(np.mean((rows.actual - rows.expected[model]) ** 2 / variance))


def design_effect(rows: Rows, model: str, cluster: NDArray[np.int64] | None) -> float:
    """Give how much more totals vary than those of independent rows (Kish 1965), not below 1.

    Squares of the deviations summed by cluster over squares of the deviations row by row; 1 without clusters.
    """
    if cluster is None:
        return 1.0
    off = rows.actual - rows.expected[model]
    return max(1.0, float(np.sum(np.bincount(cluster, off) ** 2) / np.sum(off**2)))


def draw_totals(
    expected: Array,
    exposure: Array,
    objective: Objective,
    dispersion: float,
    power: float,
    draws: int,
    seed: int,
) -> Array:
    """Draw the actual totals of groups whose rows share about one rate.

    A weighted mean of independent rows of one rate has the distribution of one row with their summed weight
    (reproductive exponential dispersion models, Jorgensen 1997), so groups are drawn, not rows. Mean
    `expected`, variance dispersion x exposure x V(rate).

    Parameters
    ----------
    expected, exposure
        Totals of the groups, shape (groups,).
    objective, power
        Distribution; `binary` rounds the exposure to whole trials.
    dispersion
        Of the distribution; of `binary`, trials that say as much as one.
    draws, seed
        Number of draws, and seed.

    Returns
    -------
    ndarray
        Shape (draws, groups).
    """
    rng = np.random.default_rng(seed)
    shape = (draws, len(expected))
    rate = expected / exposure
    if objective == "poisson":
        return np.asarray(rng.poisson(expected / dispersion, shape) * dispersion)
    if objective == "binary":
        trials = np.maximum(np.rint(exposure / dispersion), 1).astype(np.int64)
        return np.asarray(rng.binomial(trials, rate, shape) * (exposure / trials))
    if objective == "gamma":
        return np.asarray(rng.gamma(exposure / dispersion, expected / (exposure / dispersion), shape))
    claims = rng.poisson(exposure * rate ** (2.0 - power) / (dispersion * (2.0 - power)), shape)
    form = claims * (2.0 - power) / (power - 1.0)
    return np.asarray(rng.gamma(form, dispersion * (power - 1.0) * rate ** (power - 1.0)))
