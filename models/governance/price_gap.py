"""Do people of equal risk pay the same? The premium of each group against all, within bands of equal risk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.canvas import Canvas
from models.drawn import Drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BANDS = 20
DRAWS = 200


@dataclass(frozen=True, eq=False)
class PriceGap(Drawn):
    """Premiums by group of a protected attribute.

    Attributes
    ----------
    attribute
        Name of the protected attribute.
    frame
        Indexed by group: `rows`, `exposure`, `premium` and `risk` (best estimate) per unit of exposure,
        `raw_gap` (premium over that of all, less one), `gap` at equal risk with `low` and `high` of its 95 %
        interval, `ae` (actual over what the premium expected).
    """

    attribute: str
    frame: pd.DataFrame

    @property
    def widest(self) -> float:
        """Largest gap at equal risk that is not noise: its bound nearest to zero, zero when none is."""
        near = np.where(self.frame["low"] > 0, self.frame["low"], 0.0)
        far = np.where(self.frame["high"] < 0, -self.frame["high"], 0.0)
        return float(max(near.max(), far.max()))

    def figure(self) -> Figure:
        """Draw the raw gap and the gap at equal risk of each group."""
        figure = Canvas(figsize=(7, 1.6 + 0.5 * len(self.frame)), layout="constrained")
        axes = figure.add_subplot()
        place = np.arange(len(self.frame))[::-1]
        error = np.abs(self.frame[["low", "high"]].to_numpy().T - self.frame["gap"].to_numpy())
        axes.barh(place + 0.2, 100 * self.frame["raw_gap"], 0.38, color="0.8", label="all of the group")
        axes.barh(
            place - 0.2,
            100 * self.frame["gap"],
            0.38,
            xerr=100 * error,
            color="#3b7ea1",
            ecolor="0.3",
            capsize=3,
            label="at equal risk (95 % interval)",
        )
        axes.axvline(0.0, color="0.3", linewidth=0.8)
        axes.set_yticks(place, [str(name) for name in self.frame.index])
        axes.set(xlabel="premium over that of all, %", title=f"Premium by {self.attribute!r}")
        axes.legend(loc="best")
        return figure


def price_gap(
    attribute: str,
    codes: NDArray[np.int64],
    groups: Sequence[str],
    premium: Array,
    risk: Array,
    actual: Array,
    exposure: Array,
    *,
    seed: int = 1,
) -> PriceGap:
    r"""Compare the premiums of groups whose risk is the same.

    Rows fall into 20 bands of equal exposure by their best-estimate risk (of a model that may know the
    attribute, kept for audits). The gap of group g is
    :math:`\sum_b w_{gb} (P_{gb} / P_b - 1)`: its premium over that of the band, averaged over the exposure it
    has in each band. Intervals by 200 Poisson bootstraps of the rows.

    Parameters
    ----------
    attribute, codes, groups
        Name, level of each row, shape (n,), and names of the levels.
    premium, risk
        Premium charged and best-estimate cost per unit of exposure, shape (n,).
    actual
        Cost that came of each row.
    exposure
        Units of exposure.
    seed
        Of the bootstrap.
    """
    order = np.argsort(risk, kind="stable")
    middle = (np.cumsum(exposure[order]) - exposure[order] / 2) / exposure.sum()
    band = np.empty(len(risk), dtype=np.int64)
    band[order] = np.minimum((middle * BANDS).astype(np.int64), BANDS - 1)
    cell, size = band * len(groups) + codes, BANDS * len(groups)
    gaps = _gaps(cell, size, exposure, premium)
    low, high = np.nanpercentile(_draws(cell, size, exposure, premium, seed), [2.5, 97.5], axis=0)
    held = np.bincount(codes, exposure, len(groups))
    paid = np.bincount(codes, exposure * premium, len(groups)) / held
    overall = float(exposure @ premium / exposure.sum())
    frame = pd.DataFrame(
        {
            "rows": np.bincount(codes, minlength=len(groups)),
            "exposure": held,
            "premium": paid,
            "risk": np.bincount(codes, exposure * risk, len(groups)) / held,
            "raw_gap": paid / overall - 1.0,
            "gap": gaps,
            "low": low,
            "high": high,
            "ae": np.bincount(codes, actual, len(groups)) / (paid * held),
        },
        index=pd.Index(groups, name=attribute),
    )
    return PriceGap(attribute, frame)


def _gaps(cell: NDArray[np.int64], size: int, weight: Array, premium: Array) -> Array:
    """Give the gap of each group; cells are (band, group)."""
    held = np.bincount(cell, weight, size).reshape(BANDS, -1).astype(np.float64)
    charged = np.bincount(cell, weight * premium, size).reshape(BANDS, -1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_band = charged.sum(axis=1) / held.sum(axis=1)
        ratio = np.where(held > 0, charged / held / of_band[:, None] - 1.0, 0.0)
        return np.asarray((held * ratio).sum(axis=0) / held.sum(axis=0))


def _draws(cell: NDArray[np.int64], size: int, exposure: Array, premium: Array, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return np.stack(
        [_gaps(cell, size, rng.poisson(1.0, len(cell)) * exposure, premium) for _ in range(DRAWS)]
    )
