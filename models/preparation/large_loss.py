"""Large losses: where they begin, what is capped and pooled, and what higher limits cost.

The excess over a threshold is pooled, since a few claims must not decide the relativities of the levels they
happened to fall in. Above a high threshold losses follow about a generalised Pareto distribution (GPD)

    P(X - u > y | X > u) = (1 + shape y / scale)^(-1 / shape)

whose mean excess is linear in u. The plots of mean excess, of the fitted shape and of the Hill estimator
over the threshold show from where on that holds; the tool suggests a threshold, the actuary chooses it.

References
----------
Embrechts, Kluppelberg and Mikosch, Modelling Extremal Events (1997), chapter 6; Hill (1975); Smith,
Estimating tails of probability distributions (1987), for the standard errors; Klugman, Panjer and Willmot,
Loss Models, for limited expected values; Werner and Modlin, Basic Ratemaking, chapter 11, for increased
limits factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.stats import genpareto, norm

from models.drawn import Drawn
from models.errors import TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

Severity = Literal["empirical", "lognormal", "gpd"]
THRESHOLDS = 30
FEWEST_EXCEEDANCES = 50


@dataclass(frozen=True, eq=False)
class CappedClaims:
    """Claims cut at a threshold, one by one.

    Attributes
    ----------
    frame
        Index: the policy. Columns `claims`, `amount`, `capped`, `excess`, `large` (claims above).
    threshold
        Where each claim was cut.
    """

    frame: pd.DataFrame
    threshold: float

    @property
    def excess(self) -> float:
        """Sum over the threshold, to be pooled."""
        return float(self.frame["excess"].sum())

    def load(self, exposure: float) -> float:
        """Pooled excess per unit of exposure."""
        if not exposure > 0:
            raise TrainingDataError([f"the exposure must be positive, got {exposure}"])
        return self.excess / exposure

    def attach(self, table: pd.DataFrame, policy: str, name: str = "amount_capped") -> pd.DataFrame:
        """Add the capped amount of each policy to a table as the column that `response.capped` may name.

        Raises
        ------
        TrainingDataError
            If claims belong to no row of the table, or a policy stands on several rows, with counts.
        """
        keys = pd.Index(table[policy])
        strays = ~self.frame.index.isin(keys)
        problems = []
        if strays.any():
            lost = self.frame[strays]
            problems.append(
                f"{int(lost['claims'].sum())} claims of {len(lost)} policies belong to no row of the table, "
                f"for example policy {lost.index[0]}"
            )
        if keys.has_duplicates:
            problems.append(f"{int(keys.duplicated().sum())} rows repeat a value of {policy!r}")
        if problems:
            raise TrainingDataError(problems)
        capped = self.frame["capped"].reindex(keys).fillna(0.0).to_numpy()
        return table.assign(**{name: capped})


@dataclass(frozen=True, eq=False)
class MeanExcess(Drawn):
    """What lies above thresholds.

    Attributes
    ----------
    frame
        One line per `threshold`: `exceedances`, `mean_excess`, `low`, `high`, `shape` and `scale` of the GPD
        with `shape_low`, `shape_high`, and `hill` (1 / tail index) with `hill_low`, `hill_high`.
    suggested
        Lowest threshold from which the fitted shape stays within its interval at every higher one; NaN when
        there is none.
    """

    frame: pd.DataFrame
    suggested: float

    def figure(self, threshold: float | None = None) -> Figure:
        """Draw mean excess, GPD shape and Hill estimator over the threshold, with the chosen one marked."""
        from models.canvas import Canvas  # here: matplotlib takes a third of a second

        figure = Canvas(figsize=(12, 3.8), layout="constrained")
        panels = (
            ("mean_excess", "low", "high", "mean excess"),
            ("shape", "shape_low", "shape_high", "GPD shape"),
            ("hill", "hill_low", "hill_high", "Hill estimate of the shape"),
        )
        mark = self.suggested if threshold is None else threshold
        shown = self.frame
        for axes, (value, low, high, title) in zip(figure.subplots(1, 3), panels, strict=True):
            axes.fill_between(shown["threshold"], shown[low], shown[high], alpha=0.25, linewidth=0)
            axes.plot(shown["threshold"], shown[value], marker=".")
            if np.isfinite(mark):
                label = f"{'suggested' if threshold is None else 'chosen'}: {mark:,.0f}"
                axes.axvline(mark, color="C3", linestyle="--", label=label)
                axes.legend()
            axes.set(xscale="log", xlabel="threshold", title=title)
        return figure


@dataclass(frozen=True, eq=False)
class IncreasedLimits(Drawn):
    """What a higher limit costs against the basic one.

    Attributes
    ----------
    frame
        One line per `limit`: `limited_mean` (limited expected value), `factor`, and for the empirical model
        `low` and `high`.
    basic
        Limit of factor 1.
    model
        How the severity was described.
    parameters
        Of the model.
    """

    frame: pd.DataFrame
    basic: float
    model: Severity
    parameters: dict[str, float]

    def figure(self) -> Figure:
        """Draw the factors over the limit."""
        from models.canvas import Canvas  # here: matplotlib takes a third of a second

        figure = Canvas(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.frame["limit"], self.frame["factor"], marker="o")
        if "low" in self.frame:
            axes.fill_between(
                self.frame["limit"], self.frame["low"], self.frame["high"], alpha=0.25, linewidth=0
            )
        axes.set(xscale="log", xlabel="limit per claim", ylabel="increased limits factor")
        axes.set_title(f"Increased limits, basic limit {self.basic:,.0f} ({self.model})")
        return figure


def cap_claims(claims: pd.DataFrame, *, policy: str, amount: str, threshold: float) -> CappedClaims:
    """Cut every claim at the threshold and sum by policy.

    Parameters
    ----------
    claims
        One row per claim.
    policy, amount
        Columns.
    threshold
        In the unit of the amounts.

    Raises
    ------
    TrainingDataError
        If an amount is negative or missing, or a claim has no policy, with row counts.
    """
    if not threshold > 0:
        raise TrainingDataError([f"the threshold must be positive, got {threshold}"])
    value = _amounts(claims[amount], zero=True)
    lost = claims[policy].isna()
    if lost.any():
        raise TrainingDataError([f"{int(lost.sum())} claims name no policy"])
    parts = pd.DataFrame(
        {
            "claims": 1,
            "amount": value,
            "capped": np.minimum(value, threshold),
            "excess": np.maximum(value - threshold, 0.0),
            "large": (value > threshold).astype(np.int64),
        }
    )
    return CappedClaims(parts.groupby(claims[policy].to_numpy()).sum().rename_axis(policy), threshold)


def mean_excess(
    amounts: ArrayLike, thresholds: Sequence[float] | None = None, *, confidence: float = 0.95
) -> MeanExcess:
    """Describe what lies above thresholds.

    Parameters
    ----------
    amounts
        One per claim, positive.
    thresholds
        Rising; by default 30 evenly on the log scale from the median to where 50 claims are left.
    confidence
        Of all intervals: normal for the mean excess and the shape, (1 + shape)^2 / n being the variance of
        the latter; Hill's estimator has the variance hill^2 / n.

    Raises
    ------
    TrainingDataError
        If amounts cannot be used, or fewer than 50 claims lie above a threshold.
    """
    value = np.sort(_amounts(amounts, zero=False))
    if thresholds is None and len(value) < 4 * FEWEST_EXCEEDANCES:
        raise TrainingDataError(
            [f"{len(value)} claims are too few to look for a threshold: {4 * FEWEST_EXCEEDANCES} are needed"]
        )
    at = (
        np.geomspace(np.median(value), value[-FEWEST_EXCEEDANCES - 1], THRESHOLDS)
        if thresholds is None
        else np.asarray(thresholds, np.float64)
    )
    counts = len(value) - np.searchsorted(value, at, side="right")
    few = counts < FEWEST_EXCEEDANCES
    if few.any() and thresholds is not None:
        raise TrainingDataError(
            [
                f"only {n} claims lie above {u:,.0f}; at least {FEWEST_EXCEEDANCES} are needed"
                for u, n in zip(at[few], counts[few], strict=True)
            ]
        )
    reach = norm.ppf((1 + confidence) / 2)
    frame = pd.DataFrame([_above(value, u, reach) for u in at[~few]])
    return MeanExcess(frame, _suggest(frame))


def increased_limits(
    amounts: ArrayLike,
    limits: Sequence[float],
    *,
    basic: float,
    model: Severity = "empirical",
    threshold: float | None = None,
    confidence: float = 0.95,
) -> IncreasedLimits:
    """Give increased limits factors, E[min(X, limit)] / E[min(X, basic)].

    Parameters
    ----------
    amounts
        Ground-up amounts, one per claim, not censored by the limits asked for.
    limits
        Limits per claim.
    basic
        Limit of factor 1.
    model
        `empirical`; `lognormal`, fitted to all claims; or `gpd`: empirical up to `threshold`, generalised
        Pareto above.
    threshold
        Where the Pareto tail begins (model `gpd`).
    confidence
        Of the interval of empirical factors (delta method over claims).

    Raises
    ------
    TrainingDataError
        If amounts or limits cannot be used.
    """
    value = _amounts(amounts, zero=False)
    at = np.asarray(limits, np.float64)
    if not (at > 0).all() or not basic > 0 or (model == "gpd") != (threshold is not None):
        raise TrainingDataError(
            [f"limits {at.tolist()} and basic limit {basic} must be positive; a threshold goes with 'gpd'"]
        )
    if model == "empirical":
        return IncreasedLimits(_empirical(value, at, basic, confidence), basic, model, {})
    parameters = _lognormal(value) if model == "lognormal" else _tail(value, float(threshold or 0.0))
    limited = _limited_lognormal if model == "lognormal" else _limited_tail
    means = np.array([limited(value, limit, parameters) for limit in at])
    factor = means / limited(value, basic, parameters)
    frame = pd.DataFrame({"limit": at, "limited_mean": means, "factor": factor})
    return IncreasedLimits(frame, basic, model, parameters)


def _amounts(values: ArrayLike, *, zero: bool) -> Floats:
    value = np.asarray(values, np.float64)
    wrong = ~np.isfinite(value) | (value < 0 if zero else value <= 0)
    if wrong.any() or not len(value):
        kind = "negative or missing" if zero else "not positive or missing"
        raise TrainingDataError([f"{int(wrong.sum())} of {len(value)} claims: the amount is {kind}"])
    return value


def _above(value: Floats, threshold: float, reach: float) -> dict[str, float]:
    """Describe the claims above one threshold; `value` is sorted."""
    excess = value[np.searchsorted(value, threshold, side="right") :] - threshold
    n = len(excess)
    middle, error = float(excess.mean()), float(excess.std(ddof=1) / np.sqrt(n))
    shape, _, scale = genpareto.fit(excess / middle, floc=0)
    room = reach * max(1.0 + shape, 0.0) / np.sqrt(n)
    hill = float(np.log1p(excess / threshold).mean())
    return {
        "threshold": threshold,
        "exceedances": n,
        "mean_excess": middle,
        "low": middle - reach * error,
        "high": middle + reach * error,
        "shape": float(shape),
        "shape_low": float(shape - room),
        "shape_high": float(shape + room),
        "scale": float(scale * middle),
        "hill": hill,
        "hill_low": hill * (1 - reach / np.sqrt(n)),
        "hill_high": hill * (1 + reach / np.sqrt(n)),
    }


def _suggest(frame: pd.DataFrame) -> float:
    # From the top down: the intervals of all higher thresholds, each holding the shape found here.
    low = frame["shape_low"][::-1].cummax()[::-1]
    high = frame["shape_high"][::-1].cummin()[::-1]
    stable = frame["shape"].between(low, high)
    # The highest few agree with themselves alone; a suggestion needs others above it.
    found = frame.loc[stable & (frame.index < len(frame) - 5), "threshold"]
    return float(found.iloc[0]) if len(found) else float("nan")


def _empirical(value: Floats, limits: Floats, basic: float, confidence: float) -> pd.DataFrame:
    base = np.minimum(value, basic)
    reach = norm.ppf((1 + confidence) / 2) / np.sqrt(len(value))
    lines = []
    for limit in limits:
        cut = np.minimum(value, limit)
        factor = cut.mean() / base.mean()
        room = reach * float(np.std(cut - factor * base)) / base.mean()
        lines.append((limit, cut.mean(), factor, factor - room, factor + room))
    return pd.DataFrame(lines, columns=["limit", "limited_mean", "factor", "low", "high"])


def _lognormal(value: Floats) -> dict[str, float]:
    logs = np.log(value)
    if not logs.std() > 0:
        raise TrainingDataError([f"all {len(value)} claims have one amount: no lognormal fits"])
    return {"mu": float(logs.mean()), "sigma": float(logs.std())}


def _limited_lognormal(value: Floats, limit: float, p: dict[str, float]) -> float:
    z = (np.log(limit) - p["mu"]) / p["sigma"]
    below = np.exp(p["mu"] + p["sigma"] ** 2 / 2) * norm.cdf(z - p["sigma"])
    return float(below + limit * norm.sf(z))


def _tail(value: Floats, threshold: float) -> dict[str, float]:
    ordered = np.sort(value)
    n = len(ordered) - int(np.searchsorted(ordered, threshold, side="right"))
    if n < FEWEST_EXCEEDANCES:
        raise TrainingDataError([f"only {n} claims lie above {threshold:,.0f}: no tail can be fitted"])
    found = _above(ordered, threshold, 0.0)
    return {
        "threshold": threshold,
        "shape": found["shape"],
        "scale": found["scale"],
        "share_above": n / len(ordered),
    }


def _limited_tail(value: Floats, limit: float, p: dict[str, float]) -> float:
    body = float(np.minimum(value, min(limit, p["threshold"])).mean())
    excess = max(limit - p["threshold"], 0.0) / p["scale"]
    shape = p["shape"]
    if abs(shape) < 1e-9:
        area = -np.expm1(-excess)
    elif abs(shape - 1.0) < 1e-9:
        area = np.log1p(excess)
    else:
        left = max(1.0 + shape * excess, 0.0)
        area = (1.0 - left ** (1.0 - 1.0 / shape)) / (1.0 - shape)
    return body + p["share_above"] * p["scale"] * float(area)
