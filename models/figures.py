"""Pictures of a comparison: Lorenz curves, lift and one-way actual against expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from models.compare import NULL, Judged
from models.metrics import gini, lorenz

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

GROUPS = 10
# One-way pictures are drawn for this many inputs, those over which the expected cost varies most.
ONE_WAYS = 6
MOST_POINTS = 2000


def draw_pictures(judged: Judged, folder: Path) -> list[Path]:
    """Write `lorenz.png`, `lift.png` and one `one_way_<input>.png` per strong input.

    Parameters
    ----------
    judged
        Test rows with what each family says of them.
    folder
        Made when absent.

    Returns
    -------
    list of Path
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"lorenz": lorenz_figure(judged), "lift": lift_figure(judged)}
    figures |= {f"one_way_{judged.inputs[i]}": one_way_figure(judged, i) for i in strongest_inputs(judged)}
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        # Without the software stamp, equal pictures are equal files.
        figure.savefig(paths[-1], dpi=110, metadata={"Software": None})
    return paths


def lorenz_figure(judged: Judged) -> Figure:
    """Draw the share of cost against the share of exposure, safest risks first."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    for family, rate in _rates(judged).items():
        share, lost = lorenz(judged.actual, rate, judged.exposure)
        keep = np.unique(np.linspace(0, len(share) - 1, MOST_POINTS).astype(int))
        found = gini(judged.actual, rate, judged.exposure)
        axes.plot(share[keep], lost[keep], label=f"{family} (Gini {found:.3f})")
    axes.set(xlabel="share of exposure, safest first", ylabel="share of cost", title="Lorenz curves")
    axes.legend()
    return figure


def lift_figure(judged: Judged) -> Figure:
    """Draw actual over average in ten groups of like exposure by predicted cost."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    mean = judged.actual.sum() / judged.exposure.sum()
    for family, rate in _rates(judged).items():
        actual, expected = _grouped(judged, _bands(rate, judged.exposure), judged.expected[family])
        place = np.arange(1, len(actual) + 1)
        (line,) = axes.plot(place, actual / mean, marker="o", label=f"{family}: actual")
        axes.plot(place, expected / mean, linestyle="--", color=line.get_color())
    axes.axhline(1.0, color="0.6", linewidth=0.8)
    axes.set(
        xlabel="tenth of exposure by predicted cost",
        ylabel="cost over average",
        title="Lift (dashed: expected), test rows",
    )
    axes.legend()
    return figure


def one_way_figure(judged: Judged, position: int) -> Figure:
    """Draw actual and expected cost per unit of exposure along one input."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    column = judged.matrix[:, position]
    values = np.unique(column[~np.isnan(column)])
    bands = np.searchsorted(values, column) if len(values) <= 2 * GROUPS else _bands(column, judged.exposure)
    actual, _ = _grouped(judged, bands, judged.actual)
    place = np.arange(len(actual))
    axes.plot(place, actual, color="black", marker="o", label="actual")
    for family in _rates(judged):
        axes.plot(place, _grouped(judged, bands, judged.expected[family])[1], linestyle="--", label=family)
    name = judged.inputs[position]
    axes.set(xlabel=f"{name}, low to high", ylabel="cost per unit of exposure", title=name)
    axes.legend()
    return figure


def strongest_inputs(judged: Judged) -> list[int]:
    """Give the inputs along which the expected cost of the last family varies most."""
    family = list(_rates(judged))[-1]
    spread = []
    for i in range(len(judged.inputs)):
        bands = _bands(judged.matrix[:, i], judged.exposure)
        spread.append(float(np.std(_grouped(judged, bands, judged.expected[family])[1])))
    return sorted(range(len(spread)), key=lambda i: (-spread[i], i))[:ONE_WAYS]


def _rates(judged: Judged) -> dict[str, NDArray[np.float64]]:
    return {
        family: expected / judged.exposure for family, expected in judged.expected.items() if family != NULL
    }


def _bands(column: NDArray[np.float64], exposure: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give the tenth of exposure each row falls into by value; equal values stay together, NaN comes last."""
    order = np.argsort(column, kind="stable")
    middle = (np.cumsum(exposure[order]) - exposure[order] / 2) / exposure.sum()
    values, first = np.unique(column[order], return_index=True)
    bands = np.minimum((middle[first] * GROUPS).astype(np.int64), GROUPS - 1)
    return np.asarray(bands[np.searchsorted(values, column)])


def _grouped(
    judged: Judged, bands: NDArray[np.int64], expected: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    exposure = np.bincount(bands, judged.exposure)
    held = exposure > 0
    actual = np.bincount(bands, judged.actual)
    return actual[held] / exposure[held], np.bincount(bands, expected)[held] / exposure[held]
