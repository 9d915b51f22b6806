"""Lift: actual and expected by predicted risk, of one model or of two against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.diagnostics.bands import BANDS, equal_exposure, make_bands
from models.diagnostics.inputs import check_rows
from models.diagnostics.intervals import LEVEL, total_interval
from models.diagnostics.style import (
    ACTUAL,
    COLOURS,
    REFERENCE,
    UNITS,
    Units,
    colours,
    exposure_bars,
    legend,
    new_figure,
    new_panels,
    title,
)
from models.drawn import Drawn
from models.errors import DiagnosticError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from models.diagnostics.bands import Bands
    from models.diagnostics.inputs import Rows, Totals
    from models.families.base import Objective

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lift(Drawn):
    """Actual and expected by predicted rate.

    Attributes
    ----------
    frame
        Long: `model`, `band` (1 is the safest), `exposure`, `rate` (actual), `low`, `high`, `expected`
        (rates).
    mean
        Actual rate of all rows.
    level
        Of the intervals.
    """

    frame: pd.DataFrame
    mean: float
    level: float

    def figure(self, units: Units = UNITS) -> Figure:
        """Draw one panel per model: actual with its interval against expected."""
        groups = dict(list(self.frame.groupby("model", sort=False)))
        figure, panels = new_panels(max(6.4, 3.7 * len(groups)), 4.2, 1, len(groups), share_y=True)
        for (model, lines), colour, axes in zip(
            groups.items(), colours(groups).values(), panels[0], strict=True
        ):
            place = lines["band"].to_numpy()
            axes.axhline(self.mean, color=REFERENCE, linewidth=1.0, label="average")
            axes.fill_between(place, lines["low"], lines["high"], color=ACTUAL, alpha=0.13, linewidth=0)
            axes.plot(
                place, lines["rate"], color=ACTUAL, marker="o", label=f"actual, {self.level:.0%} interval"
            )
            axes.plot(place, lines["expected"], color=colour, marker="s", linestyle="--", label="expected")
            axes.set_xticks(place)
            axes.set_xlabel("band of equal exposure, safest first")
            title(axes, f"Lift of {model}", f"highest over lowest: actual {_spread(lines['rate'])}")
            legend(axes, "upper left")
        top = float(self.frame[["high", "expected"]].to_numpy().max())
        panels[0][0].set(ylabel=units.rate, ylim=(0, 1.05 * top))
        return figure


@dataclass(frozen=True, eq=False)
class DoubleLift(Drawn):
    """Two models where they differ most.

    Attributes
    ----------
    frame
        One line per band of new over old, lowest ratio first: `exposure`, `ratio` (new over old), `rate`
        (actual), `low`, `high`, `old`, `new` (expected rates), `old_ae`, `new_ae`.
    error
        Model -> exposure-weighted mean of |actual / expected - 1| over the bands; the smaller one wins.
    new, old
        Names.
    level
        Of the intervals.
    """

    frame: pd.DataFrame
    error: dict[str, float]
    new: str
    old: str
    level: float

    def figure(self, units: Units = UNITS) -> Figure:
        """Draw actual against both models, by how much they differ."""
        figure, axes = new_figure(7.2, 4.4)
        exposure_bars(axes, self.frame["exposure"].to_numpy(), units)
        place = np.arange(len(self.frame))
        axes.fill_between(place, self.frame["low"], self.frame["high"], color=ACTUAL, alpha=0.13, linewidth=0)
        axes.plot(
            place, self.frame["rate"], color=ACTUAL, marker="o", label=f"actual, {self.level:.0%} interval"
        )
        for column, name, colour in (("old", self.old, COLOURS[1]), ("new", self.new, COLOURS[0])):
            label = f"{name}, off by {self.error[name]:.1%}"
            axes.plot(place, self.frame[column], color=colour, marker="s", linestyle="--", label=label)
        axes.set_xticks(place, [f"{ratio:.0%}" for ratio in self.frame["ratio"]])
        axes.set_xlabel(f"{self.new} as a share of {self.old}, mean of each band of equal exposure")
        axes.set_ylim(bottom=0)
        axes.set_ylabel(units.rate)
        title(
            axes,
            f"Double lift: {self.new} against {self.old}",
            "the model closer to actual at both ends wins",
        )
        legend(axes)
        return figure


def lift(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    *,
    objective: Objective = "poisson",
    dispersion: float = 1.0,
    bands: int = BANDS,
    level: float = LEVEL,
) -> Lift:
    """Compare actual and expected in bands of equal exposure by predicted rate.

    Actual should rise steadily, far, and along with expected (CAS Monograph 5, 7.2.1).

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`.
    objective, dispersion, level
        See `total_interval`.
    bands
        Of about equal exposure; rows of equal prediction stay together.
    """
    rows = check_rows(actual, expected, exposure)
    parts = []
    for model in rows.models:
        groups = prediction_bands(rows, model, bands)
        low, high = total_interval(rows, groups, objective, dispersion, level)
        columns = {
            "model": model,
            "band": np.arange(1, len(groups.labels) + 1),
            "exposure": groups.exposure,
            "rate": groups.total(rows.actual) / groups.exposure,
            "low": low / groups.exposure,
            "high": high / groups.exposure,
            "expected": groups.total(rows.expected[model]) / groups.exposure,
        }
        parts.append(pd.DataFrame(columns))
    mean = float(rows.actual.sum() / rows.exposure.sum())
    return Lift(pd.concat(parts, ignore_index=True), mean, level)


def double_lift(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    *,
    new: str,
    old: str,
    objective: Objective = "poisson",
    dispersion: float = 1.0,
    bands: int = BANDS,
    level: float = LEVEL,
) -> DoubleLift:
    """Sort rows by new over old and see in each band which model is closer to what happened.

    Both models are first brought to the actual total, so that a difference in level decides nothing
    (CAS Monograph 5, 7.2.2).

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`; `expected` names at least two models.
    new, old
        The two models.
    objective, dispersion, level
        See `total_interval`.
    bands
        Of about equal exposure, at least 10.

    Raises
    ------
    DiagnosticError
        If a model is not among the expected, or there are fewer than 10 bands.
    """
    rows = check_rows(actual, expected, exposure)
    _check_pair(rows, new, old, bands)
    scaled = {
        name: rows.expected[name] * (rows.actual.sum() / rows.expected[name].sum()) for name in (new, old)
    }
    groups = _bands_of(scaled[new] / scaled[old], rows.exposure, bands)
    low, high = total_interval(rows, groups, objective, dispersion, level)
    actual_total, exposed = groups.total(rows.actual), groups.exposure
    before, after = (groups.total(scaled[name]) for name in (old, new))
    columns = {"exposure": exposed, "ratio": after / before, "rate": actual_total / exposed}
    columns |= {"low": low / exposed, "high": high / exposed, "old": before / exposed, "new": after / exposed}
    columns |= {"old_ae": actual_total / before, "new_ae": actual_total / after}
    frame = pd.DataFrame(columns, index=groups.index())
    error = {
        name: float(np.average(np.abs(frame[f"{role}_ae"] - 1.0), weights=groups.exposure))
        for role, name in (("new", new), ("old", old))
    }
    return DoubleLift(frame, error, new, old, level)


def _check_pair(rows: Rows, new: str, old: str, bands: int) -> None:
    if unknown := [name for name in (new, old) if name not in rows.expected]:
        raise DiagnosticError(
            [f"no expected totals of {', '.join(unknown)}; there are {', '.join(rows.models)}"]
        )
    if bands < BANDS:
        raise DiagnosticError([f"bands is {bands}; a double lift needs {BANDS} and more"])
    if zero := int(np.count_nonzero(rows.expected[old] == 0)):
        raise DiagnosticError([f"expected[{old!r}] is zero on {zero} rows, where new over old is undefined"])


def prediction_bands(rows: Rows, model: str, bands: int) -> Bands:
    """Give bands of about equal exposure by predicted rate, safest first."""
    return _bands_of(rows.rate(model), rows.exposure, bands)


def _bands_of(values: Array, exposure: Array, bands: int) -> Bands:
    if bands < 2:
        raise DiagnosticError([f"bands is {bands}; allowed: 2 and more"])
    _, codes = np.unique(equal_exposure(values, exposure, bands), return_inverse=True)
    labels = [str(k + 1) for k in range(int(codes.max()) + 1)]
    return make_bands("band", codes, labels, exposure, ordered=True)


def _spread(rate: pd.Series) -> str:
    return f"x {rate.iloc[-1] / rate.iloc[0]:.1f}" if rate.iloc[0] > 0 else "from zero"
