"""Bands of a factor: numbers by equal exposure, categories by level, what is missing on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.diagnostics.inputs import check_column
from models.errors import DiagnosticError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Codes = NDArray[np.int64]

BANDS = 10
MOST_LEVELS = 25
MISSING = "missing"


@dataclass(frozen=True, eq=False)
class Bands:
    """Rows of a factor by band.

    Attributes
    ----------
    name
        Of the factor.
    codes
        Band of each row, shape (n,).
    labels
        One per band, in order: low to high, the levels, the pooled small levels, `missing`. Unique.
    exposure
        Exposure of each band, shape (bands,), positive.
    ordered
        Whether neighbours in `labels` are neighbours in meaning.
    """

    name: str
    codes: Codes
    labels: tuple[str, ...]
    exposure: Array
    ordered: bool

    def total(self, values: Array) -> Array:
        """Sum a column by band, shape (bands,)."""
        return np.asarray(np.bincount(self.codes, values, len(self.labels)), dtype=np.float64)

    def index(self) -> pd.Index:
        """Give the labels as index of a frame."""
        return pd.Index(self.labels, name=self.name)


def band(
    values: ArrayLike | pd.Series,
    exposure: Array,
    *,
    bands: int = BANDS,
    name: str | None = None,
) -> Bands:
    """Put the rows of a factor into bands.

    Parameters
    ----------
    values
        Numbers, or anything else as levels, shape (n,). Numbers with at most 2 x `bands` distinct values keep
        one band per value; else a value belongs to the band that the middle of its exposure falls into, so
        that equal values stay together. Of categories the 25 largest levels stay, the others are pooled.
    exposure
        Shape (n,).
    bands
        Of about equal exposure.
    name
        Of the factor; the Series' own when absent.
    """
    column = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values))
    found = str(name if name is not None else column.name if column.name is not None else "factor")
    check_column(found, column, len(exposure))
    if bands < 2:
        raise DiagnosticError([f"bands is {bands}; allowed: 2 and more"])
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        raise DiagnosticError([f"{found} holds dates. Hint: use over_time"])
    number = pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)
    parts = _number_bands(column, exposure, bands) if number else _level_bands(column, exposure)
    codes, labels = parts
    held = np.bincount(codes, exposure, len(labels))
    # A level of a declared set that no row has says nothing.
    kept = np.flatnonzero(held > 0)
    place = np.zeros(len(labels), dtype=np.int64)
    place[kept] = np.arange(len(kept))
    ordered = number or (isinstance(column.dtype, pd.CategoricalDtype) and bool(column.dtype.ordered))
    return make_bands(found, place[codes], [labels[k] for k in kept], exposure, ordered=ordered)


def make_bands(name: str, codes: Codes, labels: Sequence[str], exposure: Array, *, ordered: bool) -> Bands:
    """Put bands together from the band of each row; every band must hold rows."""
    held = np.bincount(codes, exposure, len(labels)).astype(np.float64)
    return Bands(name, codes.astype(np.int64), tuple(labels), held, ordered)


def equal_exposure(values: Array, exposure: Array, bands: int) -> Codes:
    """Give the band 0..bands-1 of each row, about equal in exposure; equal values share one, NaN comes last.

    Parameters
    ----------
    values, exposure
        Shape (n,).
    bands
        Number of bands; some stay empty where one value holds much exposure.
    """
    order = np.argsort(values, kind="stable")
    distinct, first = np.unique(values[order], return_index=True)
    ends = np.cumsum(exposure[order])[np.append(first[1:], len(values)) - 1]
    middle = (np.append(0.0, ends[:-1]) + ends) / 2 / ends[-1]
    codes = np.minimum((middle * bands).astype(np.int64), bands - 1)
    return np.asarray(codes[np.searchsorted(distinct, values)])


def _number_bands(column: pd.Series, exposure: Array, bands: int) -> tuple[Codes, list[str]]:
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    known = ~np.isnan(numbers)
    codes = np.zeros(len(numbers), dtype=np.int64)
    labels: list[str] = []
    if known.any():
        held = numbers[known]
        distinct, place = np.unique(held, return_inverse=True)
        inner = place if len(distinct) <= 2 * bands else equal_exposure(held, exposure[known], bands)
        _, inner = np.unique(inner, return_inverse=True)
        codes[known] = inner
        low = np.full(int(inner.max()) + 1, np.inf)
        high = np.full(len(low), -np.inf)
        np.minimum.at(low, inner, held)
        np.maximum.at(high, inner, held)
        labels = _ranges(low, high)
    codes[~known] = len(labels)
    return codes, [*labels, MISSING]


def _ranges(low: Array, high: Array) -> list[str]:
    """Write bands as `low to high`, with as many digits as tell them apart."""
    for digits in (3, 4, 6, 9, 12, 17):
        texts = [
            _text(a, digits) if a == b else f"{_text(a, digits)} to {_text(b, digits)}"
            for a, b in zip(low, high, strict=True)
        ]
        if len(set(texts)) == len(texts):
            break
    return texts


def _text(value: float, digits: int) -> str:
    whole = abs(value) < 1e15 and value == int(value)
    return f"{value:,.0f}" if whole else f"{value:.{digits}g}"


def _level_bands(column: pd.Series, exposure: Array) -> tuple[Codes, list[str]]:
    levels = column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("category")
    names = [str(level) for level in levels.cat.categories]
    codes = levels.cat.codes.to_numpy().astype(np.int64)
    codes[codes < 0] = len(names)
    held = np.bincount(codes, exposure, len(names) + 1)
    held_levels = int(np.count_nonzero(held[:-1]))
    if held_levels <= MOST_LEVELS:
        return codes, [*names, MISSING]
    largest = np.sort(np.argsort(-held[:-1], kind="stable")[: MOST_LEVELS - 1])
    place = np.full(len(names) + 1, len(largest), dtype=np.int64)
    place[largest] = np.arange(len(largest))
    place[-1] = len(largest) + 1
    pooled = f"{held_levels - len(largest)} smaller levels"
    return place[codes], [*(names[k] for k in largest), pooled, MISSING]
