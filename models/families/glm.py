"""A generalised linear model by glum on binned inputs with smoothing, as one-way tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tabmat  # type: ignore[import-untyped]
from glum import GeneralizedLinearRegressor, TweedieDistribution
from sklearn.isotonic import IsotonicRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.families.base import TWEEDIE_POWER, Design, FitSettings
from models.tables import Axis, TableModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 60
# Penalty of a bin's height, in claims; it makes the solution unique.
TIE_CLAIMS = 0.5


def fit_glm(design: Design, settings: FitSettings) -> TableModel:
    """Fit a GLM on quantile bins and levels; its coefficients are the tables.

    Parameters
    ----------
    design
        Learn rows.
    settings
        Threads; the fit draws nothing.
    """
    axes = tuple(
        Axis(None, levels) if levels else Axis(_edges(design.values[:, i], design.weight))
        for i, levels in enumerate(design.levels)
    )
    cells = [axis.locate(design.values[:, i]) for i, axis in enumerate(axes)]
    if np.ptp(design.target) == 0:  # glum refuses what needs no fit
        return TableModel(design.link, float(_linked(design)), axes, {}, {})
    with threadpool_limits(settings.threads):
        intercept, coefficients = _solve(design, axes, cells, settings)
    bounds = np.cumsum([0, *(axis.cells for axis in axes)])
    mains: dict[int, NDArray[np.float64]] = {}
    for i, axis in enumerate(axes):
        counted = np.bincount(cells[i], design.weight, axis.cells).astype(np.float64)
        table = _monotone(coefficients[bounds[i] : bounds[i + 1]], counted, axis, design.monotone[i])
        centre = float(table @ counted / counted.sum())
        # Levels that no learn row had, and "not known" where all was known, are rated as the average.
        alone = counted == 0 if axis.edges is None else np.arange(axis.cells) == axis.cells - 1
        mains[i] = np.where(alone & (counted == 0), 0.0, table - centre)
        intercept += centre
    return TableModel(design.link, intercept, axes, mains, {})


def _linked(design: Design) -> float:
    mean = float(design.target[0])
    return float(np.log(mean) if design.link == "log" else np.log(mean / (1.0 - mean)))


def _solve(
    design: Design, axes: tuple[Axis, ...], cells: list[NDArray[np.int64]], settings: FitSettings
) -> tuple[float, NDArray[np.float64]]:
    blocks = [
        tabmat.CategoricalMatrix(cell.astype(np.int32), categories=np.arange(axis.cells))
        for cell, axis in zip(cells, axes, strict=True)
    ]
    penalty = _penalty(axes, settings) * _claim_unit(design) / float(design.weight.sum())
    families = {"binary": "binomial", "tweedie": TweedieDistribution(TWEEDIE_POWER)}
    model = GeneralizedLinearRegressor(
        family=families.get(design.objective, design.objective),
        link=design.link,
        alpha=1.0,
        l1_ratio=0.0,
        P2=penalty,
        gradient_tol=1e-6,
        max_iter=50,
    )
    model.fit(tabmat.SplitMatrix(blocks), design.target, sample_weight=design.weight)
    return float(model.intercept_), np.asarray(model.coef_, dtype=np.float64)


def _edges(column: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut a number into bins of like exposure; few distinct values get a bin each."""
    known = ~np.isnan(column)
    values, inverse = np.unique(column[known], return_inverse=True)
    if len(values) < 2:
        return np.empty(0)
    middles = (values[:-1] + values[1:]) / 2
    if len(values) <= BINS:
        return middles
    summed = np.cumsum(np.bincount(inverse, weight[known], len(values)))
    share = summed / summed[-1]
    chosen = np.unique(np.searchsorted(share, np.arange(1, BINS) / BINS))
    return middles[chosen[chosen < len(middles)]]


def _claim_unit(design: Design) -> float:
    """Information that one claim carries in glum's objective, so that penalties can be said in claims.

    One for a Poisson count and close to one for a rare event; more for amounts, whose dispersion drowns it.
    """
    weight, target = design.weight, design.target
    mean = float(weight @ target / weight.sum())
    if design.objective == "gamma":
        return float(np.clip(weight @ (target / mean - 1.0) ** 2 / len(target), 1.0, 50.0))
    if design.objective == "tweedie":
        return float(mean ** (2.0 - TWEEDIE_POWER) * weight.sum() / max(np.count_nonzero(target), 1))
    return 1.0


def _penalty(axes: tuple[Axis, ...], settings: FitSettings) -> NDArray[np.float64]:
    """Give the penalty matrix in claims: bins are held to a line, levels to zero."""
    size = sum(axis.cells for axis in axes)
    out = np.zeros((size, size))
    start = 0
    for axis in axes:
        stop = start + axis.cells
        block = out[start:stop, start:stop]
        if axis.edges is None:
            block += settings.level_claims * np.eye(axis.cells)
        else:
            bins = axis.cells - 1
            bends = np.diff(np.eye(bins), n=2, axis=0) if bins > 2 else np.zeros((0, bins))
            block[:bins, :bins] += settings.bend_claims * bends.T @ bends + TIE_CLAIMS * np.eye(bins)
            block[bins, bins] += settings.level_claims
        start = stop
    return out


def _monotone(
    table: NDArray[np.float64], counted: NDArray[np.float64], axis: Axis, sign: int
) -> NDArray[np.float64]:
    """Pool neighbours that run against the declared direction (the cell "not known" stays)."""
    if not sign or axis.edges is None:
        return table
    fitted = IsotonicRegression(increasing=sign > 0).fit_transform(
        np.arange(len(table) - 1), table[:-1], sample_weight=np.maximum(counted[:-1], 1e-9)
    )
    return np.append(fitted, table[-1])
