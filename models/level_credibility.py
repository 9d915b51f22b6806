"""Credibility of levels: how far the mean of a level is to be believed, for categories of many levels.

A level i with observations X_ij of weight w_ij (a rate and its exposure, a loss ratio and its premium) has
the mean m_i = sum_j w_ij X_ij / w_i. Its own experience is believed the share Z_i, the collective the rest:

    estimate_i = Z_i m_i + (1 - Z_i) mu,      Z_i = w_i / (w_i + v / a)

with v the variance within a level for one unit of weight, a the variance between levels.

References
----------
Buhlmann and Straub, Glaubwurdigkeit fur Schadensatze (1970); Jewell, The use of collateral data in
credibility theory: a hierarchical model (1975); Buhlmann and Gisler, A Course in Credibility Theory and its
Applications (2005); Longley-Cook, An introduction to credibility theory (1962), for limited fluctuation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm

from models.drawn import Drawn
from models.errors import TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LevelCredibility(Drawn):
    """Levels with what is believed of each.

    Attributes
    ----------
    frame
        Index `level`; columns `rows`, `weight`, `mean` (of the level alone), `credibility` (Z, 0 to 1) and
        `estimate`. Of a hierarchy also `parent`.
    collective
        Mean of all levels, mu.
    within
        Variance of one observation of weight 1 around its level, v; NaN when no level has two rows.
    between
        Variance of levels around their parent or the collective, a.
    parents
        Of a hierarchy: the same columns by parent, with the number of its levels that are believed as weight.
    between_parents
        Of a hierarchy: variance of parents around the collective, b.
    """

    frame: pd.DataFrame
    collective: float
    within: float
    between: float
    parents: pd.DataFrame | None = None
    between_parents: float | None = None

    def figure(self) -> Figure:
        """Draw what is believed of each level against its own mean."""
        from models.canvas import Canvas  # here: matplotlib takes a third of a second; serving draws nothing

        figure = Canvas(figsize=(6.4, 5), layout="constrained")
        axes = figure.add_subplot()
        shown = self.frame
        size = 6 + 120 * shown["weight"] / shown["weight"].max()
        points = axes.scatter(
            shown["mean"], shown["estimate"], s=size, c=shown["credibility"], vmin=0, vmax=1, alpha=0.8
        )
        ends = [float(shown["mean"].min()), float(shown["mean"].max())]
        axes.plot(ends, ends, color="0.6", linewidth=0.8, linestyle="--", label="believed fully")
        axes.axhline(self.collective, color="0.6", linewidth=0.8, label="collective")
        axes.set(xlabel="mean of the level alone", ylabel="credibility estimate")
        axes.set_title(f"{len(shown)} levels, area by weight")
        axes.legend(loc="upper left")
        figure.colorbar(points, ax=axes, label="credibility")
        return figure


def buhlmann_straub(value: ArrayLike, weight: ArrayLike, level: ArrayLike) -> LevelCredibility:
    """Estimate the levels of one category, with the structural parameters from the data.

    v and a are the unbiased estimators; a negative a becomes 0, and then no level is believed:

        v  = sum_ij w_ij (X_ij - m_i)^2 / sum_i (n_i - 1)
        a  = (sum_i w_i (m_i - m)^2 - (I - 1) v) / (w - sum_i w_i^2 / w)
        mu = sum_i Z_i m_i / sum_i Z_i

    Parameters
    ----------
    value
        Observations, for example claims per year, shape (n,).
    weight
        Their weights, for example exposure, positive, shape (n,).
    level
        Level of each, any kind, shape (n,); a missing value is a level of its own.

    Returns
    -------
    LevelCredibility

    Raises
    ------
    TrainingDataError
        If a value is not finite or a weight not positive, with row counts.

    Notes
    -----
    Where no level has two rows, noise and difference cannot be told apart: no level is believed.
    """
    values, weights = checked(value, weight)
    codes, names = pd.factorize(as_levels(level), use_na_sentinel=False)
    found = _level_sums(values, weights, codes.astype(np.int64), len(names))
    between = _between(found)
    credibility = _credibility(found.weight, found.within, between)
    shares = credibility if credibility.sum() > 0 else found.weight
    collective = float(shares @ found.mean / shares.sum())
    estimate = credibility * found.mean + (1.0 - credibility) * collective
    frame = _frame(names, found, credibility, estimate, "level")
    return LevelCredibility(frame, collective, found.within, between)


def hierarchical(
    value: ArrayLike, weight: ArrayLike, level: ArrayLike, parent: ArrayLike
) -> LevelCredibility:
    """Estimate levels that lie in parents (areas in regions, models in makes): Jewell's two-level model.

    A level falls back on its parent, a parent on the collective. Variances between levels and between parents
    are the pseudo-estimators of De Vylder, which are never negative:

        a = sum_pi z_pi (m_pi - m_p)^2 / sum_p (I_p - 1),     z_pi = w_pi / (w_pi + v / a)
        b = sum_p z_p (m_p - mu)^2 / (P - 1),                 z_p  = z_p. / (z_p. + a / b),  z_p. = sum_i z_pi

    with m_p the mean of its levels weighted by z_pi and mu the mean of parents weighted by z_p.

    Parameters
    ----------
    value, weight, level
        See `buhlmann_straub`.
    parent
        Parent of each row, shape (n,); every level lies in one.

    Returns
    -------
    LevelCredibility

    Raises
    ------
    TrainingDataError
        If a value, a weight or the hierarchy cannot be used, with counts.
    """
    values, weights = checked(value, weight)
    codes, names = pd.factorize(as_levels(level), use_na_sentinel=False)
    of_row, parents = pd.factorize(as_levels(parent), use_na_sentinel=False)
    owner = _owners(codes.astype(np.int64), of_row.astype(np.int64), len(names), names)
    found = _level_sums(values, weights, codes.astype(np.int64), len(names))
    between, between_parents = _structure(found, owner, len(parents))
    precision, above, mean = _precisions(found, owner, len(parents), between)
    z, z_parent = between * precision, above * between_parents / (1.0 + above * between_parents)
    shares = above / (1.0 + above * between_parents)
    collective = float(shares @ mean / shares.sum())
    parent_estimate = z_parent * mean + (1.0 - z_parent) * collective
    estimate = z * found.mean + (1.0 - z) * parent_estimate[owner]
    frame = _frame(names, found, z, estimate, "level")
    frame.insert(0, "parent", np.asarray(parents)[owner])
    rows = np.bincount(owner, found.rows, len(parents)).astype(np.float64)
    upper = _frame(parents, _Sums(rows, between * above, mean, between), z_parent, parent_estimate, "parent")
    return LevelCredibility(frame, collective, found.within, between, upper, between_parents)


def limited_fluctuation(
    claims: ArrayLike, *, probability: float = 0.90, tolerance: float = 0.05, severity_cv: float = 0.0
) -> Floats:
    """Give the classical credibility of claim counts, Z = min(1, sqrt(n / n_full)).

    Parameters
    ----------
    claims
        Claims of each level, shape (n,).
    probability, tolerance
        Full credibility: with this probability the observed rate lies within the tolerance of the true one.
    severity_cv
        Coefficient of variation of a claim, when the pure premium is judged; 0 for the frequency.

    Returns
    -------
    ndarray of float, shape (n,)
        With the defaults a level has full credibility from 1,082 claims on.
    """
    if not (0 < probability < 1 and tolerance > 0 and severity_cv >= 0):
        raise TrainingDataError(
            [
                f"probability {probability} must lie between 0 and 1, tolerance {tolerance} above 0, "
                f"severity_cv {severity_cv} not below 0"
            ]
        )
    counts = np.asarray(claims, np.float64)
    if not (counts >= 0).all():
        raise TrainingDataError([f"{int((~(counts >= 0)).sum())} rows: claims are negative or missing"])
    full = (norm.ppf((1 + probability) / 2) / tolerance) ** 2 * (1 + severity_cv**2)
    return np.asarray(np.minimum(1.0, np.sqrt(counts / full)))


@dataclass(frozen=True, eq=False)
class _Sums:
    """Rows, weight and mean by level, shape (levels,), and the variance within."""

    rows: Floats
    weight: Floats
    mean: Floats
    within: float


def checked(value: ArrayLike, weight: ArrayLike) -> tuple[Floats, Floats]:
    """Read values and weights, and refuse what is not finite or has no weight.

    Raises
    ------
    TrainingDataError
        With row counts.
    """
    values, weights = np.asarray(value, np.float64), np.asarray(weight, np.float64)
    problems = []
    if values.ndim != 1 or values.shape != weights.shape or not len(values):
        raise TrainingDataError([f"values {values.shape} and weights {weights.shape} are no columns"])
    for rows, sentence in (
        (~np.isfinite(values), "the value is missing or not finite"),
        (~(np.isfinite(weights) & (weights > 0)), "the weight (exposure) is zero, negative or missing"),
    ):
        if rows.any():
            problems.append(f"{int(rows.sum())} rows: {sentence}")
    if problems:
        raise TrainingDataError(problems)
    return values, weights


def as_levels(level: ArrayLike) -> pd.Series:
    """Read levels of any kind; all missing values are one level."""
    levels = level if isinstance(level, pd.Series) else pd.Series(np.asarray(level))
    return levels.astype(object).where(levels.notna(), None) if levels.dtype == object else levels


def _sums(codes: Ints, values: Floats, size: int) -> Floats:
    return np.asarray(np.bincount(codes, values, size), np.float64)


def _level_sums(values: Floats, weights: Floats, codes: Ints, size: int) -> _Sums:
    rows = np.bincount(codes, minlength=size).astype(np.float64)
    weight = _sums(codes, weights, size)
    mean = _sums(codes, weights * values, size) / weight
    free = len(values) - size
    within = float(weights @ (values - mean[codes]) ** 2 / free) if free else float("nan")
    return _Sums(rows, weight, mean, within)


def _between(found: _Sums) -> float:
    total = found.weight.sum()
    room = total - (found.weight**2).sum() / total
    if np.isnan(found.within) or room <= 0:
        return 0.0
    middle = found.weight @ found.mean / total
    spread = found.weight @ (found.mean - middle) ** 2
    return max(0.0, float((spread - (len(found.mean) - 1) * found.within) / room))


def _credibility(weight: Floats, within: float, between: float) -> Floats:
    if between <= 0 or np.isnan(within):
        return np.zeros_like(weight)
    return np.asarray(weight / (weight + within / between))


def _owners(codes: Ints, of_row: Ints, size: int, names: pd.Index) -> Ints:
    """Give the parent of each level, shape (levels,)."""
    owner = np.zeros(size, np.int64)
    owner[codes] = of_row
    torn = np.unique(codes[owner[codes] != of_row])
    if len(torn):
        raise TrainingDataError(
            [f"{len(torn)} levels lie in several parents, for example {names[torn[0]]!r}"]
        )
    return owner


def _structure(found: _Sums, owner: Ints, parents: int) -> tuple[float, float]:
    """Give the variances between levels and between parents.

    With u = 1 / (a + v / w), the precision of a level's mean around its parent, z = a u, and the equation of
    a becomes sum u (m - m_p)^2 = sum (I_p - 1). Its left side falls in a, so the root is unique; it is 0
    where the left side is too small even at a = 0. The same for b.
    """
    free = len(found.mean) - parents
    if np.isnan(found.within) or free < 1 or parents < 2:
        raise TrainingDataError(
            [
                f"a hierarchy needs levels with two rows, parents with two levels and two parents; "
                f"{int(found.rows.sum())} rows lie in {len(found.mean)} levels of {parents} parents"
            ]
        )

    def levels_excess(between: float) -> float:
        precision, _, mean = _precisions(found, owner, parents, between)
        return float(precision @ (found.mean - mean[owner]) ** 2) / free - 1.0

    between = _root(levels_excess, found.mean, free)
    _, above, mean = _precisions(found, owner, parents, between)

    def parents_excess(between_parents: float) -> float:
        weight = above / (1.0 + above * between_parents)
        middle = weight @ mean / weight.sum()
        return float(weight @ (mean - middle) ** 2) / (parents - 1) - 1.0

    return between, _root(parents_excess, mean, parents - 1)


def _precisions(found: _Sums, owner: Ints, parents: int, between: float) -> tuple[Floats, Floats, Floats]:
    """Give the precision of each level's mean, their sums and the means by parent."""
    # Levels whose rows agree exactly have no variance; what stands in for it must not overflow in the sums.
    precision = 1.0 / np.maximum(between + found.within / found.weight, 1e-150)
    above = _sums(owner, precision, parents)
    return precision, above, _sums(owner, precision * found.mean, parents) / above


def _root(excess: Callable[[float], float], means: Floats, free: int) -> float:
    # No deviation is larger than the range, so at this variance the sum is below its expectation.
    highest = float(np.ptp(means)) ** 2 * len(means) / free
    if highest == 0 or excess(0.0) <= 0:
        return 0.0
    return float(brentq(excess, 0.0, highest, xtol=highest * 1e-15, rtol=1e-12))


def _frame(names: pd.Index, found: _Sums, credibility: Floats, estimate: Floats, index: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "rows": found.rows.astype(np.int64),
            "weight": found.weight,
            "mean": found.mean,
            "credibility": credibility,
            "estimate": estimate,
        },
        index=pd.Index(names, name=index),
    )
