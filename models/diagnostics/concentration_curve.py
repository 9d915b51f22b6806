"""Concentration curve beside the Lorenz curve of the premium, and the area between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models import metrics
from models.diagnostics.inputs import check_rows
from models.diagnostics.intervals import LEVEL
from models.diagnostics.lorenz_curve import DRAWS, POINTS
from models.diagnostics.ranking import Ranking
from models.diagnostics.resampling import cluster_codes, percentiles, row_weights, two_sided
from models.diagnostics.style import (
    ACTUAL,
    REFERENCE,
    UNITS,
    Units,
    colours,
    legend,
    model_panels,
    percent,
    title,
)
from models.drawn import Drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from models.diagnostics.inputs import Totals


@dataclass(frozen=True, eq=False)
class Concentration(Drawn):
    """Concentration and Lorenz curves.

    Attributes
    ----------
    frame
        Long: `model`, `exposure_share`, `concentration` (share of actual), `lorenz` (share of expected),
        lowest prediction first.
    areas
        One line per model: `abc` with `low`, `high` and `p_value` of zero; `icc`. Without draws only the
        areas.
    level
        Of the intervals.
    """

    frame: pd.DataFrame
    areas: pd.DataFrame
    level: float

    def figure(self, units: Units = UNITS) -> Figure:
        """Draw both curves of each model with the area between them."""
        groups = dict(list(self.frame.groupby("model", sort=False)))
        figure, panels = model_panels(list(groups))
        for axes, (model, lines), colour in zip(
            panels, groups.items(), colours(groups).values(), strict=True
        ):
            share = lines["exposure_share"]
            axes.plot([0, 1], [0, 1], color=REFERENCE, linewidth=1.0)
            axes.fill_between(share, lines["lorenz"], lines["concentration"], color=colour, alpha=0.25)
            axes.plot(share, lines["concentration"], color=ACTUAL, label=f"{units.actual} (concentration)")
            axes.plot(share, lines["lorenz"], color=colour, linestyle="--", label="expected (Lorenz)")
            axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=f"share of {units.exposures}, lowest prediction first")
            axes.xaxis.set_major_formatter(percent())
            axes.yaxis.set_major_formatter(percent())
            line = self.areas.loc[model]
            span = f" ({line['low']:.4f} to {line['high']:.4f})" if "low" in line else ""
            title(axes, f"Concentration of {model}", f"ABC {line['abc']:.4f}{span}, ICC {line['icc']:.4f}")
            axes.set_ylabel("share of the total")
            legend(axes, "upper left")
        return figure


def concentration(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 1,
) -> Concentration:
    """Compare the concentration of what happened with that of what was expected.

    With CC(a) the share of the actual, LC(a) the share of the expected total that the share a of exposure
    with the lowest predictions holds: ABC = integral of CC - LC, zero where the model is auto-calibrated,
    positive where premiums are spread more than the risk; ICC = integral of CC, the smaller the better the
    ranking (Denuit, Sznajder and Trufin 2019, Model selection based on Lorenz and concentration curves). In
    terms of Gini coefficients ABC = (Gini of expected - Gini of actual) / 2 and ICC = (1 - Gini of actual) /
    2. Intervals and p-values come from the Poisson bootstrap of rows.

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`.
    cluster
        Policy or customer of each row, shape (n,): rows of one are drawn together.
    draws
        Resamples; 0 leaves the intervals out.
    level
        Of the intervals.
    seed
        Of the resamples.
    """
    rows = check_rows(actual, expected, exposure)
    curves, areas = [], {}
    for model in rows.models:
        rate = rows.rate(model)
        share, held = metrics.lorenz(rows.actual, rate, rows.exposure)
        _, premium = metrics.lorenz(rows.expected[model], rate, rows.exposure)
        keep = np.unique(np.linspace(0, len(share) - 1, POINTS).astype(int))
        columns = {"exposure_share": share, "concentration": held, "lorenz": premium}
        curves.append(pd.DataFrame({"model": model} | {name: v[keep] for name, v in columns.items()}))
        areas[model] = {
            "abc": float(np.trapezoid(held - premium, share)),
            "icc": float(np.trapezoid(held, share)),
        }
    if draws:
        rankings = {model: Ranking(rows, model) for model in rows.models}
        drawn: dict[str, list[float]] = {model: [] for model in rows.models}
        for weights in row_weights(len(rows.actual), draws, seed, cluster_codes(cluster, len(rows.actual))):
            for model, ranking in rankings.items():
                of_actual, of_expected = ranking.ginis(weights)
                drawn[model].append((of_expected - of_actual) / 2.0)
        for model, found in drawn.items():
            low, high = percentiles(np.array(found), level)
            areas[model] |= {"low": low, "high": high, "p_value": two_sided(np.array(found))}
    table = pd.DataFrame.from_dict(areas, orient="index").rename_axis("model")
    return Concentration(pd.concat(curves, ignore_index=True), table, level)
