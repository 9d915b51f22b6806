"""Effects of single factors on a prediction: from contributions, partial dependence or accumulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.diagnostics.bands import BANDS, band
from models.diagnostics.grids import Scale, check_features
from models.diagnostics.inputs import check_rows
from models.diagnostics.style import COLOURS, REFERENCE, band_labels, exposure_bars, new_panels, title
from models.drawn import Drawn
from models.errors import DiagnosticError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from models.diagnostics.style import Axes

    Array = NDArray[np.float64]

MOST_PANELS = 9


@dataclass(frozen=True, eq=False)
class Effects(Drawn):
    """Effects along factors.

    Attributes
    ----------
    frame
        Long: `factor`, `value` (as text), `place` (the number itself, or the position of a level), `effect`,
        and `low` and `high` where rows differ, `exposure` at the value.
    importance
        Factor -> exposure-weighted standard deviation of the effect, strongest first.
    kind
        How the effects were found.
    scale
        `log`: differences of the logarithm, of which exp is a relativity; `response`: differences of the
        prediction.
    """

    frame: pd.DataFrame
    importance: pd.Series
    kind: str
    scale: Scale

    def figure(self) -> Figure:
        """Draw the nine strongest factors, as relativities where the scale is `log`."""
        names = list(self.importance.index[:MOST_PANELS])
        across = min(3, len(names))
        down = -(-len(names) // across)
        figure, panels = new_panels(4.3 * across, 3.3 * down, down, across)
        turn = np.exp if self.scale == "log" else np.asarray
        for axes, name in zip(panels.ravel(), names, strict=False):
            lines = self.frame[self.frame["factor"] == name]
            self._draw(axes, lines, turn)
            title(axes, name)
        for axes in panels.ravel()[len(names) :]:
            axes.set_visible(False)
        for axes in panels[:, 0]:
            axes.set_ylabel("relativity" if self.scale == "log" else "effect on the prediction")
        figure.suptitle(self.kind, x=0.01, ha="left", fontsize=13, fontweight="bold")
        return figure

    def _draw(self, axes: Axes, lines: pd.DataFrame, turn: Callable[[ArrayLike], Array]) -> None:
        ordered = bool(lines["ordered"].iloc[0])
        place = np.arange(len(lines))
        exposure_bars(axes, lines["exposure"].to_numpy(), label=False)
        axes.axhline(float(turn(0.0)), color=REFERENCE, linewidth=1.0)
        if lines["low"].notna().any():
            low, high = turn(lines["low"].to_numpy()), turn(lines["high"].to_numpy())
            axes.vlines(place, low, high, color=COLOURS[0], alpha=0.35, linewidth=4)
        axes.plot(
            place, turn(lines["effect"].to_numpy()), color=COLOURS[0], marker="o", markersize=4,
            linestyle="-" if ordered else "none",
        )  # fmt: skip
        # An effect of nothing must look like nothing.
        low, high = axes.get_ylim()
        if self.scale == "log":
            axes.set_ylim(min(low, 0.9), max(high, 1.1))
        every = -(-len(lines) // 12)
        band_labels(axes, [v if k % every == 0 else "" for k, v in enumerate(lines["value"])], "")


def contribution_effects(
    contributions: pd.DataFrame,
    X: pd.DataFrame,  # noqa: N803
    exposure: ArrayLike,
    *,
    factors: Sequence[str] | None = None,
    bands: int = BANDS,
) -> Effects:
    """Summarise exact table effects or SHAP values by band of each factor.

    Parameters
    ----------
    contributions
        Parts of the raw score on the scale of the link, one column per factor, shape (n, factors), as an
        estimator's `explain` gives. Of tables without interactions each band has one value; the span between
        5 and 95 % of the rows is what interactions do.
    X
        The factors, same rows and names.
    exposure
        Shape (n,).
    factors
        All columns of `contributions` when absent.
    bands
        Of numbers.
    """
    weight = check_rows(None, exposure, exposure).exposure
    chosen = check_features(contributions, factors)
    check_features(X, chosen)
    if len(X) != len(contributions) or len(X) != len(weight):
        raise DiagnosticError(
            [f"contributions have {len(contributions)} rows, X has {len(X)}, exposure has {len(weight)}"]
        )
    parts = []
    for name in chosen:
        values = contributions[name].to_numpy(dtype=np.float64)
        values = values - np.average(values, weights=weight)
        groups = band(X[name].reset_index(drop=True), weight, bands=bands, name=name)
        by_band = pd.Series(values).groupby(groups.codes)
        columns = {
            "factor": name,
            "value": list(groups.labels),
            "place": np.arange(len(groups.labels), dtype=np.float64),
            "effect": groups.total(values * weight) / groups.exposure,
            "low": by_band.quantile(0.05).to_numpy(),
            "high": by_band.quantile(0.95).to_numpy(),
            "exposure": groups.exposure,
            "ordered": groups.ordered,
        }
        parts.append(pd.DataFrame(columns))
    return make_effects(parts, "Contributions (bars: 5 to 95 % of rows)", "log")


def make_effects(parts: list[pd.DataFrame], kind: str, scale: Scale) -> Effects:
    """Put the effects of factors together and rank them."""
    frame = pd.concat(parts, ignore_index=True)
    spread = {}
    for name, lines in frame.groupby("factor", sort=False):
        weight = lines["exposure"] / lines["exposure"].sum()
        mean = float(weight @ lines["effect"])
        spread[name] = float(np.sqrt(weight @ (lines["effect"] - mean) ** 2))
    importance = pd.Series(spread, name="importance").rename_axis("factor")
    return Effects(frame, importance.sort_values(ascending=False, kind="stable"), kind, scale)
