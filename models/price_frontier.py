"""The efficient frontier of a book: what each target of one constraint costs in profit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.diagnostics.style import ACTUAL, COLOURS, REFERENCE, legend, new_figure, percent, title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from pricing.optimiser import FrontierPoint, Solution


@dataclass(frozen=True, eq=False)
class PriceFrontier:
    """A frontier beside the prices by cost alone and those that were chosen.

    Attributes
    ----------
    frame
        One line a target: `target`, `profit`, `volume`, `rate_change` (all but the target as change against
        the prices by cost alone), `shadow_price` of the moved constraint, `why` where no prices meet it.
    chosen
        The same of the prices that were chosen.
    name
        Of the constraint that is moved.
    """

    frame: pd.DataFrame
    chosen: dict[str, float]
    name: str

    def figure(self) -> Figure:
        """Draw profit over volume, both against the prices by cost alone."""
        figure, axes = new_figure(7.6, 4.6)
        met = self.frame[self.frame["why"] == ""]
        axes.axhline(0.0, color=REFERENCE, linewidth=1.0)
        axes.axvline(0.0, color=REFERENCE, linewidth=1.0)
        axes.plot(
            met["volume"],
            met["profit"],
            "o-",
            color=COLOURS[0],
            markersize=5,
            label="best prices by policy, by target",
        )
        axes.plot([0.0], [0.0], "s", color=ACTUAL, markersize=8, label="prices by cost alone")
        axes.plot(
            [self.chosen["volume"]],
            [self.chosen["profit"]],
            "D",
            color=COLOURS[1],
            markersize=8,
            label="chosen prices",
        )
        for line in met.iloc[:: max(len(met) // 4, 1)].itertuples():
            axes.annotate(
                f"rate {line.rate_change:+.1%}",
                (line.volume, line.profit),
                (6, 7),
                textcoords="offset points",
                fontsize=9,
            )
        axes.xaxis.set_major_formatter(percent(None))
        axes.yaxis.set_major_formatter(percent(None))
        axes.set_xlabel("expected volume against prices by cost alone")
        axes.set_ylabel("expected profit against prices by cost alone")
        axes.margins(x=0.12, y=0.15)
        legend(axes)
        missed = len(self.frame) - len(met)
        note = f"{len(met)} targets of {self.name}" + (f"; {missed} cannot be met" if missed else "")
        title(axes, "Efficient frontier", note)
        return figure


def price_frontier(
    points: Sequence[FrontierPoint], cost_only: Solution, chosen: Solution, name: str
) -> PriceFrontier:
    """Put a solved frontier into a frame.

    Parameters
    ----------
    points
        From `pricing.optimiser.frontier`; the moved constraint is the first of each.
    cost_only, chosen
        Prices by cost alone, and those that were chosen.
    name
        Of the constraint that is moved, in words.
    """
    lines = []
    for point in points:
        line: dict[str, object] = {"target": point.target, "why": point.why}
        if point.solution is not None:
            line |= _against(point.solution, cost_only)
            line["shadow_price"] = next(iter(point.solution.shadow_prices.values()), np.nan)
        lines.append(line)
    columns = ["target", "profit", "volume", "rate_change", "shadow_price", "why"]
    return PriceFrontier(pd.DataFrame(lines, columns=columns), _against(chosen, cost_only), name)


def _against(found: Solution, base: Solution) -> dict[str, float]:
    def change(name: str) -> float:
        return float(getattr(found.totals, name).sum() / getattr(base.totals, name).sum() - 1.0)

    return {
        "profit": (found.profit - base.profit) / abs(base.profit),
        "volume": change("volume"),
        "rate_change": change("quoted"),
    }
