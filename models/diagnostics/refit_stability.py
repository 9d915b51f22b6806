"""Stability over refits: seeds, bootstrap samples or years that give different predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from models.diagnostics.bands import BANDS, band
from models.diagnostics.inputs import check_rows
from models.diagnostics.style import COLOURS, band_labels, exposure_bars, new_panels, percent, title
from models.drawn import Drawn
from models.errors import DiagnosticError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
MOST_PANELS = 5


@dataclass(frozen=True, eq=False)
class Stability(Drawn):
    """How far refits of one model disagree.

    Attributes
    ----------
    frame
        Long: `factor`, `band`, `exposure`, `mean`, `low` (smallest), `high` (largest) and `spread` (standard
        deviation) over the refits of the band's relativity, its mean rate over the mean rate of the book.
    rows
        Coefficient of variation of a row's rate over the refits: quantiles by exposure, and `mean`.
    ranks
        Spearman correlation of the rows' rates, refit by refit.
    """

    frame: pd.DataFrame
    rows: pd.Series
    ranks: pd.DataFrame

    def figure(self) -> Figure:
        """Draw the disagreement of rows, and the relativities of the least stable factors."""
        spread = self.frame.groupby("factor", sort=False)["spread"].max().sort_values(ascending=False)
        names = list(spread.index[:MOST_PANELS])
        across = min(3, 1 + len(names))
        down = -(-(1 + len(names)) // across)
        figure, panels = new_panels(4.5 * across, 3.5 * down, down, across)
        flat = panels.ravel()
        lines = self.rows.drop("mean")
        flat[0].bar(range(len(lines)), lines, color=COLOURS[0], width=0.6)
        flat[0].set_xticks(range(len(lines)), [f"{q:.0%}" for q in lines.index])
        flat[0].yaxis.set_major_formatter(percent())
        flat[0].set(xlabel="share of exposure below", ylabel="coefficient of variation")
        pairs = self.ranks.to_numpy()[np.triu_indices(len(self.ranks), 1)]
        title(flat[0], "Rows over refits", f"rank correlation {pairs.min():.3f} and more")
        for axes, name in zip(flat[1:], names, strict=False):
            part = self.frame[self.frame["factor"] == name]
            exposure_bars(axes, part["exposure"].to_numpy(), label=False)
            place = np.arange(len(part))
            axes.vlines(place, part["low"], part["high"], color=COLOURS[0], linewidth=5, alpha=0.4)
            axes.plot(place, part["mean"], "o", color=COLOURS[0], markersize=4)
            every = -(-len(part) // 12)
            band_labels(axes, [v if k % every == 0 else "" for k, v in enumerate(part["band"])], "")
            axes.set_ylabel("relativity, smallest to largest")
            title(axes, name)
        for axes in flat[1 + len(names) :]:
            axes.set_visible(False)
        return figure


def stability(
    expected: Mapping[str, ArrayLike],
    exposure: ArrayLike,
    factors: pd.DataFrame,
    *,
    bands: int = BANDS,
) -> Stability:
    """Compare refits of one model on the same rows: by other seeds, on bootstrap samples, on other years.

    Parameters
    ----------
    expected
        Refit -> expected totals, each shape (n,); two refits and more.
    exposure
        Shape (n,).
    factors
        Columns along which relativities are compared, same rows.
    bands
        Of numbers.

    Raises
    ------
    DiagnosticError
        If there are fewer than two refits.
    """
    rows = check_rows(None, expected, exposure)
    if len(rows.expected) < 2:
        raise DiagnosticError([f"stability needs two refits and more; got {len(rows.expected)}"])
    rates = np.column_stack([rows.rate(refit) for refit in rows.models])
    mean = rates.mean(axis=1)
    varied = np.divide(rates.std(axis=1, ddof=1), mean, out=np.zeros(len(mean)), where=mean > 0)
    quantiles = np.quantile(varied, QUANTILES, weights=rows.exposure, method="inverted_cdf")
    summary = pd.Series(quantiles, index=list(QUANTILES), dtype=np.float64, name="variation")
    summary["mean"] = float(np.average(varied, weights=rows.exposure))
    ranked = np.column_stack([stats.rankdata(column) for column in rates.T])
    ranks = pd.DataFrame(np.corrcoef(ranked, rowvar=False), rows.models, rows.models)
    parts = []
    for name in factors.columns:
        groups = band(factors[name].reset_index(drop=True), rows.exposure, bands=bands, name=str(name))
        book = rows.exposure.sum()
        found = np.column_stack(
            [groups.total(total) / groups.exposure / (total.sum() / book) for total in rows.expected.values()]
        )
        columns = {
            "factor": str(name),
            "band": list(groups.labels),
            "exposure": groups.exposure,
            "mean": found.mean(axis=1),
            "low": found.min(axis=1),
            "high": found.max(axis=1),
            "spread": found.std(axis=1, ddof=1),
        }
        parts.append(pd.DataFrame(columns))
    return Stability(pd.concat(parts, ignore_index=True), summary, ranks)
