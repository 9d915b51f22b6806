"""Customer segments: a portrait for each customer, decided by conditions on the features of the risk profile.

The file is data (`data/reference/segments.toml`): segments in order, the first whose conditions all hold is
the customer's, and the last has none, so that everyone has exactly one. One customer and a table are decided
by the same conditions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from data.contracts import CONTRACTS
from features.errors import UnknownFeature
from models.errors import EncodingError
from pricing.definitions import parse_definition
from pricing.errors import DefinitionError, nearest
from pricing.factors import Frozen, Name, Text
from pricing.rules import Condition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from features.spec import FeatureSpec

REFERENCE = Path(__file__).parents[1] / "data" / "reference" / "segments.toml"
CUSTOMER_KEYS = ("customer_id",)


class Segment(Frozen):
    """A group of customers that a salesperson can picture.

    Attributes
    ----------
    code
        Stable name in tables.
    name, portrait
        What people read; the portrait is two sentences.
    conditions
        All must hold; the last segment of a file has none.
    """

    code: Name
    name: Text
    portrait: Text
    conditions: tuple[Condition, ...] = ()

    @model_validator(mode="after")
    def _numbers(self) -> Segment:
        for condition in self.conditions:
            values = condition.value if isinstance(condition.value, tuple) else (condition.value,)
            if any(isinstance(value, bool | str) for value in values):
                raise ValueError(f"{condition.field}: features are numbers, {condition.value!r} is not")
        return self


class Segmentation(Frozen):
    """All segments in the order in which they are tried.

    Attributes
    ----------
    version
        Counts changes of the file.
    protected
        Attributes that no condition may look at.
    segment
        The segments.
    """

    version: Annotated[int, Field(ge=1)]
    protected: tuple[str, ...] = ()
    segment: Annotated[tuple[Segment, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _covers(self) -> Segmentation:
        codes = [segment.code for segment in self.segment]
        repeated = sorted({code for code in codes if codes.count(code) > 1})
        if repeated:
            raise ValueError(f"segments repeat the codes {repeated}")
        open_ends = [segment.code for segment in self.segment if not segment.conditions]
        if open_ends != codes[-1:]:
            raise ValueError(
                f"the last segment, and only it, has no conditions, so that everyone has one; without are "
                f"{open_ends}"
            )
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """Features that the conditions look at, in order of first use."""
        return tuple(dict.fromkeys(c.field for segment in self.segment for c in segment.conditions))

    def segment_of(self, values: Mapping[str, float | int | None]) -> Segment:
        """Give the segment of one customer.

        Parameters
        ----------
        values
            Features by name, None or NaN where not known; others than `fields` are ignored.

        Raises
        ------
        EncodingError
            If a feature is absent.
        """
        self._check(values)
        facts = {name: None if (value := values[name]) is None else float(value) for name in self.fields}
        return next(s for s in self.segment if all(c.holds(facts[c.field]) for c in s.conditions))

    def positions(self, table: pa.Table | pa.RecordBatch) -> NDArray[np.int64]:
        """Give the positions in `segment` of all rows of a table, shape (n,), as `segment_of` decides.

        Parameters
        ----------
        table
            One numeric column per feature of `fields`.

        Raises
        ------
        EncodingError
            If a feature is absent or not a number.
        """
        self._check(dict.fromkeys(table.schema.names))
        facts = {name: _floats(name, table.column(name)) for name in self.fields}
        # From the last to the first, so that the first match is written last.
        found = np.full(table.num_rows, len(self.segment) - 1, dtype=np.int64)
        for position in range(len(self.segment) - 2, -1, -1):
            matches = np.ones(table.num_rows, dtype=bool)
            for condition in self.segment[position].conditions:
                matches &= _holds(condition, facts[condition.field])
            found[matches] = position
        return found

    def column(self, table: pa.Table | pa.RecordBatch) -> pa.Array:
        """Give the segment codes of all rows of a table (see `positions`)."""
        return pa.array([segment.code for segment in self.segment]).take(pa.array(self.positions(table)))

    def _check(self, present: Mapping[str, object]) -> None:
        absent = [name for name in self.fields if name not in present]
        if absent:
            raise EncodingError(
                [f"profile feature {name!r} is absent ({nearest(name, present)})" for name in absent]
            )


def read_segments(spec: FeatureSpec, path: Path = REFERENCE) -> Segmentation:
    """Read a segment file.

    Parameters
    ----------
    spec
        Feature definitions: conditions may look at what they say of customers.
    path
        The file; the one that ships when absent.

    Raises
    ------
    DefinitionError
        Naming every fault: not TOML, unknown keys, segments that do not cover, unknown or protected features.
    """
    segmentation = parse_definition(Segmentation, path.read_text(encoding="utf-8"), path.name)
    faults = list(_faults(segmentation, spec))
    if faults:
        raise DefinitionError(path.name, faults)
    return segmentation


def _faults(segmentation: Segmentation, spec: FeatureSpec) -> Iterator[str]:
    barred = set(segmentation.protected) | {
        column.name
        for contract in CONTRACTS.values()
        for column in contract.columns
        if column.visibility == "protected"
    }
    customers = [name for name in spec.names if spec.entity_of(name).keys == CUSTOMER_KEYS]
    for name in segmentation.fields:
        if name in barred:
            yield f"{name!r} is a protected attribute; no segment may look at it"
            continue
        try:
            base = spec.base([name])
        except UnknownFeature:
            yield f"unknown feature {name!r} ({nearest(name, customers) or 'see docs/features.md'})"
            continue
        if spec.entity_of(name).keys != CUSTOMER_KEYS:
            hint = nearest(name, customers) or "see docs/features.md"
            yield f"{name!r} is no feature of a customer ({hint})"
        columns = {item.measure for item in base} | {f.column for item in base for f in item.filters}
        reached = sorted(barred & {column for column in columns if column})
        if reached:
            yield f"{name!r} is made from the protected attributes {reached}"


def _floats(name: str, column: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        raise EncodingError([f"profile feature {name!r} is {kind}, not a number"])
    return np.asarray(pc.fill_null(pc.cast(column, pa.float64(), safe=False), np.nan), dtype=np.float64)


def _holds(condition: Condition, facts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Decide a condition for a column as `Condition.holds` does for one fact."""
    value, op = condition.value, condition.op
    if isinstance(value, tuple):
        met = np.isin(facts, np.array(value, dtype=np.float64), invert=op == "not_in")
    else:
        compare = {
            "<": np.less,
            "<=": np.less_equal,
            "==": np.equal,
            "!=": np.not_equal,
            ">=": np.greater_equal,
            ">": np.greater,
        }[op]
        met = compare(facts, float(value))
    unknown = np.isnan(facts)
    return np.asarray(np.where(unknown, condition.when_unknown == "pass", met), dtype=bool)
