"""Drift: does a model still rank and still price as it did, and has the book moved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from models import metrics
from models.diagnostics.auto_calibration import calibration
from models.diagnostics.bands import BANDS, band
from models.diagnostics.inputs import check_column, check_rows
from models.diagnostics.intervals import LEVEL
from models.diagnostics.lorenz_curve import DRAWS, lorenz
from models.diagnostics.style import (
    COLOURS,
    REFERENCE,
    UNITS,
    Units,
    band_labels,
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

    from models.diagnostics.inputs import Totals
    from models.families.base import Objective

    Array = NDArray[np.float64]


# Columns of `Lorenz.gini`, and their names here.
GINI = {"gini": "gini", "low": "gini_low", "high": "gini_high", "error": "gini_error"}


@dataclass(frozen=True, eq=False)
class Drift(Drawn):
    """Level, ranking and calibration by period.

    Attributes
    ----------
    frame
        Indexed by `model` and `period`: `rows`, `exposure`, `actual`, `ae` with `ae_low`, `ae_high`,
        `balance_p`; `gini` with `gini_low`, `gini_high`, `gini_change` from the first period and its
        `gini_p`; `miscalibration` = `global` + `local`, `local_p`, `auto_calibration_p`.
    level
        Of the intervals.
    """

    frame: pd.DataFrame
    level: float

    def figure(self, units: Units = UNITS) -> Figure:
        """Draw A/E and Gini with intervals by period; marks are filled where the test rejects."""
        periods = list(dict.fromkeys(self.frame.index.get_level_values("period")))
        models = list(dict.fromkeys(self.frame.index.get_level_values("model")))
        figure, panels = new_panels(max(9.6, 1.4 * len(periods)), 4.4, 1, 2)
        kinds = (("ae", "ae_low", "ae_high", "balance_p"), ("gini", "gini_low", "gini_high", "gini_p"))
        for axes, (value, low, high, p_value) in zip(panels[0], kinds, strict=True):
            for k, (model, colour) in enumerate(colours(models).items()):
                lines = self.frame.loc[model].reindex(periods)
                place = np.arange(len(periods)) + 0.12 * (k - (len(models) - 1) / 2)
                axes.vlines(place, lines[low], lines[high], color=colour, alpha=0.6)
                axes.plot(place, lines[value], "o", color=colour, markerfacecolor="white", label=model)
                off = (lines[p_value] < 1.0 - self.level).to_numpy()
                axes.plot(place[off], lines[value].to_numpy()[off], "o", color=colour)
            band_labels(axes, periods, "period")
            axes.margins(y=0.25)
            legend(axes, "upper center", 4)
        exposure_bars(panels[0][0], self.frame.loc[models[0], "exposure"].reindex(periods).to_numpy(), units)
        panels[0][0].axhline(1.0, color=REFERENCE, linewidth=1.0)
        panels[0][0].set_ylabel("actual over expected")
        panels[0][1].set_ylabel("Gini")
        title(panels[0][0], "Level", f"filled: off balance at {1 - self.level:.0%}")
        title(panels[0][1], "Ranking", f"filled: differs from {periods[0]} at {1 - self.level:.0%}")
        return figure


@dataclass(frozen=True, eq=False)
class PopulationShift(Drawn):
    """Shares of exposure before and after.

    Attributes
    ----------
    frame
        One line per factor, largest first: `psi`, `moved` (share of exposure that changed its band), `band`
        that changed most.
    shares
        Long: `factor`, `band`, `before`, `after`.
    """

    frame: pd.DataFrame
    shares: pd.DataFrame

    def figure(self) -> Figure:
        """Draw the index of each factor."""
        figure, axes = new_figure(7.2, 1.6 + 0.34 * len(self.frame))
        place = np.arange(len(self.frame))[::-1]
        axes.barh(place, self.frame["psi"], color=COLOURS[0], height=0.6)
        for bound in (0.1, 0.25):
            axes.axvline(bound, color=REFERENCE, linestyle=":", linewidth=1.0)
        for height, (_, line) in zip(place, self.frame.iterrows(), strict=True):
            axes.text(
                line["psi"],
                height,
                f"  {line['moved']:.1%} moved, most in {line['band']}",
                va="center",
                fontsize=9,
            )
        axes.set_yticks(place, list(self.frame.index))
        axes.margins(x=0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("population stability index, by exposure (dotted: the customary 0.1 and 0.25)")
        title(axes, "Shift of the book", "a shift need not hurt a model: see drift of level and ranking")
        return figure


def drift(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    period: ArrayLike,
    *,
    objective: Objective = "poisson",
    power: float = metrics.POWER,
    dispersion: float | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 1,
) -> Drift:
    """Test period by period whether a model still holds (Brauer, Menzel and Wuthrich 2025, arXiv 2510.04556).

    Ranking: the Gini of each period against that of the first, which is the reference; both are
    asymptotically normal and independent, their errors come from the bootstrap. Level: balance with its
    interval. Calibration: the miscalibration of the Murphy decomposition in a global part, which one factor
    repairs, and a local part, for which the model must be refitted. Rows of the reference should not be those
    learned from.

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`.
    period
        Of each row, in an order that sorts (for example `2024`, `2024Q1`), shape (n,).
    objective, power, dispersion
        See `calibration`.
    draws, seed
        Of the bootstraps.
    level
        Of intervals and tests.

    Raises
    ------
    DiagnosticError
        If there are fewer than two periods, or a period without claims.
    """
    rows = check_rows(actual, expected, exposure, objective)
    codes, periods = _periods(period, rows.actual)
    judged = partial(calibration, objective=objective, power=power, dispersion=dispersion)
    lines = {}
    for k, name in enumerate(periods):
        part = rows.where(codes == k)
        totals = (part.actual, part.expected, part.exposure)
        ranked = lorenz(*totals, draws=draws, level=level, seed=seed).gini
        tested = judged(*totals, draws=draws, level=level, seed=seed).tests
        held = {"rows": len(part.actual), "exposure": part.exposure.sum(), "actual": part.actual.sum()}
        for model in rows.models:
            gini = {new: ranked.loc[model, old] for old, new in GINI.items()}
            lines[model, name] = held | gini | tested.loc[model].drop(["chi2", "bands", "chi2_p"]).to_dict()
    frame = pd.DataFrame.from_dict(lines, orient="index")
    frame.index = pd.MultiIndex.from_tuples(lines, names=["model", "period"])
    return Drift(_with_change(frame, periods[0]), level)


def _periods(period: ArrayLike, actual: Array) -> tuple[NDArray[np.int64], list[str]]:
    check_column("period", period, len(actual))
    codes, periods = pd.factorize(pd.Series(period).astype("object"), sort=True)
    if missing := int(np.count_nonzero(codes < 0)):
        raise DiagnosticError([f"period: {missing} of {len(codes)} rows have none"])
    if len(periods) < 2:
        raise DiagnosticError([f"drift needs two periods and more; got {len(periods)}"])
    held = np.bincount(codes, actual)
    if empty := [str(p) for p, total in zip(periods, held, strict=True) if total == 0]:
        raise DiagnosticError([f"period {', '.join(empty)}: actual is zero on all rows"])
    return codes.astype(np.int64), [str(p) for p in periods]


def _with_change(frame: pd.DataFrame, reference: str) -> pd.DataFrame:
    frame = frame.copy()
    first = frame.xs(reference, level="period").reindex(frame.index.get_level_values("model"))
    frame["gini_change"] = frame["gini"].to_numpy() - first["gini"].to_numpy()
    error = np.hypot(frame["gini_error"].to_numpy(), first["gini_error"].to_numpy())
    p_value = 2.0 * stats.norm.sf(np.abs(frame["gini_change"].to_numpy()) / error)
    reference_rows = frame.index.get_level_values("period") == reference
    frame["gini_p"] = np.where(reference_rows, 1.0, p_value)
    return frame


def psi(
    before: pd.DataFrame,
    after: pd.DataFrame,
    exposure_before: ArrayLike,
    exposure_after: ArrayLike,
    *,
    bands: int = BANDS,
) -> PopulationShift:
    """Measure how the exposure of each factor moved between two samples (population stability index).

    PSI = sum over bands of (after - before) log(after / before), shares of exposure, an empty share counted
    as one in ten thousand. **It says that the book moved, not that the model fails**: its bounds of 0.1 and
    0.25 are folklore, it has no test, and in a planted failure it stayed silent while the Gini test fired
    first and A/E later. Ship it beside `drift`, and gate on that.

    Parameters
    ----------
    before, after
        The same factors, shapes (n, factors) and (m, factors).
    exposure_before, exposure_after
        Shapes (n,) and (m,).
    bands
        Of numbers, by equal exposure of both samples together.
    """
    if list(before.columns) != list(after.columns):
        raise DiagnosticError(
            [f"before has columns {', '.join(map(str, before))}, after has {', '.join(map(str, after))}"]
        )
    one = check_rows(None, exposure_before, exposure_before).exposure
    other = check_rows(None, exposure_after, exposure_after).exposure
    for name, frame, weight in (("before", before, one), ("after", after, other)):
        if len(frame) != len(weight):
            raise DiagnosticError([f"{name} has {len(frame)} rows, its exposure has {len(weight)}"])
    # Each sample counts as much as the other, however many rows it has.
    weight = np.concatenate([one / one.sum(), other / other.sum()])
    later = np.arange(len(weight)) >= len(one)
    lines, parts = {}, []
    for name in before.columns:
        both = pd.concat([before[name], after[name]], ignore_index=True)
        groups = band(both, weight, bands=bands, name=str(name))
        old, new = groups.total(weight * ~later), groups.total(weight * later)
        floor_old, floor_new = np.maximum(old, 1e-4), np.maximum(new, 1e-4)
        lines[str(name)] = {
            "psi": float(np.sum((floor_new - floor_old) * np.log(floor_new / floor_old))),
            "moved": float(np.abs(new - old).sum() / 2.0),
            "band": groups.labels[int(np.argmax(np.abs(new - old)))],
        }
        parts.append(pd.DataFrame({"factor": str(name), "band": groups.labels, "before": old, "after": new}))
    frame = pd.DataFrame.from_dict(lines, orient="index").rename_axis("factor")
    return PopulationShift(frame.sort_values("psi", ascending=False), pd.concat(parts, ignore_index=True))
