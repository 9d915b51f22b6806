"""How the cells of a price test stand: differences to the holdout, with intervals that always hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.diagnostics.style import COLOURS, REFERENCE, new_figure, title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

UNITS = {"conversion": "conversion", "profit_per_quote": "profit a quote, minor units"}


def price_test_figure(frame: pd.DataFrame, name: str, measure: str, largest_loss: float) -> Figure:
    """Draw a test.

    Parameters
    ----------
    frame
        One line a cell: `multiplier`, `quotes`, `difference`, `low`, `high`.
    name, measure
        Of the test.
    largest_loss
        Loss against the holdout that stops it.
    """
    figure, axes = new_figure(7.6, 4.2)
    axes.axhline(0.0, color=REFERENCE, linewidth=1.0)
    axes.axhline(-largest_loss, color=COLOURS[1], linewidth=1.2, linestyle="--")
    told = frame[np.isfinite(frame["low"]) & np.isfinite(frame["high"])]
    seen = frame[frame["quotes"] > 0]
    axes.vlines(told["multiplier"], told["low"], told["high"], color=COLOURS[0], linewidth=2.4)
    axes.plot(seen["multiplier"], seen["difference"], "o", color=COLOURS[0], markersize=6)
    axes.annotate(
        "stops below",
        (frame["multiplier"].max(), -largest_loss),
        (0, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
        color=COLOURS[1],
    )
    axes.set_xticks(frame["multiplier"], [f"{one:.2f}" for one in frame["multiplier"]])
    axes.set_xlabel("multiplier of the cell")
    axes.set_ylabel(f"{UNITS[measure]}: cell less holdout")
    axes.margins(x=0.06, y=0.12)
    note = f"{int(frame['quotes'].sum()):,} customers; intervals hold at every moment, none below 100 a cell"
    title(axes, f"Price test {name}", note)
    return figure
