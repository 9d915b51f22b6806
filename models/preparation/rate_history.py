"""Premium at current rate level, by parallelogram and by extension of exposures.

Policies are written evenly, each runs `term` years and earns evenly. A policy written at w has earned the
share (t - w) / term at t. The average rate level of a period is then an area: the integral of the level
over the parallelogram of (written, earned) moments that the period covers. The level is a step function of
both, so the integral is exact, a sum of quadratics; no month stands for its days.

References
----------
Werner and Modlin, Basic Ratemaking (5th ed., 2016), chapter 5 and appendix.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from models.drawn import Drawn
from models.errors import TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    # A day, or a year with its fraction: 2025.5 is the middle of 2025.
    Moment = dt.date | float

Basis = Literal["earned", "written"]


@dataclass(frozen=True)
class RateChange:
    """One change of the overall rate level.

    Attributes
    ----------
    effective
        From when.
    change
        Share, 0.05 for +5 %.
    applies_to
        `new`: policies written from then on; `in_force`: all policies from then on, as a law may say.
    """

    effective: Moment
    change: float
    applies_to: Literal["new", "in_force"] = "new"


@dataclass(frozen=True, eq=False)
class OnLevel(Drawn):
    """Factors that bring the premium of past periods to the current rate level.

    Attributes
    ----------
    frame
        One line per period: `start`, `end` (years), `average_level`, `current_level`, `factor`.
    history
        Rate changes, by time.
    term
        Length of a policy in years.
    basis
        Whether the premium is earned or written in the period.
    """

    frame: pd.DataFrame
    history: tuple[RateChange, ...]
    term: float
    basis: Basis

    def figure(self) -> Figure:
        """Draw the parallelograms: lines are rate changes, columns the periods with their factor."""
        from models.canvas import Canvas  # here: matplotlib takes a third of a second

        figure = Canvas(figsize=(8, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for i, row in enumerate(self.frame.itertuples()):
            axes.axvspan(row.start, row.end, color="C0", alpha=0.10 if i % 2 else 0.22, linewidth=0)
            middle = (row.start + row.end) / 2
            axes.text(middle, 1.03, f"x {row.factor:.4f}", ha="center", va="bottom", fontsize=9)
        for change in self.history:
            at = years(change.effective)
            slant = self.term if change.applies_to == "new" and self.basis == "earned" else 0.0
            axes.plot([at, at + slant], [0, 1], color="C3")
            axes.text(at, -0.02, f"{change.change:+.1%}", ha="center", va="top", color="C3", fontsize=9)
        axes.set(ylim=(-0.12, 1.12), xlabel="time (years)", ylabel="share of the term that is earned")
        axes.set_title(f"Rate level, {self.basis} premium, term {self.term:g} years")
        axes.ticklabel_format(axis="x", useOffset=False)
        return figure


@dataclass(frozen=True, eq=False)
class Extended:
    """Policies priced anew at the current rates.

    Attributes
    ----------
    premium
        Premium of each policy at current rates, shape (n,).
    frame
        One line per value of `by` (or one line): `policies`, `charged`, `current`, `factor`.
    """

    premium: Floats
    frame: pd.DataFrame


def on_level(
    periods: Sequence[tuple[Moment, Moment]],
    history: Sequence[RateChange],
    *,
    term: float = 1.0,
    basis: Basis = "earned",
) -> OnLevel:
    """Give on-level factors by the parallelogram method.

    factor = current level / average level, the levels relative to that before the first change.

    Parameters
    ----------
    periods
        Start and end of each period of premium, for example calendar years.
    history
        Rate changes in any order.
    term
        Years that a policy runs.
    basis
        `earned` weighs a moment of writing by what it earns in the period, `written` only by whether it lies
        in the period.

    Raises
    ------
    TrainingDataError
        If a period is empty, the term not positive, or a change is -100 % or less.
    """
    _check(periods, history, term)
    changes = sorted(history, key=lambda change: years(change.effective))
    current = float(np.prod([1.0 + change.change for change in changes]))
    lines = []
    for start, end in periods:
        a, b = years(start), years(end)
        average = _average_level(a, b, changes, term, basis)
        lines.append((a, b, average, current, current / average))
    columns = ["start", "end", "average_level", "current_level", "factor"]
    return OnLevel(pd.DataFrame(lines, columns=columns), tuple(changes), term, basis)


def rate_level(written: ArrayLike, history: Sequence[RateChange]) -> Floats:
    """Give the rate level at which policies were written, 1 before the first change, shape (n,).

    Current level over this is the on-level factor of a single policy, where a change was the same for all.

    Parameters
    ----------
    written
        When each policy was written: datetime64 or years, shape (n,).
    history
        Rate changes of kind `new`.
    """
    _check([], history, 1.0)
    if any(change.applies_to == "in_force" for change in history):
        raise TrainingDataError(["a change of policies in force has no single level by date of writing"])
    times = _as_years(written)
    level = np.ones(len(times))
    for change in history:
        level *= np.where(times >= years(change.effective), 1.0 + change.change, 1.0)
    return level


def extend_exposures(
    policies: pd.DataFrame,
    tariff: Callable[[pd.DataFrame], ArrayLike],
    *,
    premium: str,
    by: str | None = None,
) -> Extended:
    """Price each past policy at the current rates: exact where rate changes differed between risks.

    Parameters
    ----------
    policies
        One row per policy, with what the tariff reads and the premium charged.
    tariff
        Current premium of each row, same unit and term as the premium charged.
    premium
        Column of the premium charged.
    by
        Column by which factors are given, for example the year.

    Raises
    ------
    TrainingDataError
        If a premium, charged or current, is not a positive number, with row counts.
    """
    charged = policies[premium].to_numpy(np.float64)
    current = np.asarray(tariff(policies), np.float64)
    if current.shape != charged.shape:
        raise TrainingDataError([f"the tariff gave {current.shape} premiums for {len(charged)} policies"])
    problems = [
        f"{int(rows.sum())} rows: the {name} premium is missing, zero or negative"
        for name, rows in (("charged", ~(charged > 0)), ("current", ~(current > 0)))
        if rows.any()
    ]
    if problems:
        raise TrainingDataError(problems)
    keys = np.full(len(charged), "all") if by is None else policies[by].to_numpy()
    frame = (
        pd.DataFrame({"policies": 1, "charged": charged, "current": current}).groupby(keys, sort=True).sum()
    )
    frame["factor"] = frame["current"] / frame["charged"]
    return Extended(current, frame.rename_axis(by))


def years(moment: Moment) -> float:
    """Give a moment as years: 2025-07-02 at noon is 2025.5."""
    if isinstance(moment, dt.datetime):
        start = dt.datetime(moment.year, 1, 1, tzinfo=moment.tzinfo)
        whole = dt.datetime(moment.year + 1, 1, 1, tzinfo=moment.tzinfo) - start
        return moment.year + (moment - start) / whole
    if isinstance(moment, dt.date):
        return years(dt.datetime(moment.year, moment.month, moment.day))
    return float(moment)


def _as_years(times: ArrayLike) -> Floats:
    array = np.asarray(times)
    if array.dtype.kind != "M":
        return np.asarray(array, np.float64)
    year = array.astype("datetime64[Y]")
    start, after = year.astype("datetime64[us]"), (year + 1).astype("datetime64[us]")
    part = (array.astype("datetime64[us]") - start) / (after - start)
    return np.asarray(year.astype(np.int64) + 1970 + part, np.float64)


def _average_level(
    start: float, end: float, changes: Sequence[RateChange], term: float, basis: Basis
) -> float:
    """Integrate the level over the period's parallelogram, in strips between changes of policies in force."""
    new = [change for change in changes if change.applies_to == "new"]
    forced = [change for change in changes if change.applies_to == "in_force"]
    cuts = [start, *(t for change in forced if start < (t := years(change.effective)) < end), end]
    area = weighted = 0.0
    for a, b in zip(cuts[:-1], cuts[1:], strict=True):
        level = float(np.prod([1.0 + c.change for c in forced if years(c.effective) <= a]))
        held, levels = _strip(a, b, new, term if basis == "earned" else 0.0)
        area += held.sum()
        weighted += level * float(held @ levels)
    return weighted / area


def _strip(a: float, b: float, new: Sequence[RateChange], term: float) -> tuple[Floats, Floats]:
    """Give areas and levels between the rate changes of new policies, for what is earned in [a, b]."""
    times = [years(change.effective) for change in new]
    bounds = np.array([a - term, *np.clip(times, a - term, b), b])
    levels = np.asarray(np.cumprod([1.0, *(1.0 + change.change for change in new)]), np.float64)
    return np.diff(_earned_until(bounds, a, b, term)), levels


def _earned_until(written: Floats, a: float, b: float, term: float) -> Floats:
    """Give what policies written before a moment earn in [a, b]; policies are written at rate 1.

    The share of a policy written at w that is earned before t is clip((t - w) / term, 0, 1); its integral
    over w up to `written` is quadratic, and the period is the difference of its two ends.
    """
    if term == 0:
        return np.clip(written, a, b) - a

    def until(t: float) -> Floats:
        whole = np.minimum(written, t - term) - (a - term)
        begun = np.clip(written - (t - term), 0.0, term)
        return whole + begun - begun**2 / (2 * term)

    return until(b) - until(a)


def _check(periods: Sequence[tuple[Moment, Moment]], history: Sequence[RateChange], term: float) -> None:
    problems = [
        f"period {start} to {end} is empty" for start, end in periods if not years(start) < years(end)
    ]
    problems += [
        f"rate change {change.change} of {change.effective} leaves no premium: it must lie above -1"
        for change in history
        if not change.change > -1
    ]
    if not term > 0:
        problems.append(f"the term must be positive, got {term}")
    if problems:
        raise TrainingDataError(problems)
