"""Intervals of the actual total of a group of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.diagnostics.bands import Bands
    from models.diagnostics.inputs import Rows
    from models.families.base import Objective

    Array = NDArray[np.float64]

LEVEL = 0.95


def total_interval(
    rows: Rows, bands: Bands, objective: Objective, dispersion: float = 1.0, level: float = LEVEL
) -> tuple[Array, Array]:
    """Give an interval of the mean of each band's actual total.

    Parameters
    ----------
    rows
        Actual and exposure are read.
    bands
        Groups of rows.
    objective
        `poisson`: exact (Garwood 1936) of counts; `binary`: exact (Clopper and Pearson 1934) of events among
        trials; `gamma` and `tweedie`: normal, with the variance from the scatter of the rows around the rate
        of the band, never below zero.
    dispersion
        Variance over mean of counts, over p(1 - p) of events; the total is divided by it before the exact
        interval is taken (quasi-likelihood). Of amounts, variance over what their own scatter says.
    level
        Share of intervals that hold the truth.

    Returns
    -------
    tuple of ndarray
        Low and high totals, each shape (bands,).
    """
    actual = bands.total(rows.actual)
    tail = (1.0 - level) / 2.0
    if objective == "poisson":
        scaled = actual / dispersion
        low = np.where(scaled > 0, stats.chi2.ppf(tail, 2 * np.maximum(scaled, 1e-12)) / 2, 0.0)
        return low * dispersion, stats.chi2.ppf(1 - tail, 2 * scaled + 2) / 2 * dispersion
    if objective == "binary":
        trials = bands.exposure / dispersion
        events = actual / dispersion
        misses = np.maximum(trials - events, 0.0)
        low = np.where(events > 0, stats.beta.ppf(tail, np.maximum(events, 1e-12), misses + 1), 0.0)
        high = np.where(misses > 0, stats.beta.ppf(1 - tail, events + 1, np.maximum(misses, 1e-12)), 1.0)
        return low * bands.exposure, high * bands.exposure
    scatter = rows.actual - (actual / bands.exposure)[bands.codes] * rows.exposure
    count = np.bincount(bands.codes, minlength=len(bands.labels))
    variance = bands.total(scatter**2) * count / np.maximum(count - 1, 1)
    half = stats.norm.ppf(1 - tail) * np.sqrt(dispersion * variance)
    return np.maximum(actual - half, 0.0), actual + half


def band_test(
    rows: Rows, bands: Bands, model: str, objective: Objective, dispersion: float = 1.0
) -> tuple[float, int, float]:
    """Test that a model expects what happened in every band.

    Chi-square sum of (actual - expected)^2 / variance over the bands, for rows that the model has not seen.
    The variance is dispersion times what is expected for counts, the sum of p(1 - p) for events, and the
    scatter of the rows around what is expected for amounts (Hosmer and Lemeshow 1980 when the bands are
    those of the prediction).

    Returns
    -------
    tuple
        Statistic, degrees of freedom (bands), p-value.
    """
    expected = rows.expected[model]
    if objective == "poisson":
        variance = dispersion * bands.total(expected)
    elif objective == "binary":
        variance = dispersion * bands.total(expected * (1.0 - expected / rows.exposure))
    else:
        variance = dispersion * bands.total((rows.actual - expected) ** 2)
    off = bands.total(rows.actual - expected)
    statistic = float(np.sum(off[variance > 0] ** 2 / variance[variance > 0]))
    freedom = int(np.count_nonzero(variance > 0))
    return statistic, freedom, float(stats.chi2.sf(statistic, freedom))
