"""House style of every picture: colours, sizes, labels with units, exposure bars behind rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from matplotlib import rc_context
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from models.canvas import Canvas

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Axes = Any  # matplotlib's types are not read

# Okabe and Ito (2008): told apart by colour-blind readers and in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#332288")
ACTUAL = "#1A1A1A"
EXPOSURE = "#DCDFE3"
REFERENCE = "#8A8F98"
STYLE = {
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5A5F66",
    "axes.axisbelow": True,
    "grid.color": "#E8EAED",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


class Diagnostic(Protocol):
    """What every diagnostic gives."""

    @property
    def frame(self) -> pd.DataFrame:
        """The numbers."""

    def figure(self) -> Figure:
        """Draw them."""


@dataclass(frozen=True)
class Units:
    """What is counted, and per what.

    Attributes
    ----------
    actual
        Plural, for example `claims` or `EUR`.
    exposure
        Singular, for example `policy-year`, `claim`, `order`.
    """

    actual: str = "actual"
    exposure: str = "unit of exposure"

    @property
    def rate(self) -> str:
        """For example `claims per policy-year`."""
        return f"{self.actual} per {self.exposure}"

    @property
    def exposures(self) -> str:
        """For example `policy-years`."""
        head, _, tail = self.exposure.partition(" ")
        return f"{head}s {tail}".strip()


UNITS = Units()


def new_figure(width: float = 7.2, height: float = 4.4) -> tuple[Figure, Axes]:
    """Make a figure with one pair of axes in house style; width and height in inches."""
    figure, panels = new_panels(width, height)
    return figure, panels[0, 0]


def new_panels(
    width: float, height: float, rows: int = 1, columns: int = 1, *, share_y: bool = False
) -> tuple[Figure, Any]:
    """Make a figure with several axes, shape (rows, columns), in house style; width and height in inches."""
    with rc_context(STYLE):
        figure = Canvas(figsize=(width, height), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
        for axes in panels.ravel():
            axes.grid(visible=True, axis="y")
    return figure, panels


def model_panels(models: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Make a figure with one square pair of axes for each model, at most two side by side."""
    columns = min(len(models), 2)
    rows = -(-len(models) // columns)
    figure, panels = new_panels(5.4 * columns, 4.8 * rows, rows, columns)
    for unused in panels.ravel()[len(models) :]:
        unused.set_axis_off()
    return figure, list(panels.ravel()[: len(models)])


def colours(models: Iterable[str]) -> dict[str, str]:
    """Give each model its colour, in the order given."""
    return {model: COLOURS[k % len(COLOURS)] for k, model in enumerate(models)}


def title(axes: Axes, text: str, note: str = "") -> None:
    """Write the title, and below it a line that says how to read the picture."""
    axes.set_title(text, loc="left", fontsize=12, fontweight="bold", pad=24 if note else 10)
    if note:
        axes.text(0.0, 1.02, note, transform=axes.transAxes, fontsize=9, color="#5A5F66", in_layout=False)


def legend(axes: Axes, place: str = "best", columns: int = 1, *others: Axes) -> None:
    """Draw one legend for what stands on the axes and on those behind them."""
    handles = [handle for one in (axes, *others) for handle in one.get_legend_handles_labels()[0]]
    axes.legend(
        handles,
        [str(handle.get_label()) for handle in handles],
        loc=place,
        ncols=columns,
        frameon=False,
        fontsize=9,
    )


def exposure_bars(axes: Axes, exposure: Array, units: Units = UNITS, *, label: bool = True) -> Axes:
    """Draw exposure as bars behind what `axes` holds, on an axis of its own at the right.

    Parameters
    ----------
    axes
        Of the rates.
    exposure
        One bar per band, shape (bands,).
    units
        For the label.
    label
        Whether the bars have an axis; without one they show shares only.
    """
    behind = axes.twinx()
    behind.bar(np.arange(len(exposure)), exposure, color=EXPOSURE, width=0.82)
    # Bars stay in the lower part, so that rates are read in front of little.
    behind.set_ylim(0, float(exposure.max()) * 2.6)
    behind.set_ylabel(f"{units.exposures} (bars)", color=REFERENCE)
    behind.tick_params(axis="y", colors=REFERENCE)
    behind.yaxis.set_major_formatter(thousands())
    behind.spines["top"].set_visible(False)
    behind.spines["right"].set_color(EXPOSURE)
    if not label:
        behind.set_axis_off()
    behind.grid(visible=False)
    axes.set_zorder(behind.get_zorder() + 1)
    axes.patch.set_visible(False)
    return behind


def band_labels(axes: Axes, labels: Sequence[str], name: str) -> None:
    """Label the bands of a factor, slanted where they would touch."""
    longest = max(len(label) for label in labels)
    slanted = longest * len(labels) > 56
    axes.set_xticks(
        np.arange(len(labels)), labels, rotation=40 if slanted else 0, ha="right" if slanted else "center",
        rotation_mode="anchor" if slanted else None,
    )  # fmt: skip
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_xlabel(name)


def log_ticks(axis: Any) -> None:  # noqa: ANN401 - matplotlib's types are not read
    """Write the ticks of a logarithmic axis as plain numbers at 1, 2 and 5."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.6g}"))
    axis.set_minor_formatter(NullFormatter())


def thousands() -> FuncFormatter:
    """Write ticks as 800, 1.2k or 3.4M, small ones as they are."""
    return FuncFormatter(lambda value, _position: _short(float(value)))


def percent(decimals: int | None = 0) -> PercentFormatter:
    """Write shares as percent."""
    return PercentFormatter(1.0, decimals=decimals)


def _short(value: float) -> str:
    size = abs(value)
    for factor, mark in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if size >= factor:
            return f"{value / factor:,.4g}{mark}"
    return f"{value:,.6g}"
