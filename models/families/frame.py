"""From raw columns of a frame to the numbers that models read; levels are learned from the fit."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from models.errors import EncodingError
from pricing.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from numpy.typing import NDArray

    Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]

Level = str | int | float | bool
# A number that is not known is averaged over so many quantiles of the exposure.
QUANTILES = 32


@dataclass(frozen=True)
class Column:
    """One raw column as it stood in the rows of the fit.

    Attributes
    ----------
    name
        Name of the column and of the input.
    category
        Whether its values are levels; otherwise they are numbers.
    levels
        Levels by code; empty for numbers.
    missing
        Whether a row of the fit had no value; "not known" then has an effect of its own (for a category the
        code after the last level).
    values, shares
        Codes or quantiles, and their shares in the exposure: what "on average" runs over.
    """

    name: str
    category: bool
    levels: tuple[Level, ...]
    missing: bool
    values: tuple[float, ...]
    shares: tuple[float, ...]

    def read(self, series: pd.Series) -> NDArray[np.float64]:
        """Give codes or numbers, shape (n,); NaN where missing or not a level.

        Raises
        ------
        EncodingError
            If a number cannot be read as one, or is infinite.
        """
        if not self.category:
            return _numbers(self.name, series)
        found, uniques = pd.factorize(series)
        codes = pd.Index(self.levels, dtype=object).get_indexer(pd.Index(uniques, dtype=object))
        # A missing value has position -1: the last entry.
        by_unique = np.append(
            np.where(codes < 0, np.nan, codes), len(self.levels) if self.missing else np.nan
        )
        return np.asarray(by_unique[found], dtype=np.float64)

    def read_one(self, value: object) -> float | None:
        """Give the code or number of one value, as `read` does; None where the fit had no like."""
        missing = value is None or value != value
        if self.category:
            if missing:
                return float(len(self.levels)) if self.missing else None
            return self._codes.get(value)
        if missing:
            return math.nan if self.missing else None
        number = float(value)  # type: ignore[arg-type]
        if math.isinf(number):
            raise EncodingError([f"1 rows: {self.name} is infinite"])
        return number

    @cached_property
    def _codes(self) -> dict[object, float]:
        return {level: float(code) for code, level in enumerate(self.levels)}

    def unseen(self, read: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Mark values for which the fit had no like, shape (n,)."""
        if self.missing and not self.category:
            return np.zeros(len(read), dtype=bool)
        return np.isnan(read)


@dataclass(frozen=True)
class FrameEncoding:
    """Raw columns in input order."""

    columns: tuple[Column, ...]

    @classmethod
    def learn(
        cls, frame: pd.DataFrame, weight: NDArray[np.float64], categorical: Collection[str] | str
    ) -> FrameEncoding:
        """Learn levels and averages from the rows of the fit.

        Parameters
        ----------
        frame
            Raw columns: numbers, or anything that has levels.
        weight
            Exposure of each row, shape (n,).
        categorical
            Names of the columns whose values are levels; `auto` takes those that are not numbers.
        """
        if isinstance(categorical, str):
            named = {c for c, kind in frame.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)}
        else:
            named = set(categorical)
            strangers = sorted(str(name) for name in named - set(frame.columns))
            if strangers:
                raise EncodingError([f"categorical names {strangers}, which are not among the columns"])
        return cls(tuple(_learn(str(c), frame[c], weight, c in named) for c in frame.columns))

    @classmethod
    def from_json(cls, content: list[Mapping[str, Any]]) -> FrameEncoding:
        """Read what `to_json` wrote."""
        names = ("levels", "values", "shares")
        return cls(tuple(Column(**{**c, **{name: tuple(c[name]) for name in names}}) for c in content))

    def to_json(self) -> list[dict[str, Any]]:
        """Give the columns as JSON objects."""
        return [asdict(column) for column in self.columns]

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in column order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """Levels of each input in words, "not known" last where the fit had it; empty for numbers."""
        return tuple(
            (*map(str, c.levels), *(["not known"] if c.missing else [])) if c.category else ()
            for c in self.columns
        )

    def encode(self, frame: pd.DataFrame, unknown: str) -> NDArray[np.float64]:
        """Give codes and numbers, shape (n, inputs), column-major.

        Parameters
        ----------
        frame
            Columns as in the fit, in that order.
        unknown
            `refuse` values for which the fit had no like, or leave them as NaN for `averaged` (`average`).

        Raises
        ------
        EncodingError
            With the number of rows by column.
        """
        matrix = np.empty((len(frame), len(self.columns)), order="F")
        problems = []
        for i, column in enumerate(self.columns):
            matrix[:, i] = column.read(frame.iloc[:, i])
            unseen = column.unseen(matrix[:, i])
            if unknown == "refuse" and unseen.any():
                problems += _unseen_sentences(column, frame.iloc[:, i], unseen)
        if problems:
            raise EncodingError(problems)
        return matrix

    def encode_one(self, row: Mapping[str, object]) -> list[float] | None:
        """Give the codes and numbers of one row, equal to `encode`; None where the fit saw no like.

        Parameters
        ----------
        row
            Values by column name; a number that is None or NaN is missing.
        """
        found = [column.read_one(row.get(column.name)) for column in self.columns]
        return None if None in found else found  # type: ignore[return-value]

    def unseen(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Mark encoded rows with a value for which the fit had no like, shape (n,)."""
        marks = [column.unseen(values[:, i]) for i, column in enumerate(self.columns)]
        return np.asarray(np.any(marks, axis=0)) if marks else np.zeros(len(values), dtype=bool)

    def averaged(self, score: Score, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score rows; where a value is unseen, give the average over the column's share of exposure.

        Parameters
        ----------
        score
            From encoded risks, shape (n, inputs), to raw scores or contributions.
        values
            Encoded risks with NaN for what is unseen.
        """
        for i, column in enumerate(self.columns):
            lost = column.unseen(values[:, i])
            if not lost.any():
                continue
            rest = self.averaged(score, values[~lost])
            total = np.zeros((int(lost.sum()), *rest.shape[1:]))
            for value, share in zip(column.values, column.shares, strict=True):
                part = values[lost]
                part[:, i] = value
                total += share * self.averaged(score, part)
            out = np.empty((len(values), *rest.shape[1:]))
            out[~lost], out[lost] = rest, total
            return out
        return score(values)


def _numbers(name: str, series: pd.Series) -> NDArray[np.float64]:
    if not pd.api.types.is_numeric_dtype(series.dtype):
        raise EncodingError([f"column {name!r} is {series.dtype}, but the fit read it as a number"])
    read = series.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = int(np.isinf(read).sum())
    if infinite:
        raise EncodingError([f"{infinite} rows: {name} is infinite"])
    return np.asarray(read, dtype=np.float64)


def _learn(name: str, series: pd.Series, weight: NDArray[np.float64], category: bool) -> Column:
    missing = bool(series.isna().any())
    if not category:
        read = _numbers(name, series)
        known = ~np.isnan(read)
        if not known.any():
            raise EncodingError([f"{len(read)} rows: {name} is missing in every row"])
        values, inverse = np.unique(read[known], return_inverse=True)
        summed = np.cumsum(np.bincount(inverse, weight[known]))
        middles = (np.arange(QUANTILES) + 0.5) / QUANTILES * summed[-1]
        chosen, counted = np.unique(np.searchsorted(summed, middles), return_counts=True)
        shares = counted / QUANTILES
        return Column(name, False, (), missing, tuple(values[chosen].tolist()), tuple(shares.tolist()))
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        raise EncodingError([f"column {name!r} is {series.dtype}, neither a number nor levels"])
    if isinstance(series.dtype, pd.CategoricalDtype):
        levels = list(series.cat.remove_unused_categories().cat.categories)
    else:
        levels = sorted(series.dropna().unique(), key=lambda v: (isinstance(v, str), v))
    plain = tuple(v.item() if isinstance(v, np.generic) else v for v in levels)
    bare = Column(name, True, plain, missing, (), ())
    summed = np.bincount(bare.read(series).astype(np.int64), weight, len(plain) + missing)
    codes = tuple(float(code) for code in range(len(summed)))
    return Column(name, True, plain, missing, codes, tuple((summed / summed.sum()).tolist()))


def _unseen_sentences(column: Column, series: pd.Series, unseen: NDArray[np.bool_]) -> list[str]:
    given = series[unseen]
    sentences = []
    lost = int(given.isna().sum())
    if lost:
        sentences.append(f"{lost} rows: {column.name} is missing, but never was in the fit")
    strange = given.dropna()
    if len(strange):
        counted = strange.value_counts()
        shown = ", ".join(f"{level!r} ({rows})" for level, rows in counted.head(5).items())
        hint = nearest(str(counted.index[0]), [str(level) for level in column.levels])
        sentences.append(
            f"{len(strange)} rows: {column.name} has levels that the fit did not see: {shown}"
            + (f" ({hint})" if hint else "")
        )
    return sentences
