"""A fitted spline logistic as tables and polynomials: plain numbers, read bit-equal by row and by column.

Each column adds to the level f and to the slope g of the logit. A number is a cubic polynomial on each piece
between knots, flat beyond the outer ones; a category has one value a level. The same additions in the same
order run on one Python float and on a column, so that one quote and a batch agree to the last bit.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.interpolate import BSpline, PPoly

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Pair = tuple[float, float]


@dataclass(frozen=True)
class Levels:
    """Effect of a category.

    Attributes
    ----------
    column
        Place of the column.
    values
        (f, g) by code.
    """

    column: int
    values: tuple[Pair, ...]

    def one(self, value: float) -> Pair:
        """Give (f, g) of one code."""
        return self.values[int(value)]

    def many(self, values: Array) -> tuple[Array, Array]:
        """Give f and g of a column of codes, each shape (n,)."""
        table = np.array(self.values)[values.astype(np.int64)]
        return table[:, 0], table[:, 1]


@dataclass(frozen=True)
class Curve:
    """Effect of a number.

    Attributes
    ----------
    column
        Place of the column.
    knots
        Ascending; beyond the outer ones the effect is flat.
    level, slope
        Coefficients of f and g by piece, highest power first, in the distance from the piece's left knot.
    missing
        (f, g) where the number is not known.
    """

    column: int
    knots: tuple[float, ...]
    level: tuple[tuple[float, ...], ...]
    slope: tuple[tuple[float, ...], ...]
    missing: Pair

    def one(self, value: float) -> Pair:
        """Give (f, g) of one number."""
        if math.isnan(value):
            return self.missing
        x = min(max(value, self.knots[0]), self.knots[-1])
        piece = min(bisect_right(self.knots, x), len(self.knots) - 1) - 1
        x = x - self.knots[piece]
        f = g = 0.0
        for a, b in zip(self.level[piece], self.slope[piece], strict=True):
            f, g = f * x + a, g * x + b
        return f, g

    def many(self, values: Array) -> tuple[Array, Array]:
        """Give f and g of a column, each shape (n,)."""
        knots = np.array(self.knots)
        lost = np.isnan(values)
        x = np.clip(np.where(lost, knots[0], values), knots[0], knots[-1])
        piece = np.minimum(np.searchsorted(knots, x, side="right"), len(knots) - 1) - 1
        x = x - knots[piece]
        f, g = np.zeros(len(x)), np.zeros(len(x))
        for a, b in zip(np.array(self.level).T, np.array(self.slope).T, strict=True):
            f, g = f * x + a[piece], g * x + b[piece]
        return np.where(lost, self.missing[0], f), np.where(lost, self.missing[1], g)


@dataclass(frozen=True)
class Effects:
    """Level and slope of the logit as sums over columns.

    Attributes
    ----------
    level, slope
        Where the sums start.
    parts
        Effects of columns; a column without one does not move demand.
    """

    level: float
    slope: float
    parts: tuple[Levels | Curve, ...]

    def one(self, values: Sequence[float]) -> Pair:
        """Give level and slope of one encoded row."""
        f, g = self.level, self.slope
        for part in self.parts:
            level, slope = part.one(values[part.column])
            f, g = f + level, g + slope
        return f, g

    def many(self, values: Array) -> tuple[Array, Array]:
        """Give level and slope of encoded rows, shape (n, columns); each shape (n,)."""
        f, g = np.full(len(values), self.level), np.full(len(values), self.slope)
        for part in self.parts:
            level, slope = part.many(values[:, part.column])
            f, g = f + level, g + slope
        return f, g

    def to_json(self) -> dict[str, Any]:
        """Give the effects as a JSON object."""
        return {"level": self.level, "slope": self.slope, "parts": [asdict(part) for part in self.parts]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Effects:
        """Read what `to_json` wrote."""
        parts = tuple(
            Curve(**frozen) if "knots" in frozen else Levels(**frozen)
            for frozen in (_frozen(part) for part in content["parts"])
        )
        return cls(float(content["level"]), float(content["slope"]), parts)


def _frozen(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, list):
        return tuple(_frozen(each) for each in value)
    return {key: _frozen(each) for key, each in value.items()} if isinstance(value, dict) else value


def curve_of(column: int, spline: BSpline, level: Array, slope: Array) -> Curve:
    """Turn weights of a spline basis into a curve.

    Parameters
    ----------
    column
        Place of the column.
    spline
        Basis as scikit-learn's `SplineTransformer` keeps it: its coefficients are the unit vectors.
    level, slope
        Weights of the basis functions, shape (functions,).
    """
    knots, degree = spline.t, spline.k
    inner = slice(degree, len(knots) - degree)
    pieces = [_pieces(knots, weights, degree, inner) for weights in (level, slope)]
    return Curve(column, tuple(knots[inner].tolist()), pieces[0], pieces[1], (0.0, 0.0))


def _pieces(knots: Array, weights: Array, degree: int, inner: slice) -> tuple[tuple[float, ...], ...]:
    found = PPoly.from_spline(BSpline(knots, weights, degree))
    coefficients = found.c[:, inner.start : inner.stop - 1]
    return tuple(tuple(column) for column in coefficients.T.tolist())
