"""What rankings are worth, drawn: a point and an interval for each estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.diagnostics.style import COLOURS, new_figure, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from models.recommend.evaluation import Evaluation

ESTIMATORS = {
    "IPS": "inverse propensity",
    "SN": "self-normalised",
    "DR": "doubly robust",
}


def evaluation_figure(found: Evaluation, measure: str = "take_up") -> Figure:
    """Draw the values of rankings.

    Parameters
    ----------
    found
        What `evaluate` gave.
    measure
        `take_up` (offers taken per 100 exposures) or `margin` (per 100 exposures, in units of currency).
    """
    scale = 100.0 if measure == "take_up" else 1.0
    values = found.table[found.table["measure"] == measure]
    names = list(dict.fromkeys(values["ranking"]))
    figure, axes = new_figure(8.6, 1.6 + 0.75 * len(names))
    for step, (estimator, label) in enumerate(ESTIMATORS.items()):
        own = values[values["estimator"] == estimator]
        height = [names.index(name) + 0.22 * (step - 1) for name in own["ranking"]]
        axes.hlines(height, scale * own["low"], scale * own["high"], color=COLOURS[step], linewidth=2.4)
        axes.plot(scale * own["value"], height, "o", color=COLOURS[step], markersize=5.5, label=label)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(
        "offers taken per 100 exposures"
        if measure == "take_up"
        else "margin per 100 exposures, currency units"
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    note = f"{found.exposures:,} exposures of {found.customers:,} customers; 95 % intervals"
    title(axes, "What each ranking is worth", note)
    return figure
