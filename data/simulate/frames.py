"""Columns of simulated rows in numpy, and their way to Arrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from data.contracts import Contract
    from data.simulate.streams import Array

__all__ = ["Frame", "Levels", "Maybe", "concat"]


@dataclass(frozen=True, slots=True)
class Levels:
    """A text column as codes into names; shape (n,), code -1 is missing."""

    codes: Array
    names: tuple[str, ...]

    @classmethod
    def constant(cls, name: str, n: int, where: Array | None = None) -> Self:
        """Give the same text on every row, or on the rows `where` and missing elsewhere."""
        codes = np.zeros(n, np.int8) if where is None else np.where(where, 0, -1).astype(np.int8)
        return cls(codes, (name,))

    def take(self, rows: Array) -> Levels:
        """Pick rows."""
        return Levels(self.codes[rows], self.names)

    def to_arrow(self) -> pa.Array:
        """Give a dictionary array."""
        codes = pa.array(self.codes.astype(np.int8), mask=self.codes < 0)
        return pa.DictionaryArray.from_arrays(codes, list(self.names))


@dataclass(frozen=True, slots=True)
class Maybe:
    """A number or time column with missing values; both arrays of shape (n,)."""

    values: Array
    missing: Array

    def take(self, rows: Array) -> Maybe:
        """Pick rows."""
        return Maybe(self.values[rows], self.missing[rows])


@dataclass(frozen=True, slots=True)
class Frame:
    """Named columns of equal length; times are int64 microseconds."""

    columns: Mapping[str, Array | Levels | Maybe]

    def __len__(self) -> int:
        first = next(iter(self.columns.values()))
        if isinstance(first, Levels):
            return len(first.codes)
        return len(first.values) if isinstance(first, Maybe) else len(first)

    def numbers(self, name: str) -> Array:
        """Give a column that has no missing values and is not text."""
        column = self.columns[name]
        if isinstance(column, Levels | Maybe):
            message = f"{name} is not a plain column"
            raise TypeError(message)
        return column

    def take(self, rows: Array) -> Frame:
        """Pick rows by position or mask."""
        return Frame(
            {
                name: column.take(rows) if isinstance(column, Levels | Maybe) else column[rows]
                for name, column in self.columns.items()
            }
        )

    def with_columns(self, **columns: Array | Levels | Maybe) -> Frame:
        """Add or replace columns."""
        return Frame({**self.columns, **columns})

    def only(self, names: Sequence[str]) -> Frame:
        """Keep some columns."""
        return Frame({name: self.columns[name] for name in names})

    def to_arrow(self, contract: Contract | None = None) -> pa.Table:
        """Give an Arrow table; with a contract its columns come first and in its types.

        The product is left out of it, since it stands in the path.
        """
        own = [] if contract is None else [c for c in contract.columns if c.name != "product"]
        arrays = {
            column.name: _arrow(self.columns.get(column.name), len(self), column.type) for column in own
        }
        for name, column in self.columns.items():
            if name not in arrays:
                arrays[name] = _arrow(column, len(self), None)
        return pa.table(arrays)


def concat(frames: Sequence[Frame]) -> Frame:
    """Put frames with the same columns below each other."""
    names = frames[0].columns
    return Frame({name: _join([frame.columns[name] for frame in frames]) for name in names})


def _join(parts: Sequence[Array | Levels | Maybe]) -> Array | Levels | Maybe:
    first = parts[0]
    if isinstance(first, Levels):
        return Levels(np.concatenate([p.codes for p in parts if isinstance(p, Levels)]), first.names)
    if isinstance(first, Maybe):
        maybes = [p for p in parts if isinstance(p, Maybe)]
        return Maybe(np.concatenate([p.values for p in maybes]), np.concatenate([p.missing for p in maybes]))
    return np.concatenate([p for p in parts if isinstance(p, np.ndarray)])


def _arrow(column: Array | Levels | Maybe | None, n: int, kind: pa.DataType | None) -> pa.Array:
    if column is None:
        return pa.nulls(n, kind)
    if isinstance(column, Levels):
        return column.to_arrow()
    values, missing = (column.values, column.missing) if isinstance(column, Maybe) else (column, None)
    if kind is not None and pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64(), mask=missing).view(kind)
    return pa.array(values, kind, mask=missing)
