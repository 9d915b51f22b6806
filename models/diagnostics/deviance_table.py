"""Deviance and explained share by model, learn against test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from statsmodels.genmod import families

from models import metrics
from models.diagnostics.inputs import check_column, check_rows
from models.diagnostics.style import UNITS, Units, colours, legend, new_figure, percent, title
from models.drawn import Drawn
from models.errors import DiagnosticError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from models.diagnostics.inputs import Rows, Totals
    from models.families.base import Objective

    Array = NDArray[np.float64]

ALL = "all"
LEARN = "learn"


@dataclass(frozen=True, eq=False)
class Deviance(Drawn):
    """How close models come, by sample.

    Attributes
    ----------
    frame
        Indexed by `model` and `sample`: `rows`, `exposure`, `actual` (total), `ae`, `per_row` (mean deviance
        of a row), `per_exposure`, `d2` (share of the deviance of the mean rate that is explained); where
        parameter counts are given also `log_likelihood`, `parameters`, `aic`, `bic` of the learn rows.
    objective
        Distribution.
    """

    frame: pd.DataFrame
    objective: Objective

    def figure(self, units: Units = UNITS) -> Figure:
        """Draw the explained share of every model, one mark per sample."""
        figure, axes = new_figure(7.2, 1.8 + 0.5 * self.frame.index.get_level_values("model").nunique())
        models = list(dict.fromkeys(self.frame.index.get_level_values("model")))
        samples = list(dict.fromkeys(self.frame.index.get_level_values("sample")))
        place = np.arange(len(models))[::-1]
        for sample, colour in colours(samples).items():
            share = self.frame["d2"].xs(sample, level="sample").reindex(models)
            axes.plot(share, place, "o", color=colour, markersize=8, label=sample)
        for model, height in zip(models, place, strict=True):
            line = self.frame.loc[model]
            axes.hlines(height, line["d2"].min(), line["d2"].max(), color="#B8BDC4", linewidth=2, zorder=0)
            text = "   ".join(f"{sample} {value:.5g}" for sample, value in line["per_exposure"].items())
            axes.text(1.02, height, text, transform=axes.get_yaxis_transform(), fontsize=9, va="center")
        axes.set_yticks(place, models)
        axes.set_ylim(-0.6, len(models) - 0.4)
        axes.grid(visible=True, axis="x")
        axes.xaxis.set_major_formatter(percent(1))
        axes.set_xlabel(f"share of the {self.objective} deviance explained (D²)")
        title(axes, "Explained deviance", f"at the right: deviance per {units.exposure}")
        legend(axes, "best")
        return figure


def deviance(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    *,
    objective: Objective = "poisson",
    power: float = metrics.POWER,
    sample: ArrayLike | None = None,
    parameters: Mapping[str, int] | None = None,
) -> Deviance:
    """Measure how close models come to what happened.

    D2 = 1 - deviance / deviance of one rate for all, which is the mean rate of the learn rows where a sample
    is named `learn`, else of the rows themselves (then it equals scikit-learn's `d2_tweedie_score`). A D2
    far larger on learn than on test rows is over-fit. AIC = 2k - 2 log likelihood and BIC = k log(n) - 2 log
    likelihood, of the learn rows, compare models of one distribution whose parameters can be counted.

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`.
    objective, power
        Distribution, and variance power of `tweedie`.
    sample
        Name of the sample of each row, shape (n,), for example `learn` and `test`.
    parameters
        Model -> number of fitted parameters, of those models that have one.
    """
    rows = check_rows(actual, expected, exposure, objective)
    labels = np.full(len(rows.actual), ALL) if sample is None else np.asarray(sample).astype(str)
    check_column("sample", labels, len(rows.actual))
    if unknown := sorted(set(parameters or {}) - set(rows.models)):
        raise DiagnosticError([f"parameters of {', '.join(unknown)}; there are {', '.join(rows.models)}"])
    names = list(dict.fromkeys(labels))
    lines: dict[tuple[str, str], dict[str, float]] = {}
    for name in names:
        chosen, origin = labels == name, labels == (LEARN if LEARN in names else name)
        null = np.full(len(labels), rows.actual[origin].sum() / rows.exposure[origin].sum()) * rows.exposure
        part = rows.where(chosen)
        least = metrics.deviance_rows(part.actual, null[chosen], part.exposure, objective, power).sum()
        for model in rows.models:
            lines[model, name] = _line(part, model, objective, power, float(least))
            if name in {LEARN, ALL} and model in (parameters or {}):
                lines[model, name] |= _criteria(part, model, objective, power, dict(parameters or {})[model])
    ordered = {(model, name): lines[model, name] for model in rows.models for name in names}
    frame = pd.DataFrame(
        ordered.values(), index=pd.MultiIndex.from_tuples(ordered, names=["model", "sample"])
    )
    return Deviance(frame, objective)


def _line(rows: Rows, model: str, objective: Objective, power: float, null: float) -> dict[str, float]:
    expected = rows.expected[model]
    total = float(metrics.deviance_rows(rows.actual, expected, rows.exposure, objective, power).sum())
    return {
        "rows": len(rows.actual),
        "exposure": float(rows.exposure.sum()),
        "actual": float(rows.actual.sum()),
        "ae": metrics.actual_over_expected(rows.actual, expected),
        "per_row": total / len(rows.actual),
        "per_exposure": total / float(rows.exposure.sum()),
        "d2": metrics.d2(total, null) if null > 0 else np.nan,
    }


def _criteria(
    rows: Rows, model: str, objective: Objective, power: float, parameters: int
) -> dict[str, float]:
    """Log likelihood by statsmodels, with Pearson's dispersion where the distribution has one."""
    actual, expected, exposure = rows.actual, rows.expected[model], rows.exposure
    if objective == "poisson":
        found = families.Poisson().loglike(actual, expected)
    elif objective == "binary":
        found = -0.5 * metrics.deviance_rows(actual, expected, exposure, objective).sum()
    else:
        variance = metrics.variance_rows(expected, exposure, objective, power)
        scale = float(np.sum((actual - expected) ** 2 / variance)) / (len(actual) - parameters)
        family = families.Gamma() if objective == "gamma" else families.Tweedie(var_power=power)
        found = family.loglike(actual / exposure, expected / exposure, var_weights=exposure, scale=scale)
    return {
        "log_likelihood": float(found),
        "parameters": parameters,
        "aic": 2.0 * parameters - 2.0 * float(found),
        "bic": parameters * float(np.log(len(actual))) - 2.0 * float(found),
    }
