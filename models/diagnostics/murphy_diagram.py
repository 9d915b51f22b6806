"""Murphy diagram and the decomposition of a score: is one model better under every consistent loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from model_diagnostics.scoring import (
    ElementaryScore,
    GammaDeviance,
    HomogeneousExpectileScore,
    LogLoss,
    PoissonDeviance,
    decompose,
)
from scipy import stats

from models import metrics
from models.diagnostics.inputs import check_rows
from models.diagnostics.intervals import LEVEL
from models.diagnostics.style import (
    REFERENCE,
    UNITS,
    Units,
    colours,
    legend,
    log_ticks,
    new_panels,
    title,
)
from models.drawn import Drawn
from models.errors import DiagnosticError

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from models.diagnostics.inputs import Rows, Totals
    from models.families.base import Objective

    Array = NDArray[np.float64]

POINTS = 50


@dataclass(frozen=True, eq=False)
class Murphy(Drawn):
    """Elementary scores over their parameter.

    Attributes
    ----------
    frame
        Long: `model`, `eta` (a rate), `score`; `difference` to the first model with its `low` and `high`.
    reference
        First model.
    level
        Of the intervals.
    """

    frame: pd.DataFrame
    reference: str
    level: float

    def figure(self, units: Units = UNITS) -> Figure:
        """Draw the scores, and the differences to the first model with their intervals."""
        groups = dict(list(self.frame.groupby("model", sort=False)))
        figure, panels = new_panels(10.0 if len(groups) > 1 else 5.6, 4.4, 1, min(len(groups), 2))
        for model, colour in colours(groups).items():
            lines = groups[model]
            panels[0][0].plot(lines["eta"], lines["score"], color=colour, label=model)
            if model != self.reference:
                right = panels[0][1]
                right.fill_between(lines["eta"], lines["low"], lines["high"], color=colour, alpha=0.18, lw=0)
                right.plot(lines["eta"], lines["difference"], color=colour, label=model)
        title(panels[0][0], "Murphy diagram", "mean elementary score; lower is better")
        panels[0][0].set_ylabel("mean elementary score")
        if len(groups) > 1:
            panels[0][1].axhline(0.0, color=REFERENCE, linewidth=1.0, label=self.reference)
            note = f"below zero is better; {self.level:.0%} intervals"
            title(panels[0][1], f"Difference to {self.reference}", note)
        for axes in panels[0]:
            axes.set_xlabel(f"threshold η, {units.rate}")
            axes.set_xscale("log")
            log_ticks(axes.xaxis)
            legend(axes)
        return figure


@dataclass(frozen=True, eq=False)
class Decomposition(Drawn):
    """Score = miscalibration - discrimination + uncertainty.

    Attributes
    ----------
    frame
        One line per model: `miscalibration` (lost by wrong levels; smaller is better), `discrimination`
        (gained by telling risks apart; larger is better), `uncertainty` (of the data, the same for all),
        `score`.
    """

    frame: pd.DataFrame

    def figure(self, units: Units = UNITS) -> Figure:
        """Draw discrimination and miscalibration side by side."""
        figure, panels = new_panels(8.4, 1.7 + 0.5 * len(self.frame), 1, 2)
        place = np.arange(len(self.frame))[::-1]
        for axes, part, note in (
            (panels[0][0], "discrimination", "more is better"),
            (panels[0][1], "miscalibration", "less is better"),
        ):
            axes.barh(place, self.frame[part], color=list(colours(self.frame.index).values()), height=0.6)
            for height, value in zip(place, self.frame[part], strict=True):
                axes.text(value, height, f" {value:.3g}", va="center", fontsize=9)
            axes.set_yticks(place, list(self.frame.index))
            axes.margins(x=0.2)
            axes.grid(visible=False, axis="y")
            axes.set_xlabel(f"score per {units.exposure}")
            title(axes, part.capitalize(), note)
        return figure


def murphy(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    *,
    points: int = POINTS,
    level: float = LEVEL,
) -> Murphy:
    """Score models under every elementary loss (`model_diagnostics.ElementaryScore`; Ehm et al. 2016).

    Every loss that is consistent for the mean is a mixture of elementary ones. A model whose curve lies below
    another's everywhere is better whatever the loss; where curves cross, the choice depends on the loss. The
    thresholds span the predictions (but for the outermost half percents), where models can differ. Intervals
    of the difference to the first model are normal, from the scatter of the rows' differences.

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`.
    points
        Number of thresholds.
    level
        Of the intervals.
    """
    rows = check_rows(actual, expected, exposure)
    rates = {model: rows.rate(model) for model in rows.models}
    pooled = np.concatenate([rate[rate > 0] for rate in rates.values()])
    low, high = np.quantile(pooled, [0.005, 0.995])
    etas = np.unique(np.geomspace(low, high, points))
    y, weight = rows.actual / rows.exposure, rows.exposure / rows.exposure.sum()
    wide = float(stats.norm.ppf((1.0 + level) / 2.0))
    lines = []
    for eta in etas:
        score = ElementaryScore(float(eta), functional="mean").score_per_obs
        first: Array | None = None
        for model, rate in rates.items():
            each = score(y, rate)
            first = each if first is None else first
            apart = each - first
            mean = float(weight @ apart)
            error = float(np.sqrt(np.sum((weight * (apart - mean)) ** 2)))
            lines.append(
                (model, float(eta), float(weight @ each), mean, mean - wide * error, mean + wide * error)
            )
    columns = ["model", "eta", "score", "difference", "low", "high"]
    return Murphy(pd.DataFrame(lines, columns=columns), rows.models[0], level)


def decomposition(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    *,
    objective: Objective = "poisson",
    power: float = metrics.POWER,
) -> Decomposition:
    """Split the deviance into miscalibration, discrimination and uncertainty (`model_diagnostics.decompose`).

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`.
    objective, power
        Distribution, and variance power of `tweedie`. `binary` is split as log loss, half the deviance.
    """
    rows = check_rows(actual, expected, exposure, objective)
    lines = {model: _decomposed(rows, model, _score(objective, power)) for model in rows.models}
    return Decomposition(pd.DataFrame.from_dict(lines, orient="index").rename_axis("model"))


def _decomposed(rows: Rows, model: str, score: Callable[..., float]) -> dict[str, float]:
    # Sorted, since decompose merges the lowest isotonic blocks (of rows where nothing happened) by position.
    rate = rows.rate(model)
    order = np.argsort(rate, kind="stable")
    try:
        found = decompose(
            (rows.actual / rows.exposure)[order],
            rate[order],
            weights=rows.exposure[order],
            scoring_function=score,
        )
    except ValueError as error:
        problem = f"{model}: the score of {len(rate)} rows has no decomposition: {error}"
        raise DiagnosticError([problem]) from error
    return {name: float(found[name][0]) for name in found.columns if name != "model"}


def _score(objective: Objective, power: float) -> Callable[..., float]:
    if objective == "tweedie":
        return HomogeneousExpectileScore(degree=2.0 - power, level=0.5)  # type: ignore[no-any-return]
    return {"poisson": PoissonDeviance, "gamma": GammaDeviance, "binary": LogLoss}[objective]()  # type: ignore[no-any-return]
