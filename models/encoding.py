"""From tables and single risks to the numbers that models read, checked as the rating factors check."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from models.errors import EncodingError
from pricing.errors import RiskError, RiskProblem, nearest
from pricing.factors import CategoryFactor, Factor, NumberFactor, read_risk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pricing.product import Product

_FACTORS: TypeAdapter[tuple[NumberFactor | CategoryFactor, ...]] = TypeAdapter(tuple[Factor, ...])


@dataclass(frozen=True, eq=False)
class Encoded:
    """Model inputs of a table.

    Attributes
    ----------
    matrix
        Shape (n, inputs), float64, column-major: numbers (NaN = not known) and level codes, in input order.
    refused
        Shape (n,), true where at least one factor refuses its value; such rows must not be scored.
    counts
        Refused rows by (field, code); one row may count under several.
    """

    matrix: NDArray[np.float64]
    refused: NDArray[np.bool_]
    counts: dict[tuple[str, str], int]

    def sentences(self) -> list[str]:
        """Give one sentence per field and reason, with the number of rows."""
        return [
            f"{field}: {rows} rows refused ({code})" for (field, code), rows in sorted(self.counts.items())
        ]

    def raise_if_refused(self) -> None:
        """Refuse the whole table when any row is refused.

        Raises
        ------
        EncodingError
            With the counts by field and reason.
        """
        if self.refused.any():
            raise EncodingError(self.sentences())


@dataclass(frozen=True)
class Encoding:
    """How risks become model inputs: rating factors first, then profile features (`Product.inputs`).

    Attributes
    ----------
    factors
        Rating factors of the product; a category becomes the code of its level.
    features
        Names of profile features and of fitted features; a number, NaN when not known.
    """

    factors: tuple[NumberFactor | CategoryFactor, ...]
    features: tuple[str, ...]

    @classmethod
    def of(cls, product: Product) -> Encoding:
        """Build the encoding of a product."""
        return cls(product.model_factors, product.profile.inputs)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Encoding:
        """Read what `to_json` wrote."""
        return cls(_FACTORS.validate_python(content["factors"]), tuple(content["features"]))

    def to_json(self) -> dict[str, Any]:
        """Give the encoding as a JSON object."""
        return {"factors": _FACTORS.dump_python(self.factors, mode="json"), "features": list(self.features)}

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in column order."""
        return tuple(factor.name for factor in self.factors) + self.features

    @cached_property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """Levels of each input; empty for numbers."""
        named = tuple(f.levels if isinstance(f, CategoryFactor) else () for f in self.factors)
        return named + ((),) * len(self.features)

    @cached_property
    def _codes(self) -> tuple[dict[str, float] | None, ...]:
        return tuple({level: float(i) for i, level in enumerate(levels)} or None for levels in self.levels)

    def encode_one(
        self, risk: Mapping[str, object], profile: Mapping[str, float | int | None]
    ) -> tuple[float, ...]:
        """Encode one risk, bit-equal to `encode`.

        Parameters
        ----------
        risk
            What the channel says, by factor name.
        profile
            Profile features by name; `None` when not known, other names are ignored.

        Raises
        ------
        pricing.errors.RiskError
            With one problem per field.
        EncodingError
            If a profile feature is absent.
        """
        rated = read_risk(self.factors, risk)
        row: list[float] = []
        for factor, codes in zip(self.factors, self._codes, strict=False):
            value = rated[factor.name]
            row.append(float(value) if codes is None else codes[str(value)])
        for name in self.features:
            if name not in profile:
                raise EncodingError([f"profile feature {name!r} is absent ({nearest(name, profile)})"])
            fact = profile[name]
            row.append(math.nan if fact is None else float(fact))
        return tuple(row)

    def encode(self, table: pa.Table | pa.RecordBatch) -> Encoded:
        """Encode a table.

        Parameters
        ----------
        table
            One column per rating factor (its source column, or its name) and per profile feature.

        Raises
        ------
        EncodingError
            If columns are absent, or a profile feature is not a number.
        """
        columns = self._columns(table.schema.names)
        size = table.num_rows
        matrix = np.empty((size, len(self.inputs)), order="F")
        refused = np.zeros(size, dtype=bool)
        counts: dict[tuple[str, str], int] = {}
        for position, name in enumerate(self.inputs):
            array = _one_array(table.column(columns[name]))
            if position >= len(self.factors):
                matrix[:, position] = _feature(name, array)
                continue
            factor = self.factors[position]
            read = _numbers if isinstance(factor, NumberFactor) else _categories
            matrix[:, position], faults = read(factor, array)  # type: ignore[arg-type]
            for code, rows in faults.items():
                refused |= rows
                counts[name, code] = int(rows.sum())
        return Encoded(matrix, refused, counts)

    def problems(
        self, table: pa.Table | pa.RecordBatch, rows: Sequence[int]
    ) -> list[tuple[RiskProblem, ...]]:
        """Say, row by row, why rows are refused.

        Parameters
        ----------
        table
            As given to `encode`.
        rows
            Row numbers, usually where `Encoded.refused`.
        """
        columns = self._columns(table.schema.names)
        taken = {
            f.name: _one_array(table.column(columns[f.name])).take(pa.array(rows, pa.int64()))
            for f in self.factors
        }
        lists = {name: array.to_pylist() for name, array in taken.items()}
        found: list[tuple[RiskProblem, ...]] = []
        for i in range(len(rows)):
            try:
                read_risk(self.factors, {name: values[i] for name, values in lists.items()})
                found.append(())
            except RiskError as error:
                found.append(error.problems)
        return found

    def _columns(self, present: Iterable[str]) -> dict[str, str]:
        names = list(present)
        known = set(names)
        columns = {f.name: f.source if f.source in known else f.name for f in self.factors}
        columns |= {name: name for name in self.features}
        absent = sorted({column for column in columns.values() if column not in known})
        if absent:
            hints = {column: nearest(column, names) for column in absent}
            raise EncodingError(
                [
                    f"column {column!r} is absent" + (f" ({hint})" if hint else "")
                    for column, hint in hints.items()
                ]
            )
        return columns


def _one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    return column


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _as_float(array: pa.Array) -> NDArray[np.float64]:
    # Not safe: int64 beyond 2**53 is rounded, as float(value) rounds it.
    floats = pc.cast(array, pa.float64(), safe=False)
    return np.asarray(pc.fill_null(floats, math.nan).to_numpy(zero_copy_only=False), dtype=np.float64)


def _feature(name: str, array: pa.Array) -> NDArray[np.float64]:
    if pa.types.is_null(array.type):
        return np.full(len(array), math.nan)
    if not _is_number(array.type):
        raise EncodingError([f"profile feature {name!r} is {array.type}, not a number"])
    return _as_float(array)


def _numbers(
    factor: NumberFactor, array: pa.Array
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.bool_]]]:
    """Read a column as `NumberFactor.read` reads one value."""
    size = len(array)
    if not _is_number(array.type):
        values = np.full(size, math.nan)
        null = np.asarray(pc.is_null(array).to_numpy(zero_copy_only=False))
        faults = {
            "type": ~null,
            "missing": null if factor.missing == "refuse" else np.zeros(size, dtype=bool),
        }
        return values, {code: rows for code, rows in faults.items() if rows.any()}
    values = _as_float(array)
    missing = np.isnan(values)
    wrong = np.zeros(size, dtype=bool)
    if factor.type == "integer":
        wrong = ~missing & ~(np.isfinite(values) & (values == np.floor(values)))
    low, high = values < factor.minimum, values > factor.maximum
    if factor.outside == "nearest":
        finite = np.isfinite(values)
        low, high = low & ~finite, high & ~finite
        values = np.clip(values, factor.minimum, factor.maximum)
    faults = {
        "missing": missing if factor.missing == "refuse" else np.zeros(size, dtype=bool),
        "type": wrong,
        "below": low & ~wrong,
        "above": high & ~wrong,
    }
    return values, {code: rows for code, rows in faults.items() if rows.any()}


def _categories(
    factor: CategoryFactor, array: pa.Array
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.bool_]]]:
    """Read each distinct value of a column by `CategoryFactor.read`, then spread the codes."""
    if pa.types.is_dictionary(array.type):
        # Dictionaries may hold a value twice or a null; the plain form has neither trap.
        array = pc.cast(array, array.type.value_type)
    coded = array if pa.types.is_null(array.type) else pc.dictionary_encode(array, null_encoding="encode")
    given = [None] if pa.types.is_null(array.type) else coded.dictionary.to_pylist()
    codes = {level: float(i) for i, level in enumerate(factor.levels)}
    numbers = np.full(max(len(given), 1), math.nan)
    problems: dict[str, list[int]] = {}
    for i, value in enumerate(given):
        read = factor.read(value)
        if isinstance(read, RiskProblem):
            problems.setdefault(read.code, []).append(i)
        else:
            numbers[i] = codes[read]
    if pa.types.is_null(array.type):
        index = np.zeros(len(array), dtype=np.int64)
    else:
        index = coded.indices.to_numpy(zero_copy_only=False)
    faults = {code: np.isin(index, positions) for code, positions in problems.items()}
    return numbers[index], {code: rows for code, rows in faults.items() if rows.any()}
