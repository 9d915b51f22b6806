"""Rows whose key stands already: the same row again, or another one under its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.sources import ROW
from data.sql import sql_name

if TYPE_CHECKING:
    import duckdb

    from data.contracts import Contract

__all__ = ["mark_twins"]


def mark_twins(connection: duckdb.DuckDBPyConnection, rules: Contract, stored: str | None) -> None:
    """Find the staged rows whose key stands in the store or in an earlier row of the source.

    Parameters
    ----------
    connection : DuckDBPyConnection
        Holds table ``staged``; gets table ``twins`` (`ROW`, ``__twin``: ``same`` when all columns are equal
        to those of the row that was there first, else ``other``).
    rules : Contract
        Contract of the table.
    stored : str, optional
        SQL of the rows that other sources have stored.
    """
    key = sql_name(rules.key)
    is_stored = f"{key} IN (SELECT {key} FROM ({stored}))" if stored else "false"  # noqa: S608
    connection.execute(
        "CREATE TEMP TABLE repeated AS "  # noqa: S608
        f"SELECT * FROM (SELECT {ROW}, {key} AS key, {is_stored} AS is_stored, "
        f"first_value({ROW}) OVER (PARTITION BY {key} ORDER BY {ROW}) AS first FROM staged) "
        f"WHERE key IS NOT NULL AND (is_stored OR first < {ROW})"
    )
    within = _compared(connection, "staged", f"b.{ROW} = r.first", "NOT r.is_stored")
    # The keys are chosen first, so that only the few stored rows in question are read whole.
    across = (
        [_compared(connection, f"({stored})", f"b.{key} = r.key", "r.is_stored")] if stored else []  # noqa: S608
    )
    connection.execute(f"CREATE TEMP TABLE twins AS {' UNION ALL '.join([within, *across])}")


def _compared(connection: duckdb.DuckDBPyConnection, before: str, match: str, which: str) -> str:
    new = _columns(connection, "staged")
    old = _columns(connection, before)
    names = sorted((set(new) | set(old)) - {ROW, "__uncast"})
    # As text, because two sources may have given a rating factor different types.
    pairs = [
        f"{f'CAST(n.{sql_name(c)} AS VARCHAR)' if c in new else 'NULL'} IS NOT DISTINCT FROM "
        f"{f'CAST(b.{sql_name(c)} AS VARCHAR)' if c in old else 'NULL'}"
        for c in names
    ]
    return (
        f"SELECT r.{ROW}, CASE WHEN {' AND '.join(pairs)} THEN 'same' ELSE 'other' END AS __twin "  # noqa: S608
        f"FROM repeated r JOIN staged n ON n.{ROW} = r.{ROW} JOIN {before} b ON {match} WHERE {which}"
    )


def _columns(connection: duckdb.DuckDBPyConnection, relation: str) -> list[str]:
    found = connection.execute(f"DESCRIBE SELECT * FROM {relation} AS t").fetchall()  # noqa: S608
    return [str(row[0]) for row in found]
