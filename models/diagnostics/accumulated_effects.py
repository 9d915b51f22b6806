"""Accumulated local effects: what a factor does among the rows that have about that value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.colors import CenteredNorm
from scipy.ndimage import distance_transform_edt

from models.diagnostics.effects import Effects, make_effects
from models.diagnostics.grids import (
    Scale,
    check_features,
    is_number,
    level_grid,
    number_grid,
    predicted,
    replaced,
    sample_rows,
)
from models.diagnostics.style import new_figure, title
from models.drawn import Drawn
from models.errors import DiagnosticError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from models.diagnostics.grids import Predict

    Array = NDArray[np.float64]
    Codes = NDArray[np.int64]

POINTS = 16
ROWS = 5000
PAIR_POINTS = 8


@dataclass(frozen=True, eq=False)
class Axis:
    """Values of one factor between which local differences are taken.

    Attributes
    ----------
    name
        Of the factor.
    nodes
        Ascending values, or levels in the order of their mean prediction.
    sides
        One or two arrays of the interval (k lies between nodes k and k + 1) that each row supports, -1 for
        none: a number lies in one interval, a level touches two.
    held
        Exposure at each node.
    ordered
        Whether the nodes are numbers.
    """

    name: str
    nodes: tuple[object, ...]
    sides: tuple[Codes, ...]
    held: Array
    ordered: bool

    @property
    def labels(self) -> list[str]:
        """Nodes as text."""
        return [f"{node:,.4g}" if isinstance(node, float) else str(node) for node in self.nodes]

    def at(self, interval: Codes, step: int) -> NDArray[np.generic]:
        """Give the node below (0) or above (1) each interval."""
        return np.array(self.nodes)[interval + step]


@dataclass(frozen=True, eq=False)
class PairEffect(Drawn):
    """Second-order effect of two factors beyond their single effects.

    Attributes
    ----------
    frame
        Rows: values of the first factor; columns: of the second; cells: effect.
    scale
        See `Effects`.
    """

    frame: pd.DataFrame
    scale: Scale

    def figure(self) -> Figure:
        """Draw the surface."""
        first, second = self.frame.index.name, self.frame.columns.name
        figure, axes = new_figure(max(5.2, 1.8 + 0.7 * self.frame.shape[1]), 2.0 + 0.42 * len(self.frame))
        values = np.exp(self.frame.to_numpy()) if self.scale == "log" else self.frame.to_numpy()
        axes.imshow(self.frame.to_numpy(), cmap="RdBu_r", norm=CenteredNorm(0.0), aspect="auto", alpha=0.7)
        for (row, column), value in np.ndenumerate(values):
            axes.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=9)
        axes.set_xticks(range(self.frame.shape[1]), self.frame.columns, rotation=30, ha="right")
        axes.set_yticks(range(len(self.frame)), self.frame.index)
        axes.set(xlabel=second, ylabel=first)
        axes.grid(visible=False)
        what = "relativity" if self.scale == "log" else "effect on the prediction"
        title(axes, f"{first} x {second}", f"{what} beyond both single effects (ALE)")
        return figure


def ale(
    predict: Predict,
    X: pd.DataFrame,  # noqa: N803
    features: Sequence[str] | None = None,
    *,
    exposure: ArrayLike | None = None,
    scale: Scale = "response",
    points: int = POINTS,
    rows: int = ROWS,
    seed: int = 1,
) -> Effects:
    """Accumulate the mean local differences of the prediction along each factor (Apley and Zhu 2020).

    Only predictions near values that occur are asked for, so tied factors do not mislead as in partial
    dependence. Of a sum of single effects it gives each effect exactly (up to its level). Rows without the
    value take no part. Levels without an order of their own stand in the order of their mean prediction;
    differences are taken between neighbours.

    Parameters
    ----------
    predict, X, features, exposure, scale
        See `partial_dependence`.
    points
        Values of a number.
    rows, seed
        Rows that are drawn, and seed.
    """
    drawn, weight = sample_rows(X, exposure, rows, seed)
    base = predicted(predict, drawn, scale)
    parts = []
    for name in check_features(X, features):
        axis = _axis(drawn[name], weight, base, points)
        effect = _accumulate(predict, drawn, weight, axis, scale)
        parts.append(
            pd.DataFrame(
                {
                    "factor": name,
                    "value": axis.labels,
                    "place": list(axis.nodes)
                    if axis.ordered
                    else np.arange(len(axis.nodes), dtype=np.float64),
                    "effect": effect - np.average(effect, weights=axis.held),
                    "low": np.nan,
                    "high": np.nan,
                    "exposure": axis.held,
                    "ordered": axis.ordered,
                }
            )
        )
    return make_effects(parts, "Accumulated local effects", scale)


def ale_pair(
    predict: Predict,
    X: pd.DataFrame,  # noqa: N803
    first: str,
    second: str,
    *,
    exposure: ArrayLike | None = None,
    scale: Scale = "response",
    points: int = PAIR_POINTS,
    rows: int = ROWS,
    seed: int = 1,
) -> PairEffect:
    """Accumulate local second differences: what two factors do together beyond their single effects.

    Zero for a sum of single effects. Cells that no row supports take the difference of the nearest one that
    has.

    Parameters
    ----------
    predict, X, exposure, scale, rows, seed
        See `ale`.
    first, second
        The two factors.
    points
        Values of a number.
    """
    check_features(X, [first, second])
    if first == second:
        raise DiagnosticError([f"a pair needs two factors; got {first} twice"])
    drawn, weight = sample_rows(X, exposure, rows, seed)
    base = predicted(predict, drawn, scale)
    axes = _axis(drawn[first], weight, base, points), _axis(drawn[second], weight, base, points)
    shape = len(axes[0].nodes) - 1, len(axes[1].nodes) - 1
    total, held = np.zeros(shape), np.zeros(shape)
    for one in axes[0].sides:
        for other in axes[1].sides:
            chosen = np.flatnonzero((one >= 0) & (other >= 0))
            if not len(chosen):
                continue
            part, a, b = drawn.iloc[chosen], one[chosen], other[chosen]
            corners = [
                predicted(predict, replaced(part, {first: axes[0].at(a, i), second: axes[1].at(b, j)}), scale)
                for i, j in ((1, 1), (0, 1), (1, 0), (0, 0))
            ]
            each = corners[0] - corners[1] - corners[2] + corners[3]
            np.add.at(total, (a, b), each * weight[chosen])
            np.add.at(held, (a, b), weight[chosen])
    local = np.divide(total, held, out=np.zeros(shape), where=held > 0)
    nearest = distance_transform_edt(held == 0, return_distances=False, return_indices=True)
    surface = _centred(np.pad(local[tuple(nearest)].cumsum(0).cumsum(1), ((1, 0), (1, 0))), held)
    frame = pd.DataFrame(surface, pd.Index(axes[0].labels, name=first), pd.Index(axes[1].labels, name=second))
    return PairEffect(frame, scale)


def _axis(column: pd.Series, weight: Array, base: Array, points: int) -> Axis:
    name = str(column.name)
    if is_number(column):
        nodes = number_grid(column, weight, points, 0.0)
        if len(nodes) < 2:
            raise DiagnosticError(
                [f"{name} has one value on all {len(column)} rows; there is no effect to see"]
            )
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        # The lowest value belongs to the first interval, NaN to none.
        place = np.maximum(np.searchsorted(nodes, numbers, side="left") - 1, 0)
        place[np.isnan(numbers)] = -1
        held = np.bincount(np.clip(place, 0, None), weight * (place >= 0), len(nodes) - 1) / 2.0
        return Axis(name, tuple(nodes.tolist()), (place,), np.append(held, 0.0) + np.append(0.0, held), True)
    levels = level_grid(column, weight)
    if len(levels) < 2:
        raise DiagnosticError([f"{name} has one level on all {len(column)} rows; there is no effect to see"])
    if not (isinstance(column.dtype, pd.CategoricalDtype) and column.dtype.ordered):
        mean = {k: float(base[(column == k).to_numpy()].mean()) for k in levels}
        levels.sort(key=lambda level: mean[level])
    code = {level: k for k, level in enumerate(levels)}
    place = np.array([code.get(value, -1) if pd.notna(value) else -1 for value in column], dtype=np.int64)
    above = np.where(place < len(levels) - 1, place, -1)
    below = np.where(place > 0, place - 1, -1)
    supported = np.bincount(np.clip(place, 0, None), weight * (place >= 0), len(levels))
    return Axis(name, tuple(levels), (above, below), supported.astype(np.float64), ordered=False)


def _accumulate(predict: Predict, X: pd.DataFrame, weight: Array, axis: Axis, scale: Scale) -> Array:  # noqa: N803
    total, held = np.zeros(len(axis.nodes) - 1), np.zeros(len(axis.nodes) - 1)
    for side in axis.sides:
        chosen = np.flatnonzero(side >= 0)
        if not len(chosen):
            continue
        part, interval = X.iloc[chosen], side[chosen]
        high = predicted(predict, replaced(part, {axis.name: axis.at(interval, 1)}), scale)
        low = predicted(predict, replaced(part, {axis.name: axis.at(interval, 0)}), scale)
        total += np.bincount(interval, (high - low) * weight[chosen], len(total))
        held += np.bincount(interval, weight[chosen], len(held))
    return np.append(0.0, np.cumsum(np.divide(total, held, out=np.zeros(len(total)), where=held > 0)))


def _centred(surface: Array, held: Array) -> Array:
    """Take the single effects of both factors and the mean out of an accumulated surface, by exposure."""
    along, across = np.diff(surface, axis=0), np.diff(surface, axis=1)
    by_row, by_column = held.sum(axis=1), held.sum(axis=0)
    first = ((along[:, 1:] + along[:, :-1]) / 2.0 * held).sum(axis=1)
    second = ((across[1:] + across[:-1]) / 2.0 * held).sum(axis=0)
    first = np.divide(first, by_row, out=np.zeros_like(first), where=by_row > 0)
    second = np.divide(second, by_column, out=np.zeros_like(second), where=by_column > 0)
    pure = surface - np.append(0.0, first.cumsum())[:, None] - np.append(0.0, second.cumsum())[None, :]
    middle = (pure[1:, 1:] + pure[:-1, 1:] + pure[1:, :-1] + pure[:-1, :-1]) / 4.0
    return np.asarray(pure - (middle * held).sum() / held.sum())
