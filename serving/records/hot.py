"""Inserts of a group by the shortest way: on SQLite the driver itself (docs/adr/0012)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Table


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that name every column."""
    if connection.dialect.name != "sqlite":
        connection.execute(insert(table), rows)
        return
    columns, statement = _sqlite_insert(table)
    driver = connection.connection.dbapi_connection
    assert driver is not None  # noqa: S101 - the connection is open
    dialect = connection.dialect
    try:
        driver.executemany(statement, [tuple(row[column] for column in columns) for row in rows])
    except dialect.loaded_dbapi.Error as error:
        raise DBAPIError.instance(
            statement, None, error, dialect.loaded_dbapi.Error, dialect=dialect
        ) from error


@cache
def _sqlite_insert(table: Table) -> tuple[tuple[str, ...], str]:
    compiled = insert(table).compile(dialect=sqlite.dialect())
    return tuple(table.columns.keys()), str(compiled)
