"""Pictures of an impact: what the change is due to, and who gains and loses along the factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.diagnostics.style import (
    REFERENCE,
    band_labels,
    exposure_bars,
    new_figure,
    percent,
    title,
)
from models.dislocation import FALL, RISE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.figure import Figure

    from models.impact import Impact

CAUSES = 12
FACTORS = 8


def causes_figure(causes: Mapping[str, int], before: float) -> Figure:
    """Draw how the change of the premium builds up, cause by cause, as a share of the old premium.

    Parameters
    ----------
    causes
        Label -> change, minor units; the largest are drawn one by one, the others as one bar.
    before
        Old premium, minor units.
    """
    ranked = sorted(causes.items(), key=lambda item: -abs(item[1]))
    shown, rest = dict(ranked[:CAUSES]), ranked[CAUSES:]
    if rest:
        shown[f"{len(rest)} smaller causes"] = sum(part for _, part in rest)
    parts = np.array(list(shown.values()), dtype=np.float64) / before
    ends = np.cumsum(parts)
    figure, axes = new_figure(8.2, 1.6 + 0.34 * (len(parts) + 1))
    place = np.arange(len(parts))
    axes.barh(place, parts, left=ends - parts, color=np.where(parts > 0, RISE, FALL), height=0.62)
    axes.barh([len(parts)], [ends[-1]], color=REFERENCE, height=0.62)
    for at, low, value in (*zip(place, ends - parts, parts, strict=True), (len(parts), 0.0, ends[-1])):
        side = max(low, low + value)
        axes.annotate(
            f"{value:+.2%}", (side, at), (4, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_yticks(np.arange(len(parts) + 1), [*shown, "all causes"])
    axes.invert_yaxis()
    axes.use_sticky_edges = False
    axes.axvline(0.0, color=REFERENCE, linewidth=1.0)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.margins(x=0.16)
    axes.xaxis.set_major_formatter(percent(None))
    axes.set_xlabel("change of the premium, % of the old premium")
    title(axes, "What the change is due to", "Bars follow each other; they add up to the last one exactly")
    return figure


def segment_figure(name: str, levels: pd.DataFrame) -> Figure:
    """Draw the change of the premium by level of a factor, with the policies behind it.

    Parameters
    ----------
    name
        Of the factor, for people.
    levels
        By level, in order: `policies`, `change`, `winners`, `losers`.
    """
    figure, axes = new_figure(7.2, 4.2)
    place = np.arange(len(levels))
    axes.bar(place, levels["change"], color=np.where(levels["change"] > 0, RISE, FALL), width=0.55, zorder=3)
    axes.axhline(0.0, color=REFERENCE, linewidth=1.0)
    axes.yaxis.set_major_formatter(percent(None))
    axes.set_ylabel("change of the premium, %")
    low, high = min(float(levels["change"].min()), 0.0), max(float(levels["change"].max()), 0.0)
    room = 0.18 * (high - low or 0.01)
    axes.set_ylim(low - room, high + room)
    behind = exposure_bars(axes, levels["policies"].to_numpy(dtype=np.float64))
    behind.set_ylabel("policies (grey bars)", color=REFERENCE)
    band_labels(axes, [str(level) for level in levels.index], name)
    title(axes, f"{name}: who pays more, who less", "Orange: more, blue: less; grey: number of policies")
    return figure


def segment_figures(impact: Impact, labels: Mapping[str, str]) -> list[Figure]:
    """Draw the factors along which the change differs most."""
    segments = impact.dislocation.segments
    spread = {}
    for name in segments.index.get_level_values("factor").unique():
        levels = segments.loc[name]
        mean = np.average(levels["change"], weights=levels["before"])
        spread[name] = float(np.average((levels["change"] - mean) ** 2, weights=levels["before"]))
    chosen = sorted((name for name in spread if len(segments.loc[name]) > 1), key=lambda n: -spread[n])
    return [segment_figure(labels.get(name, name), segments.loc[name]) for name in chosen[:FACTORS]]
