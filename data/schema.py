"""What a contract says of a table: columns, row rules, references, partition, and who may see what."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from data.errors import ContractError, hint

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

__all__ = ["Check", "Column", "Contract", "Partition", "Reference", "Visibility"]

Visibility = Literal["public", "internal", "personal", "protected"]

_SQL_TYPES: Mapping[pa.DataType, str] = MappingProxyType(
    {
        pa.int64(): "BIGINT",
        pa.int8(): "TINYINT",
        pa.float64(): "DOUBLE",
        pa.bool_(): "BOOLEAN",
        pa.string(): "VARCHAR",
        pa.date32(): "DATE",
        pa.timestamp("us"): "TIMESTAMP",
    }
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a contract.

    Parameters
    ----------
    name : str
        Column name, binding for everyone.
    type : pyarrow.DataType
        Storage type.
    meaning : str
        What one value says.
    unit : str
        Unit of the value, empty where there is none.
    nullable : bool
        Whether a value may be missing.
    visibility : {"public", "internal", "personal", "protected"}
        Who may see it: anyone, staff, staff with a reason to know the person, or nobody for pricing
        (kept only to test models for unfair treatment).
    minimum, maximum : int, float or date, optional
        Inclusive bounds.
    levels : tuple of str
        The only texts allowed, empty for free text.
    past : bool
        Whether the time is that of something that happened, so that it cannot lie after the ingest.
    """

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""
    nullable: bool = False
    visibility: Visibility = "internal"
    minimum: float | dt.date | None = None
    maximum: float | dt.date | None = None
    levels: tuple[str, ...] = ()
    past: bool = False

    @property
    def is_money(self) -> bool:
        """Whether the column holds an amount in minor units."""
        return self.unit == "minor units"

    @property
    def sql_type(self) -> str:
        """Give the DuckDB name of the type."""
        return _SQL_TYPES[self.type]

    @property
    def allowed(self) -> str:
        """Say in words which values are allowed, empty when all of the type are."""
        if self.levels:
            return ", ".join(self.levels)
        if self.past:
            return "not in the future"
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum} to {self.maximum}"
        if self.minimum is not None:
            return f"at least {self.minimum}"
        return f"at most {self.maximum}" if self.maximum is not None else ""


@dataclass(frozen=True, slots=True)
class Check:
    """A rule between columns of one row: DuckDB SQL that must not be false (null passes)."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A column whose values are keys of another table."""

    column: str
    table: str
    target: str


@dataclass(frozen=True, slots=True)
class Partition:
    """How the rows of a table spread over folders.

    Parameters
    ----------
    by_product : bool
        Whether ``product=<code>`` is the first folder (the column then lives in the path only).
    month_of : str, optional
        Timestamp column whose month is the folder.
    month_key : str
        Name of the month folder. Tables with risk columns use ``quoted_month`` because a product may
        have a rating factor called ``month``, which the folder name would overwrite on reading.
    """

    by_product: bool = False
    month_of: str | None = None
    month_key: str = "month"

    @property
    def keys(self) -> tuple[str, ...]:
        """Name the folders from the outermost inwards."""
        product = ("product",) if self.by_product else ()
        return (*product, self.month_key) if self.month_of else product


@dataclass(frozen=True, slots=True)
class Contract:
    """What one table must look like.

    Parameters
    ----------
    name, meaning : str
        Name of the table and what one row is.
    key : str
        The column that identifies a row.
    event_time : str
        The column that says when the row came about; freshness and volume are judged by it.
    columns : tuple of Column
        In storage order.
    partition : Partition
        Folder rule.
    checks : tuple of Check
        Rules between columns of a row.
    references : tuple of Reference
        Columns that are keys of other tables.
    open : bool
        Whether a product's rating factors may stand beside the columns.
    """

    name: str
    meaning: str
    key: str
    event_time: str
    columns: tuple[Column, ...]
    partition: Partition = Partition()
    checks: tuple[Check, ...] = ()
    references: tuple[Reference, ...] = ()
    open: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in storage order."""
        return tuple(column.name for column in self.columns)

    @property
    def schema(self) -> pa.Schema:
        """The pyarrow schema of the contract's own columns."""
        return pa.schema([pa.field(c.name, c.type, c.nullable) for c in self.columns])

    def column(self, name: str) -> Column:
        """Find a column by name.

        Raises
        ------
        ContractError
            If the contract has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        message = f"Table {self.name!r} has no column {name!r}{hint(name, self.names)}"
        raise ContractError(message)
