"""How a tariff cuts an input: bands of a number, groups of levels, and what people call them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.tables import Axis
from pricing.factors import CategoryFactor, NumberFactor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.encoding import Encoding

NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Scale:
    """How the values of one input fall into the cells of a table.

    Attributes
    ----------
    input
        Name of the input.
    edges
        Upper bounds of the bands, included, ascending: cells 0..k by value, cell k+1 for "not known".
        None for categories.
    groups
        Cell of each level by code, so that levels can share one; the cell after the last takes every other
        code. Empty for numbers.
    """

    input: str
    edges: tuple[float, ...] | None
    groups: tuple[int, ...] = ()

    @classmethod
    def of(cls, name: str, axis: Axis) -> Scale:
        """Take the cells of a model's axis over."""
        if axis.edges is None:
            return cls(name, None, tuple(range(axis.levels)))
        return cls(name, tuple(float(edge) for edge in axis.edges))

    @property
    def cells(self) -> int:
        """Number of cells, the one for "not known" or other codes included."""
        return max(self.groups, default=-1) + 2 if self.edges is None else len(self.edges) + 2

    @property
    def axis(self) -> Axis:
        """The axis with a cell per band, or per level."""
        if self.edges is None:
            return Axis(None, len(self.groups))
        return Axis(np.array(self.edges, dtype=np.float64))

    def locate(self, column: NDArray[np.float64]) -> NDArray[np.int64]:
        """Give the cell of each encoded value, shape (n,)."""
        if self.edges is not None:
            return self.axis.locate(column)
        codes = self.axis.locate(column)
        return np.array([*self.groups, self.cells - 1], dtype=np.int64).take(codes)

    def spread(self, axis: Axis) -> NDArray[np.int64]:
        """Give the cell of this scale that holds each cell of a finer axis, shape (axis.cells,)."""
        if self.edges is None or axis.edges is None:
            return np.array([*self.groups, self.cells - 1], dtype=np.int64)
        inner = np.searchsorted(np.array(self.edges, dtype=np.float64), axis.edges)
        return np.append(inner, [len(self.edges), len(self.edges) + 1])

    def bounds(self, cell: int) -> tuple[float, float] | None:
        """Give the open lower and the closed upper bound of a band; None where a cell is no band."""
        if self.edges is None or cell > len(self.edges):
            return None
        ends = (-math.inf, *self.edges, math.inf)
        return ends[cell], ends[cell + 1]


def union_axis(scales: Sequence[Scale]) -> Axis:
    """Give the axis whose cells every one of some scales of one input can be spread to."""
    first = scales[0]
    if first.edges is None:
        return Axis(None, len(first.groups))
    edges = np.unique(np.concatenate([np.array(scale.edges, dtype=np.float64) for scale in scales]))
    return Axis(edges)


def names(scale: Scale, encoding: Encoding) -> tuple[str | None, ...]:
    """Give what people call each cell; None for a cell that no risk of the product can fall into.

    Parameters
    ----------
    scale
        Cells.
    encoding
        Rating factors and profile features: bounds, levels, and whether "not known" is accepted.
    """
    position = encoding.inputs.index(scale.input)
    factor = encoding.factors[position] if position < len(encoding.factors) else None
    if isinstance(factor, CategoryFactor):
        members: list[list[str]] = [[] for _ in range(scale.cells)]
        for level, cell in zip(factor.levels, scale.groups, strict=True):
            members[cell].append(level)
        return tuple(" + ".join(levels) or None for levels in members)
    bands = tuple(_band(scale, cell, factor) for cell in range(scale.cells - 1))
    known_only = factor is not None and factor.missing == "refuse"
    return (*bands, None if known_only else NOT_KNOWN)


def _band(scale: Scale, cell: int, factor: NumberFactor | None) -> str | None:
    low, high = scale.bounds(cell) or (-math.inf, math.inf)
    if factor is not None:
        if low >= factor.maximum or high < factor.minimum:
            return None
        if factor.type == "integer":
            first = int(factor.minimum) if low < factor.minimum else math.floor(low) + 1
            last = int(factor.maximum) if high >= factor.maximum else math.floor(high)
            if first > last:
                return None
            return f"{first}" if first == last else f"{first} to {last}"
    if math.isinf(low):
        return "all" if math.isinf(high) else f"up to {high!r}"
    return f"over {low!r}" if math.isinf(high) else f"over {low!r} to {high!r}"


def label(name: str, encoding: Encoding) -> str:
    """Give what people call an input: the English label of a rating factor, the name of a feature."""
    return next((factor.label.en for factor in encoding.factors if factor.name == name), name)
