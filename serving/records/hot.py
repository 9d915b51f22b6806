"""The statements of every commit by the shortest way: on SQLite the driver itself (docs/adr/0012)."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Table

HEAD = "SELECT number, seal FROM seals ORDER BY number DESC LIMIT 1"


def is_sqlite(connection: Connection) -> bool:
    """Tell which kind of database this is."""
    return connection.dialect.name == "sqlite"


def fetch_head(connection: Connection) -> tuple[int, bytes] | None:
    """Give number and seal of the last row; None when there is none."""
    if is_sqlite(connection):
        with _driver(connection, HEAD) as driver:
            found: tuple[int, bytes] | None = driver.execute(HEAD).fetchone()
            return found
    row = connection.exec_driver_sql(HEAD).one_or_none()
    return None if row is None else (row.number, row.seal)


def fetch_keys(connection: Connection, names: Sequence[bytes]) -> Sequence[Sequence[Any]]:
    """Give (key_id, customer, wrapped) of the customers that have a key."""
    query = "SELECT key_id, customer, wrapped FROM keys WHERE customer"
    if is_sqlite(connection):
        statement = f"{query} IN ({', '.join('?' * len(names))})"
        with _driver(connection, statement) as driver:
            found: Sequence[Sequence[Any]] = driver.execute(statement, names).fetchall()
            return found
    return connection.exec_driver_sql(f"{query} = ANY($1)", (list(names),)).all()


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that name every column."""
    if not is_sqlite(connection):
        connection.execute(insert(table), rows)
        return
    columns, statement = _sqlite_insert(table)
    with _driver(connection, statement) as driver:
        driver.executemany(statement, [tuple(row[column] for column in columns) for row in rows])


@cache
def _sqlite_insert(table: Table) -> tuple[tuple[str, ...], str]:
    compiled = insert(table).compile(dialect=sqlite.dialect())
    return tuple(table.columns.keys()), str(compiled)


@contextmanager
def _driver(connection: Connection, statement: str) -> Iterator[Any]:
    """Give the driver's own connection; its errors are raised as SQLAlchemy's."""
    dialect = connection.dialect
    kind = dialect.loaded_dbapi.Error
    try:
        yield connection.connection.dbapi_connection
    except kind as error:
        raise DBAPIError.instance(statement, None, error, kind, dialect=dialect) from error
