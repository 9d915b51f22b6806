"""Elasticity where the data can tell it, and why not where it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import norm

from models.demand.model import MonotoneDemand, SplineDemand
from models.demand.partially_linear import partially_linear, through_origin
from models.demand.rows import check_demand
from models.diagnostics.style import COLOURS, REFERENCE, new_figure, title
from models.families.frame import FrameEncoding

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class _Slopes:
    """What both verdicts hold.

    Attributes
    ----------
    frame
        By estimator (`naive`, `controlled`, `dml`, `monotone`): `slope` of acceptance per unit of log price,
        `error`, `low`, `high` (NaN where it has no standard error), `elasticity` = slope / mean acceptance.
    variance_left
        Var(log price | features) / Var(log price), out of fold.
    rows, level
        Rows read; level of the intervals.
    """

    frame: pd.DataFrame
    variance_left: float
    rows: int
    level: float

    def figure(self) -> Figure:
        """Draw the four slopes with their intervals."""
        figure, axes = new_figure(7.2, 3.4)
        axes.axvline(0.0, color=REFERENCE, linewidth=1.0)
        for i, (colour, line) in enumerate(zip(COLOURS, self.frame.itertuples(), strict=False)):
            if np.isfinite(line.error):
                axes.plot([line.low, line.high], [i, i], color=colour, linewidth=2.4)
            axes.plot([line.slope], [i], "o", color=colour, markersize=7)
            axes.annotate(
                f"{line.slope:+.3f}",
                (line.slope, i),
                (0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )
        axes.set_yticks(range(len(self.frame)), self.frame.index)
        axes.set_ylim(len(self.frame) - 0.5, -0.7)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.margins(x=0.12)
        axes.set_xlabel(f"change of acceptance per unit of log price ({self.level:.0%} interval)")
        left = f"{self.rows:,} rows, {self.variance_left:.0%} of the price variance left given the features"
        title(axes, self._verdict, left)
        return figure

    _verdict = ""


@dataclass(frozen=True, eq=False)
class Elasticity(_Slopes):
    """An elasticity that passed all checks.

    Attributes
    ----------
    slope, error
        The mean slope (spline logistic) and the standard error that DML gives it.
    elasticity
        Slope / mean acceptance.
    spread, spread_error
        How much of the differences between customers that one half of the rows predicts is found in the
        other half: 1 all, 0 none. Prices of individuals need `per_customer`.
    """

    slope: float
    error: float
    elasticity: float
    spread: float
    spread_error: float
    _verdict = "Slope of acceptance: identified"

    @property
    def per_customer(self) -> bool:
        """Whether differences between customers are found beyond chance."""
        return self.spread - float(norm.ppf(0.5 + self.level / 2)) * self.spread_error > 0


@dataclass(frozen=True, eq=False)
class NotIdentified(_Slopes):
    """No elasticity, and why.

    Attributes
    ----------
    reasons
        One sentence per failed check, with the numbers.
    """

    reasons: tuple[str, ...]
    _verdict = "Slope of acceptance: not identified"


def price_elasticity(
    X: pd.DataFrame,
    accepted: ArrayLike,
    log_price: ArrayLike,
    propensity: ArrayLike | None = None,
    *,
    least_left: float = 0.10,
    agreement: float = 0.25,
    level: float = 0.95,
    seed: int = 1,
) -> Elasticity | NotIdentified:
    """Estimate the slope of acceptance in log price four ways, and refuse where they cannot be believed.

    Refused when too little of the price variance is left given the features; when naive (no features),
    controlled (spline logistic) and DML slope are not all negative; when the interval of DML holds zero; and
    when the monotone booster finds less than `agreement` of the free slope (a constraint hides a wrong sign
    as zero). What nobody recorded cannot be seen by any of these: only a randomised price test excludes it.

    Parameters
    ----------
    X, accepted, log_price, propensity
        See `DemandModel.fit`.
    least_left
        Least Var(log price | features) / Var(log price).
    agreement
        Least ratio of the monotone slope to the controlled one.
    level
        Of the intervals.
    seed
        Of folds and boosters.
    """
    rows = check_demand(X, accepted, log_price, propensity)
    encoding = FrameEncoding.learn(X, rows.weight, "auto")
    values = encoding.encode(X, "refuse")
    categories = [i for i, column in enumerate(encoding.columns) if column.category]
    y, t, w = rows.accepted, rows.log_price, rows.weight
    dml = partially_linear(values, categories, y, t, w, seed=seed)
    naive = through_origin(y - np.average(y, weights=w), t - np.average(t, weights=w), w)
    found = {"naive": naive}
    for name, model in (("controlled", SplineDemand()), ("monotone", MonotoneDemand(seed=seed))):
        slopes = model.fit(X, y, t, propensity).slopes(X, t)
        found[name] = (float(np.average(slopes, weights=w)), np.nan)
    found["dml"] = (dml.slope, dml.error)
    order = ["naive", "controlled", "dml", "monotone"]
    frame = pd.DataFrame.from_dict(found, orient="index", columns=["slope", "error"]).loc[order]
    width = float(norm.ppf(0.5 + level / 2))
    frame["low"] = frame["slope"] - width * frame["error"]
    frame["high"] = frame["slope"] + width * frame["error"]
    frame["elasticity"] = frame["slope"] / np.average(y, weights=w)
    frame = frame.rename_axis("estimator")
    if reasons := _reasons(frame, dml.left, least_left, agreement):
        return NotIdentified(frame, dml.left, len(y), level, tuple(reasons))
    spread = _spread(X, y, t, propensity, dml.outcome, dml.price, w, seed)
    slope, elasticity = (float(frame.loc["controlled", name]) for name in ("slope", "elasticity"))
    return Elasticity(frame, dml.left, len(y), level, slope, dml.error, elasticity, *spread)


def _reasons(frame: pd.DataFrame, left: float, least: float, agreement: float) -> list[str]:
    slope = frame["slope"]
    reasons = []
    if left < least:
        reasons.append(
            f"only {left:.1%} of the variance of the log price is left given the features "
            f"(R2 {1 - left:.3f}); at least {least:.0%} is needed"
        )
    free = slope[["naive", "controlled", "dml"]]
    said = ", ".join(f"{name} {value:+.4f}" for name, value in free.items())
    if (free > 0).any() and (free < 0).any():
        reasons.append(
            f"the slopes of acceptance differ in sign: {said}; the price follows the risk or demand"
        )
    elif (free >= 0).all():
        reasons.append(
            f"acceptance rises with the price: {said}; the price follows demand that was not recorded"
        )
    low, high = frame.loc["dml", "low"], frame.loc["dml", "high"]
    if low <= 0 <= high:
        reasons.append(f"the interval of the DML slope holds zero: {low:+.4f} to {high:+.4f}")
    monotone, controlled = slope["monotone"], slope["controlled"]
    if controlled >= 0 or monotone > agreement * controlled:
        reasons.append(
            f"the free slope {controlled:+.4f} and the monotone one {monotone:+.4f} disagree; the latter "
            f"must be at least {agreement:.0%} of the former, and both negative"
        )
    return reasons


def _spread(
    X: pd.DataFrame,
    y: np.ndarray,
    t: np.ndarray,
    propensity: ArrayLike | None,
    outcome: np.ndarray,
    price: np.ndarray,
    w: np.ndarray,
    seed: int,
) -> tuple[float, float]:
    """Regress residual outcome on residual price x predicted slope (Chernozhukov et al. 2018, 1712.04802)."""
    share = np.ones(len(y)) if propensity is None else np.asarray(propensity, dtype=np.float64)
    half = np.random.default_rng(seed).permutation(len(y)) % 2
    predicted = np.empty(len(y))
    for side in (0, 1):
        learn = half != side
        model = SplineDemand().fit(X[learn], y[learn], t[learn], share[learn])
        found = model.slopes(X[~learn], t[~learn])
        predicted[~learn] = found - found.mean()
    v = price * predicted
    mean = through_origin(outcome, price, w)[0]
    # The mean slope is taken out of both sides first, which leaves the coefficient of a joint regression.
    v = v - price * through_origin(v, price, w)[0]
    return through_origin(outcome - mean * price, v, w)
