"""Terms of a GLM: from the cells of an axis to columns of the model matrix, with penalties and bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import tabmat  # type: ignore[import-untyped]
from scipy.interpolate import BSpline
from scipy.sparse import csr_matrix

from models.tables import Axis
from pricing.glm import GlmTerm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.families.base import Design, FitSettings
    from pricing.glm import Glm

BINS = 60
# Share of entries that are not zero, up to which columns are stored as sparse.
SPARSE = 0.5
# Cells of a spline or a line, and of each side of an interaction.
FINE_CELLS, COARSE_CELLS = 1000, 12
# Range up to which integers are counted by their value.
INTEGERS = 1 << 16
# Penalty of a coefficient of a curve, in claims; it makes the solution unique.
TIE_CLAIMS = 0.5
DEFAULT_TERM = GlmTerm()


@dataclass(frozen=True, eq=False)
class Block:
    """Columns of the model matrix that one input, or a pair of inputs, brings.

    Attributes
    ----------
    inputs
        One input, or two.
    basis
        Shape (cells, columns): what each cell of the input puts into the columns; for a pair, of the cells of
        the first input times those of the second. None where each cell is a column.
    groups
        For a pair: the coarse cell of each cell of the first and of the second input.
    penalty
        Shape (columns, columns), claims.
    lower, upper
        Bounds of the coefficients, shape (columns,).
    """

    inputs: tuple[int, ...]
    penalty: NDArray[np.float64]
    basis: NDArray[np.float64] | None = None
    groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    lower: NDArray[np.float64] | None = None
    upper: NDArray[np.float64] | None = None

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.penalty)

    def matrix(self, cells: dict[int, NDArray[np.int64]]) -> tabmat.MatrixBase:
        """Give the columns, shape (n, columns), of rows that lie in `cells` by input."""
        if self.groups is not None:
            first, second = (group[cells[i]] for i, group in zip(self.inputs, self.groups, strict=True))
            return _one_hot(first * (int(self.groups[1].max()) + 1) + second, self.width)
        cell = cells[self.inputs[0]]
        if self.basis is None:
            return _one_hot(cell, self.width)
        if np.count_nonzero(self.basis) > SPARSE * self.basis.size:
            return tabmat.DenseMatrix(np.asfortranarray(self.basis[cell]))
        return tabmat.SparseMatrix(csr_matrix(self.basis)[cell].tocsc())

    def table(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the table of the term, shape (cells,) or (cells, cells)."""
        if self.groups is not None:
            coarse = coefficients.reshape(-1, int(self.groups[1].max()) + 1)
            return coarse[np.ix_(*self.groups)]
        return coefficients if self.basis is None else self.basis @ coefficients


def _one_hot(code: NDArray[np.int64], width: int) -> tabmat.CategoricalMatrix:
    # As a pandas column: tabmat checks plain codes one by one in Python.
    kind = pd.CategoricalDtype(pd.RangeIndex(width))
    return tabmat.CategoricalMatrix(pd.Categorical.from_codes(code, dtype=kind, validate=False))


def cells_of(design: Design, i: int, term: GlmTerm) -> tuple[Axis, NDArray[np.int64], NDArray[np.float64]]:
    """Give the axis of an input, the cell of each row, and the exposure of each cell.

    Cells are levels, bins, or the fine cells on which a curve is stored.
    """
    column, weight = design.values[:, i], design.weight  # noqa: PD011 - not a frame
    if design.levels[i]:
        axis = Axis(None, design.levels[i])
        cell = axis.locate(column)
        return axis, cell, np.bincount(cell, weight, axis.cells).astype(np.float64)
    code, values = _coded(column)
    if len(values) and code.min() >= 0:
        counted = np.bincount(code, weight, len(values)).astype(np.float64)
    else:
        counted = np.bincount(code[code >= 0], weight[code >= 0], len(values)).astype(np.float64)
    axis = Axis(_cut(values[counted > 0], counted[counted > 0], term))
    place = axis.locate(np.append(values, np.nan))  # what is not known has code -1: the last place
    by_cell = np.bincount(place[:-1], counted, axis.cells).astype(np.float64)
    by_cell[-1] = weight.sum() - counted.sum() if (code < 0).any() else 0.0
    return axis, place.take(code, mode="wrap"), by_cell


def block_of(
    design: Design, i: int, settings: FitSettings, axis: Axis, cell: NDArray[np.int64]
) -> Block | None:
    """Give the columns of one input; None where it is left out.

    Parameters
    ----------
    design
        Learn rows.
    i
        The input.
    settings
        How it enters, and the penalties.
    axis, cell
        Its axis, and the cell of each row.
    """
    term = term_of(settings.glm, design.inputs[i])
    bend, level = term.smoothing or settings.bend_claims, settings.level_claims
    if term.kind == "none":
        return None
    if axis.edges is None:
        return Block((i,), level * np.eye(axis.cells))
    if term.kind == "auto" or axis.cells < 3:
        return Block((i,), _bend_penalty(axis.cells, bend, level))
    column = design.values[:, i]  # noqa: PD011 - not a frame
    at = _representatives(column, design.weight, axis, cell)
    counted = np.bincount(cell, design.weight, axis.cells)[:-1].astype(np.float64)
    return (
        _line(i, at, counted, design.monotone[i], level)
        if term.kind == "line"
        else _spline(i, term.knots, at, counted, design.monotone[i], (bend, level))
    )


def pair_block(
    pair: tuple[int, int],
    axes: tuple[Axis, ...],
    cells: dict[int, NDArray[np.int64]],
    weight: NDArray[np.float64],
    settings: FitSettings,
) -> Block:
    """Give the columns of an interaction: a coarse two-way table, shrunk to nothing like levels.

    Lines and columns of the table are held to the line through their neighbours where the input is a number.
    """
    groups, penalties = [], []
    for i in pair:
        group = _coarse(axes[i], np.bincount(cells[i], weight, axes[i].cells).astype(np.float64))
        size = int(group.max()) + 1
        groups.append(group)
        curve = _bend_penalty(size, settings.bend_claims, settings.level_claims)
        penalties.append(np.zeros((size, size)) if axes[i].edges is None else curve)
    sizes = [len(penalty) for penalty in penalties]
    rough = np.kron(penalties[0], np.eye(sizes[1])) + np.kron(np.eye(sizes[0]), penalties[1])
    return Block(pair, rough + settings.level_claims * np.eye(len(rough)), groups=(groups[0], groups[1]))


def term_of(glm: Glm, name: str) -> GlmTerm:
    """Give the term of an input, the default where none is named."""
    return glm.terms.get(name, DEFAULT_TERM)


def _spline(
    i: int,
    most: int,
    at: NDArray[np.float64],
    counted: NDArray[np.float64],
    sign: int,
    claims: tuple[float, float],
) -> Block:
    """P-spline (Eilers and Marx 1996) with knots at quantiles of the exposure: it bends where data lie.

    With a direction the coefficients are sums of steps of one sign: such a spline is monotone (de Boor).
    """
    # A cell counts for one knot at most, or a heavy one would draw several to one place.
    capped = np.minimum(counted, counted.sum() / (most + 1))
    summed = np.cumsum(capped) / capped.sum()
    shares = np.arange(1, most + 1) / (most + 1)
    inner = np.unique(at[np.searchsorted(summed, shares)])
    inner = inner[(inner > at[0]) & (inner < at[-1])]
    knots = np.concatenate([[at[0]] * 4, inner, [at[-1]] * 4])
    curve = BSpline.design_matrix(at, knots, 3).toarray()
    size = curve.shape[1]
    penalty = _bend_penalty(size + 1, *claims)
    lower = upper = None
    if sign:
        steps = np.tril(np.ones((size, size)))
        curve, penalty[:size, :size] = curve @ steps, steps.T @ penalty[:size, :size] @ steps
        free = np.isin(np.arange(size + 1), (0, size))
        lower = np.where(free | (sign < 0), -np.inf, 0.0)
        upper = np.where(free | (sign > 0), np.inf, 0.0)
    return Block((i,), penalty, _with_unknown(curve), None, lower, upper)


def _line(i: int, at: NDArray[np.float64], counted: NDArray[np.float64], sign: int, level: float) -> Block:
    share = counted / counted.sum()
    centre = share @ at
    slope = ((at - centre) / max(np.sqrt(share @ (at - centre) ** 2), 1e-300))[:, None]
    lower = np.array([0.0 if sign > 0 else -np.inf, -np.inf]) if sign else None
    upper = np.array([0.0 if sign < 0 else np.inf, np.inf]) if sign else None
    return Block((i,), np.diag([TIE_CLAIMS, level]), _with_unknown(slope), None, lower, upper)


def _with_unknown(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add the cell "not known" with a column of its own."""
    out = np.zeros((curve.shape[0] + 1, curve.shape[1] + 1))
    out[:-1, :-1] = curve
    out[-1, -1] = 1.0
    return out


def _bend_penalty(cells: int, bend: float, level: float) -> NDArray[np.float64]:
    """Hold cells to a line, the last ("not known") to nothing, in claims."""
    out, bins = np.zeros((cells, cells)), cells - 1
    bends = np.diff(np.eye(bins), n=2, axis=0) if bins > 2 else np.zeros((0, bins))
    out[:bins, :bins] = bend * bends.T @ bends + TIE_CLAIMS * np.eye(bins)
    out[bins, bins] = level
    return out


def _coded(column: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give the position of each value among ascending values, -1 where not known; integers fast."""
    low = column.min() if len(column) else np.nan  # NaN where any value is
    if low + INTEGERS > column.max(initial=-np.inf):
        code = (column - low).astype(np.int64)
        if (code + low == column).all():
            return code, np.arange(code.max() + 1) + low
    code, values = pd.factorize(column, sort=True)
    return code, values


def _cut(values: NDArray[np.float64], counted: NDArray[np.float64], term: GlmTerm) -> NDArray[np.float64]:
    """Cut a number into bins of like exposure, or so finely that a curve loses next to nothing.

    Few distinct values get a cell each; under a curve integers do, seen or not.
    """
    if len(values) < 2:
        return np.empty(0)
    curve = term.kind in {"spline", "line"}
    if curve and values[-1] - values[0] < FINE_CELLS and (values == np.floor(values)).all():
        return np.arange(values[0], values[-1]) + 0.5
    middles: NDArray[np.float64] = (values[:-1] + values[1:]) / 2
    most = FINE_CELLS if curve else BINS
    if len(values) <= most:
        return middles
    summed = np.cumsum(counted)
    share = summed / summed[-1]
    chosen = np.unique(np.searchsorted(share, np.arange(1, most) / most))
    return middles[chosen[chosen < len(middles)]]


def _representatives(
    column: NDArray[np.float64], weight: NDArray[np.float64], axis: Axis, cell: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Give the value at which a curve is read for each cell but "not known": the mean of its rows."""
    edges = axis.edges if axis.edges is not None else np.empty(0)
    counted = np.bincount(cell, weight, axis.cells)[:-1]
    summed = np.bincount(cell, weight * np.nan_to_num(column), axis.cells)[:-1]
    # Only integers have cells without rows, and theirs lie half a unit beside the edges.
    empty = np.append(edges - 0.5, edges[-1] + 0.5)
    return np.where(counted > 0, summed / np.where(counted > 0, counted, 1.0), empty)


def _coarse(axis: Axis, counted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Group the cells of an axis for an interaction, shape (cells,); levels stay, "not known" is the last."""
    if axis.edges is None or axis.cells - 1 <= COARSE_CELLS:
        return np.arange(axis.cells)
    share = np.cumsum(counted[:-1]) / counted[:-1].sum()
    group = np.minimum((share - counted[:-1] / counted[:-1].sum() / 2) * COARSE_CELLS, COARSE_CELLS - 1)
    dense = np.unique(group.astype(np.int64), return_inverse=True)[1]
    return np.append(dense, dense.max() + 1)
