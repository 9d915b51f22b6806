"""Lorenz curve and Gini: how well a model ranks risks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models import metrics
from models.diagnostics.inputs import check_rows
from models.diagnostics.intervals import LEVEL
from models.diagnostics.ranking import gini_draws
from models.diagnostics.resampling import cluster_codes, percentiles, two_sided
from models.diagnostics.style import REFERENCE, UNITS, Units, colours, legend, new_figure, percent, title
from models.drawn import Drawn
from models.errors import DiagnosticError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from models.diagnostics.inputs import Totals

POINTS = 1001
DRAWS = 200


@dataclass(frozen=True, eq=False)
class Lorenz(Drawn):
    """Lorenz curves and Gini coefficients.

    Attributes
    ----------
    frame
        Long: `model`, `exposure_share` and `actual_share`, safest risks first, 1,001 points a model.
    gini
        One line per model: `gini`, `low`, `high`, `error` (bootstrap standard error); without draws only
        `gini`.
    draws
        Gini of each resample, shape (draws, models); the same resamples for all models.
    level
        Of the intervals.
    """

    frame: pd.DataFrame
    gini: pd.DataFrame
    draws: pd.DataFrame
    level: float

    def difference(self, new: str, old: str) -> dict[str, float]:
        """Compare the Gini of two models on the same resamples.

        Returns
        -------
        dict
            `difference` (new - old), `low`, `high`, `p_value` of no difference.

        Raises
        ------
        DiagnosticError
            If there were no draws, or a model was not judged.
        """
        if unknown := [name for name in (new, old) if name not in self.gini.index]:
            known = ", ".join(map(str, self.gini.index))
            raise DiagnosticError([f"{name!r} is not among the models {known}" for name in unknown])
        if not len(self.draws):
            raise DiagnosticError(["the Gini was taken without draws. Hint: lorenz(..., draws=200)"])
        apart = (self.draws[new] - self.draws[old]).to_numpy()
        low, high = percentiles(apart, self.level)
        found = float(self.gini.loc[new, "gini"] - self.gini.loc[old, "gini"])
        return {"difference": found, "low": low, "high": high, "p_value": two_sided(apart)}

    @property
    def differences(self) -> pd.DataFrame:
        """Every pair of models, the later minus the earlier."""
        pairs = list(combinations(self.gini.index, 2))
        lines = [{"new": new, "old": old} | self.difference(new, old) for old, new in pairs]
        return pd.DataFrame(lines, columns=["new", "old", "difference", "low", "high", "p_value"])

    def figure(self, units: Units = UNITS) -> Figure:
        """Draw the curves with each model's Gini and its interval."""
        figure, axes = new_figure(6.4, 5.6)
        axes.plot([0, 1], [0, 1], color=REFERENCE, linewidth=1.0, label="no ranking (Gini 0)")
        for model, colour in colours(self.gini.index).items():
            curve = self.frame[self.frame["model"] == model]
            line = self.gini.loc[model]
            span = f" ({line['low']:.3f} to {line['high']:.3f})" if "low" in line else ""
            axes.plot(
                curve["exposure_share"],
                curve["actual_share"],
                color=colour,
                label=f"{model}: Gini {line['gini']:.3f}{span}",
            )
        axes.set(
            xlabel=f"share of {units.exposures}, lowest prediction first",
            ylabel=f"share of {units.actual}",
            xlim=(0, 1),
            ylim=(0, 1),
        )
        axes.xaxis.set_major_formatter(percent())
        axes.yaxis.set_major_formatter(percent())
        note = "the lower the curve, the better the ranking"
        title(axes, "Lorenz curve", note + (f"; {self.level:.0%} intervals" if len(self.draws) else ""))
        legend(axes, "upper left")
        return figure


def lorenz(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 1,
) -> Lorenz:
    """Rank risks by predicted rate and see how much of the actual total the riskiest hold.

    Gini = 1 - 2 x area under the Lorenz curve of actual against exposure, rows of equal prediction as one
    point. It sees ranking only: a model that is wrong by a factor has the same Gini, so read it beside the
    calibration (Wuthrich 2023, Model selection with Gini indices under auto-calibration). Intervals come
    from the Poisson bootstrap of rows (percentiles), paired over models.

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
    curves = []
    for model in rows.models:
        share, lost = metrics.lorenz(rows.actual, rows.rate(model), rows.exposure)
        keep = np.unique(np.linspace(0, len(share) - 1, POINTS).astype(int))
        curves.append(
            pd.DataFrame({"model": model, "exposure_share": share[keep], "actual_share": lost[keep]})
        )
    found = pd.Series({m: metrics.gini(rows.actual, rows.rate(m), rows.exposure) for m in rows.models})
    drawn = gini_draws(rows, draws, seed, cluster_codes(cluster, len(rows.actual)))
    table = pd.DataFrame({"gini": found}).rename_axis("model")
    if draws:
        spans = {model: percentiles(drawn[model].to_numpy(), level) for model in rows.models}
        table["low"] = {model: span[0] for model, span in spans.items()}
        table["high"] = {model: span[1] for model, span in spans.items()}
        table["error"] = drawn.std(ddof=1)
    return Lorenz(pd.concat(curves, ignore_index=True), table, drawn, level)
