"""Interaction strength: which pairs of factors act together, by sampling or exactly from tables."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.diagnostics.grids import Scale, check_features, predicted, replaced, sample_rows
from models.diagnostics.style import COLOURS, new_figure, title
from models.drawn import Drawn
from models.errors import DiagnosticError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from models.diagnostics.grids import Predict

    Array = NDArray[np.float64]

ROWS = 60
MOST_BARS = 15


@dataclass(frozen=True, eq=False)
class Interactions(Drawn):
    """Pairs of factors, strongest first.

    Attributes
    ----------
    frame
        `first`, `second`, `strength` (standard deviation of the joint effect beyond the single ones, on the
        scale of the prediction), `h2` (its share of the variance of the pair's whole effect); of tables also
        `share` of the variance of the score.
    kind
        How it was found.
    """

    frame: pd.DataFrame
    kind: str

    def figure(self) -> Figure:
        """Draw the strongest pairs."""
        lines = self.frame.head(MOST_BARS)
        figure, axes = new_figure(7.2, 1.4 + 0.32 * len(lines))
        place = np.arange(len(lines))[::-1]
        axes.barh(place, lines["strength"], color=COLOURS[0], height=0.65)
        for height, strength, share in zip(place, lines["strength"], lines["h2"], strict=True):
            axes.text(strength, height, f"  H² {share:.1%}", va="center", fontsize=9)
        axes.set_yticks(place, [f"{a} x {b}" for a, b in zip(lines["first"], lines["second"], strict=True)])
        axes.margins(x=0.15)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("standard deviation of the joint effect")
        title(axes, "Interactions", self.kind)
        return figure


def friedman_h(
    predict: Predict,
    X: pd.DataFrame,  # noqa: N803
    features: Sequence[str] | None = None,
    *,
    exposure: ArrayLike | None = None,
    scale: Scale = "log",
    rows: int = ROWS,
    seed: int = 1,
) -> Interactions:
    """Estimate the interaction of every pair by sampled partial dependence (Friedman and Popescu 2008).

    H2_jk = sum_i (PD_jk - PD_j - PD_k)^2 / sum_i PD_jk^2, all centred, at the values of the drawn rows. It
    takes rows^2 predictions a pair. H2 of two weak factors is large by chance, so pairs are ranked by the
    numerator (its root is `strength`). Zero for a sum of single effects on that scale, whatever rows are
    drawn.

    Parameters
    ----------
    predict, X, features, exposure, scale
        See `partial_dependence`; on the scale `log` a multiplicative tariff has no interaction.
    rows, seed
        Rows that are drawn, and seed.
    """
    chosen = check_features(X, features)
    if len(chosen) < 2:
        raise DiagnosticError([f"pairs need two features and more; got {len(chosen)}"])
    drawn, weight = sample_rows(X, exposure, rows, seed)
    single = {name: _dependence(predict, drawn, weight, (name,), scale) for name in chosen}
    lines = []
    for first, second in combinations(chosen, 2):
        both = _dependence(predict, drawn, weight, (first, second), scale)
        lines.append((first, second, *_strength(both - single[first] - single[second], both, weight)))
    return _ranked(
        pd.DataFrame(lines, columns=["first", "second", "strength", "h2"]), f"Friedman H, {len(drawn)} rows"
    )


def table_interactions(
    singles: Mapping[str, ArrayLike],
    pairs: Mapping[tuple[str, str], ArrayLike],
    exposure: ArrayLike,
) -> Interactions:
    """Give the exact interactions of a model that is a sum of purified one- and two-way tables.

    `strength` is the standard deviation of the two-way cell over the book, `share` its covariance with the
    score over the variance of the score (the shares of all terms add up to one), `h2` its variance over that
    of the pair's whole effect (both one-way cells and the two-way cell).

    Parameters
    ----------
    singles
        Input -> its one-way cell of each row, shape (n,).
    pairs
        (input, input) -> their two-way cell of each row, shape (n,).
    exposure
        Shape (n,).
    """
    if not pairs:
        raise DiagnosticError(["the model has no two-way table"])
    weight = np.asarray(exposure, dtype=np.float64)
    one = {name: np.asarray(values, dtype=np.float64) for name, values in singles.items()}
    two = {pair: np.asarray(values, dtype=np.float64) for pair, values in pairs.items()}
    if wrong := [str(k) for k, v in (*one.items(), *two.items()) if v.shape != weight.shape]:
        raise DiagnosticError([f"{', '.join(wrong)}: allowed is one value for each of {len(weight)} rows"])
    none = np.zeros(len(weight))
    score = sum(one.values(), none) + sum(two.values(), none)
    score = score - np.average(score, weights=weight)
    variance = float(np.average(score**2, weights=weight))
    lines = []
    for (first, second), values in two.items():
        whole = one.get(first, none) + one.get(second, none) + values
        share = float(np.average(values * score, weights=weight)) / variance if variance > 0 else 0.0
        lines.append((first, second, *_strength(values, whole, weight), share))
    columns = ["first", "second", "strength", "h2", "share"]
    return _ranked(pd.DataFrame(lines, columns=columns), "exact, from two-way tables")


def _dependence(
    predict: Predict,
    X: pd.DataFrame,
    weight: Array,
    names: tuple[str, ...],
    scale: Scale,  # noqa: N803
) -> Array:
    """Give the centred partial dependence at the values of each row: row i's values on all rows, averaged."""
    size = len(X)
    everyone = X.iloc[np.tile(np.arange(size), size)].reset_index(drop=True)
    values = {name: X[name].iloc[np.repeat(np.arange(size), size)].array for name in names}
    found = predicted(predict, replaced(everyone, dict(values)), scale).reshape(size, size)
    mean = np.average(found, axis=1, weights=weight)
    return np.asarray(mean - np.average(mean, weights=weight))


def _strength(joint: Array, whole: Array, weight: Array) -> tuple[float, float]:
    off = joint - np.average(joint, weights=weight)
    all_of = whole - np.average(whole, weights=weight)
    part = float(np.average(off**2, weights=weight))
    total = float(np.average(all_of**2, weights=weight))
    return float(np.sqrt(part)), part / total if total > 0 else 0.0


def _ranked(frame: pd.DataFrame, kind: str) -> Interactions:
    return Interactions(
        frame.sort_values("strength", ascending=False, ignore_index=True, kind="stable"), kind
    )
