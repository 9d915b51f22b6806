"""Trend of frequency, severity or pure premium: log-linear in time, with breaks and seasons.

log(expected rate in a period) = level + slope x time + level or slope breaks + quarter,

fitted as a generalised linear model with log link and the period's exposure as weight (for the severity, its
claims). The spread around the line is estimated (Pearson), so that the intervals hold where claims vary more
than chance alone; they are t intervals of the log rate, which with a flat prior are credible intervals too.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy.stats import t as student
from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

from models.drawn import Drawn
from models.errors import FitError, TrainingDataError
from models.preparation.rate_history import years

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from models.preparation.rate_history import Moment

    Floats = NDArray[np.float64]

Kind = Literal["frequency", "severity", "pure_premium"]
TWEEDIE_POWER = 1.5
QUARTERS = 4


@dataclass(frozen=True)
class Break:
    """A moment at which the level jumps or the slope turns.

    Attributes
    ----------
    at
        From when.
    of
        `level` or `slope`.
    """

    at: Moment
    of: Literal["level", "slope"]


@dataclass(frozen=True)
class TrendFactor:
    """From the cost level of the experience to that of the future.

    Attributes
    ----------
    factor, low, high
        What the experience is multiplied by, with its interval.
    years
        How far apart the two average accident dates lie.
    """

    factor: float
    low: float
    high: float
    years: float


@dataclass(frozen=True, eq=False)
class Trend(Drawn):
    """A fitted trend.

    Attributes
    ----------
    frame
        One line per period: `start`, `end` (years), `exposure`, `observed` (rate), `fitted`, `low`, `high`
        (interval of the fitted rate).
    terms
        One line per term: `estimate` on the log scale, `std_error`, `factor` (per year for a slope) with
        `low` and `high`.
    kind
        What was fitted.
    confidence
        Of all intervals.
    dispersion
        Pearson dispersion; 1 where the spread is that of a Poisson count.
    covariance
        Of the terms, log scale.
    breaks, origin, free
        Breaks, the year from which time counts, and degrees of freedom.
    """

    frame: pd.DataFrame
    terms: pd.DataFrame
    kind: Kind
    confidence: float
    dispersion: float
    covariance: Floats
    breaks: tuple[Break, ...]
    origin: float
    free: int

    @property
    def annual(self) -> TrendFactor:
        """Factor per year of the last slope."""
        end = float(self.frame["end"].max())
        return self.factor(end, end + 1.0)

    def factor(self, experience: Moment, future: Moment) -> TrendFactor:
        """Give the trend factor between two average accident dates, without seasons.

        Breaks between the two count; after the last period the last slope goes on.

        Parameters
        ----------
        experience, future
            Average accident dates, see `average_accident_date`.
        """
        a, b = years(experience), years(future)
        moved = _columns(np.array([a, b]), self.breaks, self.origin)
        step = np.zeros(len(self.terms))
        step[: moved.shape[1]] = moved[1] - moved[0]
        log = float(step @ self.terms["estimate"].to_numpy())
        room = float(np.sqrt(step @ self.covariance @ step)) * _quantile(self.confidence, self.free)
        return TrendFactor(math.exp(log), math.exp(log - room), math.exp(log + room), b - a)

    def figure(self) -> Figure:
        """Draw observed rates (area by exposure), the fit with its interval, and the breaks."""
        from models.canvas import Canvas  # here: matplotlib takes a third of a second

        figure = Canvas(figsize=(7.5, 4), layout="constrained")
        axes = figure.add_subplot()
        shown = self.frame
        middle = (shown["start"] + shown["end"]) / 2
        axes.fill_between(middle, shown["low"], shown["high"], alpha=0.25, linewidth=0)
        axes.plot(middle, shown["fitted"], label="fitted")
        size = 10 + 50 * shown["exposure"] / shown["exposure"].max()
        axes.scatter(middle, shown["observed"], s=size, color="black", zorder=3, label="observed")
        for each in self.breaks:
            axes.axvline(years(each.at), color="C3", linestyle="--", linewidth=1, label=f"break of {each.of}")
        found = self.annual
        axes.set(xlabel="time (years)", ylabel=self.kind.replace("_", " "))
        axes.set_title(f"{found.factor - 1:+.1%} a year ({found.low - 1:+.1%} to {found.high - 1:+.1%})")
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.legend()
        return figure


def fit_trend(
    periods: pd.DataFrame,
    *,
    kind: Kind,
    total: str,
    exposure: str,
    start: str = "start",
    end: str = "end",
    breaks: Sequence[Break] = (),
    seasonal: bool = False,
    confidence: float = 0.95,
) -> Trend:
    """Fit a log-linear trend.

    Parameters
    ----------
    periods
        One row per period, usually a quarter.
    kind
        `frequency` (claims per exposure, Poisson), `severity` (amount per claim, gamma) or `pure_premium`
        (amount per exposure, Tweedie 1.5).
    total
        Column of claims, or of the amount.
    exposure
        Column of exposure, or for the severity of claims.
    start, end
        Columns of the bounds: dates, or years with fractions.
    breaks
        Breaks that are known of, such as a change of law; each must lie inside the experience.
    seasonal
        Whether quarters of the year differ; they are taken from the middle of each period.
    confidence
        Of all intervals.

    Raises
    ------
    TrainingDataError
        If a value cannot be used or the periods are too few, with counts.
    FitError
        If the fit does not settle.
    """
    a, b = _bounds(periods, start, end)
    value, weight = (periods[name].to_numpy(np.float64) for name in (total, exposure))
    _check(value, weight, a, b, kind)
    middle, origin = (a + b) / 2, float(a.min())
    design = _columns(middle, breaks, origin)
    names = ["level", "slope", *(f"{each.of} from {years(each.at):.2f}" for each in breaks)]
    if seasonal:
        quarter = np.floor((middle % 1.0) * QUARTERS).astype(int)
        design = np.column_stack([design, *((quarter == q).astype(float) for q in range(1, QUARTERS))])
        names += [f"quarter {q + 1}" for q in range(1, QUARTERS)]
    free = len(value) - design.shape[1]
    if free < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise TrainingDataError(
            [f"{len(value)} periods cannot tell {', '.join(names)} apart: take fewer terms or more periods"]
        )
    found = _settled(value / weight, design, weight, kind)
    covariance = np.asarray(found.cov_params(), np.float64)
    reach = _quantile(confidence, free)
    frame = _fitted(a, b, weight, value / weight, design, found.params, covariance, reach)
    terms = _terms(names, np.asarray(found.params), np.sqrt(np.diag(covariance)), reach)
    return Trend(frame, terms, kind, confidence, float(found.scale), covariance, tuple(breaks), origin, free)


def _settled(rate: Floats, design: Floats, weight: Floats, kind: Kind) -> Any:  # noqa: ANN401 - not typed
    """Fit by statsmodels, Pearson's dispersion; the result of `GLM.fit`."""
    family = {
        "frequency": sm.families.Poisson(),
        "severity": sm.families.Gamma(sm.families.links.Log()),
        "pure_premium": sm.families.Tweedie(sm.families.links.Log(), var_power=TWEEDIE_POWER),
    }[kind]
    model = sm.GLM(rate, design, family=family, var_weights=weight)
    with warnings.catch_warnings():
        # A line through all points is a good fit here, not the separation that the library warns of.
        warnings.simplefilter("ignore", PerfectSeparationWarning)
        found = model.fit(scale="X2", tol=1e-10, tol_criterion="params", maxiter=200)
    if not found.converged:
        raise FitError(f"the trend of {len(rate)} periods did not settle in 200 steps")
    return found


def average_accident_date(
    start: Moment, end: Moment, *, term: float = 1.0, basis: Literal["accident", "policy"] = "accident"
) -> float:
    """Give the average date of accidents, in years.

    Parameters
    ----------
    start, end
        Period in which accidents happen (`accident`), or in which policies are written evenly (`policy`).
    term
        Years that a policy runs; policies written in [a, b] have accidents from a to b + term, on average at
        (a + b + term) / 2.
    """
    a, b = years(start), years(end)
    if not a < b or not term > 0:
        raise TrainingDataError([f"the period {start} to {end} or the term {term} is empty"])
    return (a + b + (term if basis == "policy" else 0.0)) / 2


def _columns(at: Floats, breaks: Sequence[Break], origin: float) -> Floats:
    columns = [np.ones(len(at)), at - origin]
    for each in breaks:
        when = years(each.at)
        columns.append((at >= when).astype(float) if each.of == "level" else np.maximum(at - when, 0.0))
    return np.column_stack(columns)


def _bounds(periods: pd.DataFrame, start: str, end: str) -> tuple[Floats, Floats]:
    def read(name: str) -> Floats:
        column = periods[name]
        if pd.api.types.is_numeric_dtype(column):
            return np.asarray(column.to_numpy(np.float64))
        return np.array([years(pd.Timestamp(value).to_pydatetime()) for value in column])

    return read(start), read(end)


def _check(value: Floats, weight: Floats, a: Floats, b: Floats, kind: Kind) -> None:
    problems = [
        f"{int(rows.sum())} periods: {sentence}"
        for rows, sentence in (
            (~(np.isfinite(weight) & (weight > 0)), "the exposure is zero, negative or missing"),
            (~np.isfinite(value) | (value < 0), "the total is negative or missing"),
            ((value == 0) & (kind == "severity"), "a severity of zero has no logarithm"),
            (~(a < b), "the period ends before it starts"),
        )
        if rows.any()
    ]
    if problems:
        raise TrainingDataError(problems)


def _fitted(
    a: Floats,
    b: Floats,
    weight: Floats,
    rate: Floats,
    design: Floats,
    estimate: Floats,
    covariance: Floats,
    reach: float,
) -> pd.DataFrame:
    log = design @ estimate
    room = reach * np.sqrt(np.einsum("ij,jk,ik->i", design, covariance, design))
    fit = {"fitted": np.exp(log), "low": np.exp(log - room), "high": np.exp(log + room)}
    return pd.DataFrame({"start": a, "end": b, "exposure": weight, "observed": rate, **fit})


def _terms(names: list[str], estimate: Floats, error: Floats, reach: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "estimate": estimate,
            "std_error": error,
            "factor": np.exp(estimate),
            "low": np.exp(estimate - reach * error),
            "high": np.exp(estimate + reach * error),
        },
        index=pd.Index(names, name="term"),
    )


def _quantile(confidence: float, free: int) -> float:
    return float(student.ppf((1 + confidence) / 2, free))
