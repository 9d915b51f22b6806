"""Actual against expected along one factor, in the model or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.diagnostics.bands import BANDS, band
from models.diagnostics.inputs import check_rows
from models.diagnostics.intervals import LEVEL, band_test, total_interval
from models.diagnostics.style import (
    ACTUAL,
    UNITS,
    Units,
    band_labels,
    colours,
    exposure_bars,
    legend,
    new_figure,
    title,
)
from models.drawn import Drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from models.diagnostics.bands import Bands
    from models.diagnostics.inputs import Rows, Totals
    from models.families.base import Objective


@dataclass(frozen=True, eq=False)
class OneWay(Drawn):
    """Actual and expected by band of one factor.

    Attributes
    ----------
    frame
        One line per band: `rows`, `exposure`, `actual` (total), `rate` (actual per unit of exposure), `low`
        and `high` (its interval); for each model `<model>.rate`, `<model>.ae`, `<model>.ae_low`,
        `<model>.ae_high`.
    tests
        One line per model: `chi2`, `bands`, `p_value` of "every band is as expected".
    factor
        Its name.
    ordered
        Whether neighbouring bands are neighbours in meaning.
    level
        Of the intervals.
    """

    frame: pd.DataFrame
    tests: pd.DataFrame
    factor: str
    ordered: bool
    level: float

    def figure(self, units: Units = UNITS) -> Figure:
        """Draw actual with its interval, every model, and exposure as bars behind."""
        figure, axes = new_figure(max(7.2, 0.42 * len(self.frame)), 4.4)
        exposure_bars(axes, self.frame["exposure"].to_numpy(), units)
        models = list(self.tests.index)
        # Levels without an order have no line that would join them: actual and models stand side by side.
        step = 0.0 if self.ordered else min(0.12, 0.7 / len(models))
        place = np.arange(len(self.frame)) - step * len(models) / 2
        rate, low, high = (self.frame[name].to_numpy() for name in ("rate", "low", "high"))
        line = "-" if self.ordered else "none"
        if self.ordered:
            axes.fill_between(place, low, high, color=ACTUAL, alpha=0.13, linewidth=0)
        else:
            axes.vlines(place, low, high, color=ACTUAL, alpha=0.45, linewidth=1.2)
        axes.plot(
            place, rate, color=ACTUAL, marker="o", linestyle=line, label=f"actual, {self.level:.0%} interval"
        )
        for k, (model, colour) in enumerate(colours(models).items(), start=1):
            axes.plot(
                place + k * step,
                self.frame[f"{model}.rate"],
                color=colour,
                marker="s",
                markersize=4,
                linestyle="--" if self.ordered else "none",
                label=model,
            )
        band_labels(axes, list(self.frame.index), self.factor)
        # A band with hardly any exposure must not flatten all the others.
        sound = self.frame[[f"{model}.rate" for model in models]].to_numpy().max()
        top = max(sound, rate.max())
        axes.set_ylim(0, 1.25 * max(top, min(high.max(), 1.4 * top)))
        axes.set_ylabel(units.rate)
        title(axes, f"Actual against expected by {self.factor}")
        legend(axes, "upper center", 1 + len(models) if len(models) < 4 else 3)
        return figure


def one_way(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    factor: ArrayLike | pd.Series,
    *,
    name: str | None = None,
    objective: Objective = "poisson",
    dispersion: float = 1.0,
    bands: int = BANDS,
    level: float = LEVEL,
) -> OneWay:
    """Compare actual and expected by band of a factor, whether a model uses it or not.

    A band whose interval of A/E leaves out 1 is not explained. Of a factor that is in no model, a pattern in
    A/E is what the model lacks (Goldburd, Khare, Tevet and Guller, CAS Monograph 5, 7.3).

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`.
    factor, name, bands
        See `band`.
    objective, dispersion, level
        See `total_interval`.
    """
    rows = check_rows(actual, expected, exposure)
    return by_bands(rows, band(factor, rows.exposure, bands=bands, name=name), objective, dispersion, level)


def by_bands(rows: Rows, bands: Bands, objective: Objective, dispersion: float, level: float) -> OneWay:
    """Compare actual and expected by bands that are made already."""
    actual = bands.total(rows.actual)
    low, high = total_interval(rows, bands, objective, dispersion, level)
    columns = {
        "rows": np.bincount(bands.codes, minlength=len(bands.labels)),
        "exposure": bands.exposure,
        "actual": actual,
        "rate": actual / bands.exposure,
        "low": low / bands.exposure,
        "high": high / bands.exposure,
    }
    tests = {}
    for model, expected in rows.expected.items():
        total = bands.total(expected)
        columns[f"{model}.rate"] = total / bands.exposure
        with np.errstate(divide="ignore", invalid="ignore"):
            for name, value in (("ae", actual), ("ae_low", low), ("ae_high", high)):
                columns[f"{model}.{name}"] = np.where(total > 0, value / total, np.nan)
        tests[model] = band_test(rows, bands, model, objective, dispersion)
    table = pd.DataFrame.from_dict(tests, orient="index", columns=["chi2", "bands", "p_value"])
    return OneWay(
        pd.DataFrame(columns, index=bands.index()),
        table.rename_axis("model"),
        bands.name,
        bands.ordered,
        level,
    )
