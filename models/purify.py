"""Make the terms of a table model mean something: pairs without one-way parts, one-way tables centred."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.tables import Axis, TableModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDS = 200
TOLERANCE = 1e-10
# Share of pseudo-weight per cell margin, so that cells no policy fell into have a defined average too.
SMOOTHING = 1e-6


def purify(model: TableModel, values: NDArray[np.float64], weight: NDArray[np.float64]) -> TableModel:
    """Move what one input explains alone from the two-way into the one-way tables.

    Afterwards each line and column of a two-way table, and each one-way table, averages to zero over the
    training exposure (functional ANOVA; Lengerich et al., AISTATS 2020), so that the parts of a score do not
    depend on how trees happened to share the work. Scores stay the same up to rounding.

    Parameters
    ----------
    model
        Tables as compiled.
    values
        Encoded learn rows, shape (n, inputs).
    weight
        Exposure of each row, shape (n,).
    """
    cells = {
        i: model.axes[i].locate(values[:, i]) for i in {*model.mains, *(i for p in model.pairs for i in p)}
    }
    margins = {i: _margin(model.axes[i], cell, weight) for i, cell in cells.items()}
    mains = {i: model.mains.get(i, np.zeros(model.axes[i].cells)).copy() for i in sorted(cells)}
    pairs: dict[tuple[int, int], NDArray[np.float64]] = {}
    for (i, j), table in model.pairs.items():
        shape = (model.axes[i].cells, model.axes[j].cells)
        counted = np.bincount(cells[i] * shape[1] + cells[j], weight, shape[0] * shape[1]).reshape(shape)
        joint = counted + SMOOTHING * np.outer(margins[i], margins[j]) * weight.sum()
        pure, rows, columns = _purify_pair(table, joint)
        pairs[i, j] = pure
        mains[i] += rows
        mains[j] += columns
    intercept = model.intercept
    for i, table in mains.items():
        centre = float(table @ margins[i])
        mains[i] = table - centre
        intercept += centre
    return TableModel(model.link, intercept, model.axes, mains, pairs)


def _margin(axis: Axis, cell: NDArray[np.int64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    counted = np.bincount(cell, weight, axis.cells)
    counted = counted + SMOOTHING * weight.sum()
    return np.asarray(counted / counted.sum(), dtype=np.float64)


def _purify_pair(
    table: NDArray[np.float64], joint: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Take weighted line and column means out, in turns, until nothing is left to take."""
    pure = table.copy()
    by_row, by_column = joint.sum(axis=1), joint.sum(axis=0)
    rows, columns = np.zeros(len(by_row)), np.zeros(len(by_column))
    for _ in range(ROUNDS):
        row = (pure * joint).sum(axis=1) / by_row
        pure -= row[:, None]
        column = (pure * joint).sum(axis=0) / by_column
        pure -= column[None, :]
        rows += row
        columns += column
        if max(np.abs(row).max(), np.abs(column).max()) < TOLERANCE:
            break
    return pure, rows, columns
