"""Relativity tables of a rating plan: by level of a category, by bands or along a curve of a number."""

from __future__ import annotations

import math
from bisect import bisect_right
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, model_validator

from pricing.factors import CategoryFactor, Frozen
from pricing.usage import UsageCurve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.factors import FactorValue, NumberFactor

MILLION = 1_000_000
# A relativity has at most two digits before the point.
MOST = 100
Relativity = Annotated[str, Field(pattern=r"^\d{1,2}(\.\d{1,6})?$")]


def millionths(share: str) -> int:
    """Read a decimal of at most six digits as millionths, exactly."""
    return int(Decimal(share) * MILLION)


class Band(Frozen):
    """Values of a number that share one relativity.

    Attributes
    ----------
    at_least, below
        First value of the band and first value above it; the last band has no end.
    relativity
        Factor on the risk premium, decimal text.
    """

    at_least: float
    below: float | None = None
    relativity: Relativity


class Curve(Frozen):
    """Pay as you use: (value / reference)^exponent, for kilometres, trips or hours (see `UsageCurve`).

    Attributes
    ----------
    reference
        Value at which the relativity is 1.
    exponent
        Above 0 and at most 1.
    lowest, highest
        Values outside are rated at the nearest bound.
    """

    reference: float
    exponent: float
    lowest: float
    highest: float

    @model_validator(mode="after")
    def _consistent(self) -> Curve:
        ends = [self.usage.relativity(end) for end in (self.lowest, self.highest)]
        if round(ends[0] * MILLION) < 1 or ends[1] >= MOST:
            raise ValueError(
                f"relativities from {ends[0]:g} to {ends[1]:g}; allowed: 0.000001 to below {MOST}"
            )
        return self

    @cached_property
    def usage(self) -> UsageCurve:
        """The curve as numbers."""
        return UsageCurve(self.reference, self.exponent, self.lowest, self.highest)


class RelativityTable(Frozen):
    """What the plan makes of one rating factor, beside the model.

    Attributes
    ----------
    levels
        Relativity by level of a category.
    bands
        Relativities of a number, without gap or overlap.
    curve
        Relativity of a number that measures use.
    unknown
        Relativity where the number is not known.
    """

    levels: dict[str, Relativity] | None = None
    bands: tuple[Band, ...] | None = None
    curve: Curve | None = None
    unknown: Relativity | None = None

    @model_validator(mode="after")
    def _consistent(self) -> RelativityTable:
        if sum(kind is not None for kind in (self.levels, self.bands, self.curve)) != 1:
            raise ValueError(
                "a table has levels (of a category), bands or a curve (of a number): one of them"
            )
        if self.levels is not None and self.unknown is not None:
            raise ValueError("unknown goes with numbers; the product file says which level stands in")
        problems = [
            f"{cell} is 0; allowed: above 0" for cell, value in self._cells() if not millionths(value)
        ]
        problems += self._uneven()
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _cells(self) -> list[tuple[str, str]]:
        found = [(f"levels.{level}", value) for level, value in (self.levels or {}).items()]
        found += [(f"bands.{i}.relativity", band.relativity) for i, band in enumerate(self.bands or ())]
        return found + ([] if self.unknown is None else [("unknown", self.unknown)])

    def _uneven(self) -> list[str]:
        """Name gaps and overlaps between bands."""
        if self.bands is None:
            return []
        if not self.bands:
            return ["bands: there is none"]
        found = [
            f"bands.{i} starts at {band.at_least!r}; allowed: a finite number"
            for i, band in enumerate(self.bands)
            if not math.isfinite(band.at_least)
        ]
        for i, (band, after) in enumerate(pairwise(self.bands)):
            if band.below is None:
                found.append(f"bands.{i} has no end (below); only the last band may be open")
            elif not band.at_least < band.below:
                found.append(f"bands.{i} ends below {band.below:g}, not above its start {band.at_least:g}")
            elif band.below != after.at_least:
                fault = "gap" if band.below < after.at_least else "overlap"
                ends, starts = f"{band.below:g}", f"{after.at_least:g}"
                found.append(f"{fault}: bands.{i} ends below {ends}, bands.{i + 1} starts at {starts}")
        last = self.bands[-1]
        if last.below is not None:
            found.append(
                f"gap: bands.{len(self.bands) - 1} ends below {last.below:g}; the last band has no end "
                "(it goes up to the largest value that the factor may have)"
            )
        return found

    def problems(self, factor: NumberFactor | CategoryFactor) -> list[str]:
        """Hold the table against the rating factor it is made for; one sentence per fault.

        Parameters
        ----------
        factor
            As the product file declares it.
        """
        if isinstance(factor, CategoryFactor):
            if self.levels is None:
                return [f"{factor.name} is a category; it needs levels, found bands or a curve"]
            missing = [level for level in factor.levels if level not in self.levels]
            strange = [level for level in self.levels if level not in factor.levels]
            return [f"levels.{level} is missing" for level in missing] + [
                f"levels.{level} is not a level of {factor.name}; allowed: {', '.join(factor.levels)}"
                for level in strange
            ]
        if self.levels is not None:
            return [f"{factor.name} is a number; it needs bands or a curve, found levels"]
        return [*self._band_problems(factor), *self._unknown_problems(factor)]

    def _band_problems(self, factor: NumberFactor) -> list[str]:
        if self.bands is None:
            return []
        first, last = self.bands[0].at_least, self.bands[-1].at_least
        found = []
        if first != factor.minimum:
            fault = "gap" if first > factor.minimum else "overlap"
            found.append(f"{fault}: bands.0 starts at {first:g}, {factor.name} at {factor.minimum:g}")
        if last > factor.maximum:
            found.append(
                f"bands.{len(self.bands) - 1} starts at {last:g}, above the largest {factor.maximum:g}"
            )
        return found

    def _unknown_problems(self, factor: NumberFactor) -> list[str]:
        if (factor.missing == "level") == (self.unknown is not None):
            return []
        need = "needed" if self.unknown is None else "not allowed"
        return [f"unknown is {need}: the product file says missing = {factor.missing!r}"]

    @cached_property
    def _by_level(self) -> dict[str, int]:
        return {level: millionths(value) for level, value in (self.levels or {}).items()}

    @cached_property
    def _starts(self) -> list[float]:
        return [band.at_least for band in self.bands or ()]

    @cached_property
    def _values(self) -> list[int]:
        """Relativities of the bands, then of the unknown."""
        return [millionths(band.relativity) for band in self.bands or ()] + [
            millionths(self.unknown) if self.unknown is not None else 0
        ]

    def relativity(self, value: FactorValue) -> int:
        """Give the relativity of a rated value, millionths."""
        if isinstance(value, str):
            return self._by_level[value]
        if math.isnan(value):
            return self._values[-1]
        if self.curve is not None:
            return round(self.curve.usage.relativity(value) * MILLION)
        return self._values[max(bisect_right(self._starts, value) - 1, 0)]

    def of_numbers(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Give the relativities of rated numbers, shape (n,), millionths; as `relativity` one by one."""
        if self.curve is not None:
            # One by one: the power of a column may differ from that of a number in its last bit.
            used, row = np.unique(values, return_inverse=True)
            return np.array([self.relativity(float(one)) for one in used], dtype=np.int64)[row]
        place = np.maximum(np.searchsorted(self._starts, values, side="right") - 1, 0)
        place[np.isnan(values)] = len(self._values) - 1
        return np.array(self._values, dtype=np.int64)[place]
