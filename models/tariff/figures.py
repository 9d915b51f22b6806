"""Pictures of a tariff: a page per table."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from models.canvas import Canvas
from models.tariff.scale import label, union_axis

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from models.tariff.tariff import Component, Table, Tariff

# More labels than this do not fit under a page.
MOST_LABELS = 30
LONGEST_LABEL, LETTERS_PER_INCH = 24, 11
MOST_PAIR_LABELS = 12


def factor_figure(tariff: Tariff, component: str, name: str, before: Tariff | None = None) -> Figure:
    """Draw one factor: exposure as bars, relativities with their 95 % intervals, and how they were before.

    Parameters
    ----------
    tariff
        Tariff.
    component, name
        Component, and input.
    before
        Tariff of the same product to compare with; its bands may differ.
    """
    owner = tariff.component(component)
    table = owner.table(name)
    called = tariff.cell_names(table)[0]
    held = np.flatnonzero([each is not None for each in called])
    place = np.arange(len(held))
    figure = Canvas(figsize=(max(7.0, min(0.35 * len(held) + 2, 14)), 4.6), layout="constrained")
    bars = figure.add_subplot()
    axes = bars.twinx()
    bars.yaxis.tick_right()
    bars.yaxis.set_label_position("right")
    axes.yaxis.tick_left()
    axes.yaxis.set_label_position("left")
    share = 100 * table.exposure[held] / table.exposure.sum()
    bars.bar(place, share, color="0.85", width=0.9)
    bars.set_ylim(0, 2.2 * share.max())
    bars.set_ylabel("share of exposure, %", color="0.45")
    if before is not None:
        earlier = _before(before, component, table)[held]
        axes.plot(place, earlier, "o--", color="tab:orange", markersize=3, label="before")
    _draw_relativities(axes, place, held, owner, table)
    axes.set_ylabel("relativity" + (" (odds)" if owner.link == "logit" else ""))
    axes.axhline(1.0, color="0.6", linewidth=0.8)
    _log_scale(axes)
    every = math.ceil(len(held) / MOST_LABELS)
    texts = [_short(str(called[cell])) for cell in held[::every]]
    long = len(texts) * (max(map(len, texts)) + 2) > LETTERS_PER_INCH * figure.get_figwidth()
    bars.set_xticks(place[::every], texts, rotation=60 if long else 0, ha="right" if long else "center")
    bars.set_title(f"{label(name, tariff.encoding)}: {component}")
    # Above the picture, since curves can be anywhere in it.
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=4, fontsize=8)
    return figure


def pair_figure(tariff: Tariff, component: str, one: str, two: str) -> Figure:
    """Draw a two-way table as a map of relativities; cells without exposure are left white."""
    table = tariff.table(component, one, two)
    sides = tariff.cell_names(table)
    rows, columns = (np.flatnonzero([name is not None for name in side]) for side in sides)
    values = np.log(table.relativities)[np.ix_(rows, columns)]
    held = table.exposure[np.ix_(rows, columns)] > 0
    figure = Canvas(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot()
    bound = max(float(np.abs(values[held]).max(initial=0.0)), 0.01)
    image = axes.imshow(np.where(held, values, np.nan), cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto")
    held_cells = ((rows, axes.yaxis), (columns, axes.xaxis))
    for (cells, axis), side, scale in zip(held_cells, sides, table.scales, strict=True):
        # Bands of a number can be guessed from their neighbours, names of levels cannot.
        every = math.ceil(len(cells) / (MOST_LABELS if scale.edges is None else MOST_PAIR_LABELS))
        axis.set_ticks(np.arange(len(cells))[::every], [_short(str(side[cell])) for cell in cells[::every]])
    axes.tick_params(axis="x", rotation=60)
    axes.set(
        xlabel=label(two, tariff.encoding),
        ylabel=label(one, tariff.encoding),
        title=f"{component}: relativity on top of both one-way tables",
    )
    ticks = np.linspace(-bound, bound, 5)
    bar = figure.colorbar(image, ax=axes, ticks=ticks)
    bar.ax.set_yticklabels([f"{math.exp(tick):.2f}" for tick in ticks])
    return figure


def draw_tariff(tariff: Tariff, folder: Path, before: Tariff | None = None) -> list[Path]:
    """Write a picture per table.

    Parameters
    ----------
    tariff
        Tariff.
    folder
        Made when absent.
    before
        Tariff to compare with; pages of factors that it has show both.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for component in tariff.components:
        for table in component.tables:
            if len(table.inputs) == 1:
                figure = factor_figure(tariff, component.name, table.inputs[0], before)
            else:
                figure = pair_figure(tariff, component.name, *table.inputs)
            paths.append(folder / f"{component.name}_{'_x_'.join(table.inputs)}.png")
            # Without the software stamp, equal pictures are equal files.
            figure.savefig(paths[-1], dpi=110, metadata={"Software": None})
    return paths


def _draw_relativities(
    axes: Axes, place: NDArray[np.int64], held: NDArray[np.int64], owner: Component, table: Table
) -> None:
    relativity = table.relativities[held]
    low, high = (bound[held] for bound in table.interval(owner.dispersion))
    axes.plot(place, relativity, color="tab:blue", marker="o", markersize=4, label="relativity")
    known = np.isfinite(low)
    # An interval that could be anything would hide all others.
    shown = known & (high / np.where(known, low, 1.0) < 100.0)
    axes.vlines(
        place[shown],
        low[shown],
        high[shown],
        color="tab:blue",
        alpha=0.45,
        linewidth=2,
        label=f"95 % interval, {table.interval_kind}",
    )
    if table.base is not None:
        axes.plot(place[held == table.base], [1.0], "D", color="black", markersize=6, label="base level")


def _before(before: Tariff, component: str, table: Table) -> NDArray[np.float64]:
    """Give the earlier relativities, averaged by exposure over each cell of a table, its base level at 1."""
    old, scale = before.table(component, *table.inputs), table.scales[0]
    axis = union_axis([old.scales[0], scale])
    source, member = old.scales[0].spread(axis), scale.spread(axis)
    weight = (old.exposure / np.bincount(source, minlength=old.raw.size)).take(source) + 1e-9
    raw = np.bincount(member, weight * old.raw.take(source)) / np.bincount(member, weight)
    return np.asarray(np.exp(raw - (raw[table.base] if table.base is not None else 0.0)))


def _short(text: str) -> str:
    """Give a label with four significant digits, cut where it is still too long."""
    text = re.sub(r"\d+\.\d+", lambda found: _four_digits(float(found[0])), text)
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def _four_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    steps = [
        s
        for s in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 4, 6, 10, 20)
        if low <= s <= high
    ]
    axes.set_yticks(steps, [f"{step:g}" for step in steps])
    axes.set_yticks([], minor=True)
