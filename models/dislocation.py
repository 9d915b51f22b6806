"""Dislocation: how far new prices move a book, by bands, by segment, winners and losers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from models.diagnostics.style import COLOURS, REFERENCE, band_labels, new_figure, percent, title
from models.errors import TrainingDataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Segment: TypeAlias = Sequence[object] | NDArray[np.object_] | pd.Categorical

# Bounds of the bands of change; a price that does not move has a band of its own.
BOUNDS = (-0.30, -0.20, -0.10, -0.05, 0.0, 0.05, 0.10, 0.20, 0.30)
UNMOVED = "no change"
RISE, FALL = COLOURS[1], COLOURS[0]


@dataclass(frozen=True, eq=False)
class Dislocation:
    """What a change of prices does to policies in force.

    Attributes
    ----------
    frame
        One line per band of change, from the largest fall to the largest rise: `policies`, `share` of them,
        `before` and `after` (premium), `change` of the band's premium.
    segments
        One line per (factor, level): `policies`, `before`, `after`, `change`, `winners` and `losers` (shares
        of policies whose price falls, rises), `worst` and `best` (largest rise and fall).
    summary
        `policies`, `before`, `after`, `change` (off-balance), `largest_rise`, `largest_fall`, `median`.
    """

    frame: pd.DataFrame
    segments: pd.DataFrame
    summary: dict[str, float]

    def figure(self) -> Figure:
        """Draw policies by band of change."""
        figure, axes = new_figure(8.2, 4.2)
        place = np.arange(len(self.frame))
        colours = [
            REFERENCE if name == UNMOVED else FALL if change < 0 else RISE
            for name, change in self.frame["change"].items()
        ]
        bars = axes.bar(place, self.frame["share"], color=colours, width=0.8)
        axes.bar_label(bars, [f"{n:,}" for n in self.frame["policies"]], fontsize=9, padding=2)
        axes.yaxis.set_major_formatter(percent(None))
        axes.margins(y=0.1)
        axes.set_ylabel("share of policies, %")
        band_labels(axes, [str(name) for name in self.frame.index], "change of the price of a policy")
        note = f"Premium in all {self.summary['change']:+.1%}; the number of policies stands on each bar"
        title(axes, "Policies by change of price", note)
        return figure


def dislocation(before: Array, after: Array, segments: Mapping[str, Segment] | None = None) -> Dislocation:
    """Compare two prices of each policy (the form of NAIC's template of rate disruption, appendix D).

    Parameters
    ----------
    before, after
        Prices, shape (n,), positive, in one unit.
    segments
        Factor -> level of each policy; a Categorical keeps the order of its categories.

    Raises
    ------
    TrainingDataError
        If prices are not positive and finite or lengths differ, with the number of rows.
    """
    _check(before, after, segments or {})
    # Nine digits: 105 over 100 is a change of 5 %, and a price computed in another order has not moved.
    change = np.round(after / before - 1.0, 9)
    names = _band_names()
    band = np.searchsorted(BOUNDS, change, side="left")
    band = np.where(change > 0, band + 1, np.where(change == 0, BOUNDS.index(0.0) + 1, band))
    frame = _grouped(band, len(names), before, after, change)[["policies", "before", "after", "change"]]
    frame.insert(1, "share", frame["policies"] / len(before))
    frame.index = pd.Index(names, name="change of price")
    lines = []
    for factor, column in (segments or {}).items():
        levels, codes = _levels(column)
        part = _grouped(codes, len(levels), before, after, change)
        part.index = pd.MultiIndex.from_product([[factor], levels], names=["factor", "level"])
        lines.append(part)
    summary = {
        "policies": float(len(before)),
        "before": float(before.sum()),
        "after": float(after.sum()),
        "change": float(after.sum() / before.sum() - 1.0),
        "largest_rise": float(change.max()),
        "largest_fall": float(change.min()),
        "median": float(np.median(change)),
    }
    return Dislocation(frame, pd.concat(lines) if lines else pd.DataFrame(), summary)


def _levels(column: Segment) -> tuple[list[str], NDArray[np.int64]]:
    if isinstance(column, pd.Categorical):
        return [str(level) for level in column.categories], column.codes.astype(np.int64)
    levels, codes = np.unique(np.asarray(column, dtype=object).astype(str), return_inverse=True)
    return levels.tolist(), codes


def _check(before: Array, after: Array, segments: Mapping[str, Segment]) -> None:
    lengths = {"after": len(after)} | {name: len(column) for name, column in segments.items()}
    problems = [
        f"{name} has {size} rows, before has {len(before)}"
        for name, size in lengths.items()
        if size != len(before)
    ]
    for name, price in (("before", before), ("after", after)):
        wrong = int(np.sum(~(np.isfinite(price) & (price > 0))))
        if wrong:
            problems.append(f"{wrong} rows: price {name} is not positive and finite")
    if not len(before):
        problems.append("there are no policies")
    if problems:
        raise TrainingDataError(problems)


def _band_names() -> list[str]:
    texts = [f"{bound:+.0%}" if bound else "0%" for bound in BOUNDS]
    between = [f"{low} to {high}" for low, high in pairwise(texts)]
    zero = BOUNDS.index(0.0)
    return [f"{texts[0]} or less", *between[:zero], UNMOVED, *between[zero:], f"more than {texts[-1]}"]


def _grouped(code: NDArray[np.int64], size: int, before: Array, after: Array, change: Array) -> pd.DataFrame:
    count = np.bincount(code, minlength=size)
    old, new = np.bincount(code, before, size), np.bincount(code, after, size)
    worst, best = np.full(size, -np.inf), np.full(size, np.inf)
    np.maximum.at(worst, code, change)
    np.minimum.at(best, code, change)
    with np.errstate(invalid="ignore", divide="ignore"):
        return pd.DataFrame(
            {
                "policies": count,
                "before": old,
                "after": new,
                "change": np.where(old > 0, new / old - 1.0, 0.0),
                "winners": np.where(count > 0, np.bincount(code, change < 0, size) / count, 0.0),
                "losers": np.where(count > 0, np.bincount(code, change > 0, size) / count, 0.0),
                "worst": np.where(count > 0, worst, 0.0),
                "best": np.where(count > 0, best, 0.0),
            }
        )
