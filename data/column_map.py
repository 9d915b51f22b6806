"""The file that says how a source's columns become a contract's columns."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data.contracts import contract
from data.errors import ColumnMapError, UnknownTableError, hint

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ColumnMap", "load_column_map"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Table(_Part):
    name: str
    distinct: bool = False
    allow_unknown_customers: bool = False


class ColumnMap(_Part):
    """A column map as read from TOML.

    Parameters
    ----------
    table : table
        ``name`` of the contract; ``distinct`` to store equal mapped rows once, for sources that repeat an
        entity on every line; ``allow_unknown_customers`` to store rows whose customer the lake does not hold.
    columns : dict of str to str
        Contract column to a DuckDB expression over the source's columns; a plain name is the simplest.
    risk : dict of str to str
        Rating factor to expression, only for tables that are open to them.
    """

    table: _Table
    columns: dict[str, str]
    risk: dict[str, str] = Field(default_factory=dict)


def load_column_map(path: Path) -> ColumnMap:
    """Read and check a column map.

    Parameters
    ----------
    path : Path
        TOML file.

    Raises
    ------
    ColumnMapError
        If the file cannot be read, has unknown keys, names unknown columns, leaves out one that must not be
        missing, or gives rating factors to a table that has none.
    """
    try:
        with path.open("rb") as stream:
            found = ColumnMap.model_validate(tomllib.load(stream))
    except FileNotFoundError as error:
        message = f"There is no column map at {path}"
        raise ColumnMapError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path} is not TOML: {error}"
        raise ColumnMapError(message) from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        message = f"{path} is not a column map: {faults}"
        raise ColumnMapError(message) from error
    check_column_map(found)
    return found


def check_column_map(found: ColumnMap) -> None:
    """Check a map against the contract of its table.

    Raises
    ------
    ColumnMapError
        See `load_column_map`.
    """
    try:
        rules = contract(found.table.name)
    except UnknownTableError as error:
        raise ColumnMapError(str(error)) from error
    for name in found.columns:
        if name not in rules.names:
            message = f"Table {rules.name!r} has no column {name!r}{hint(name, rules.names)}"
            raise ColumnMapError(message)
    for column in rules.columns:
        if not column.nullable and column.name not in found.columns:
            message = f"The map gives no expression for {rules.name}.{column.name}, which may not be missing"
            raise ColumnMapError(message)
    if found.risk and not rules.open:
        message = f"Table {rules.name!r} takes no rating factors, the map gives {', '.join(found.risk)}"
        raise ColumnMapError(message)
    clash = sorted(set(found.risk) & {*rules.names, rules.partition.month_key})
    if clash:
        message = f"{clash[0]!r} is a column of table {rules.name!r} and cannot be a rating factor"
        raise ColumnMapError(message)
