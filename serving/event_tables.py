"""How an event of a source lies in SQLite: the same in the snapshot and for events that arrive later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from features.history import KNOWN

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Set

    from features.spec import Source

Value = int | str | None


def event_columns(source: Source) -> list[str]:
    """Name the columns of a source's events beside the time, the second clock first where there is one."""
    clocks = [] if source.known is None else [KNOWN]
    return [*clocks, *source.keys, *(c for c in (*source.levels, *source.measures) if c not in source.keys)]


def create_event_table(store: sqlite3.Connection, source: Source) -> None:
    """Create the table of a source with an index on each id and the time."""
    table = f"events_{source.name}"
    store.execute(f"CREATE TABLE {table} (time_us INTEGER NOT NULL, {', '.join(event_columns(source))})")
    for key in source.keys:
        if key.endswith("_id"):
            store.execute(f"CREATE INDEX {table}_{key} ON {table} ({key}, time_us)")


def insert_statement(source: Source, *, numbered: bool = False) -> str:
    """Give the statement that inserts one event of a source, its row number first when it is to have one."""
    columns = ["rowid"] * numbered + ["time_us", *event_columns(source)]
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO events_{source.name} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - from definitions


def event_tuple(
    source: Source, table: str, times: Set[str], row: Mapping[str, Value]
) -> tuple[Value, ...] | None:
    """Lay a new row of a table out as an event of a source; None when it is none.

    Parameters
    ----------
    source
        The source.
    table, times
        Table of the row, and the time columns that are new in it.
    row
        Column -> value; times are microseconds since 1970.
    """
    known = source.known or source.time
    if source.table != table or known not in times or None in {row.get(source.time), row.get(known)}:
        return None
    if any(row.get(item.column) not in item.values for item in source.where):
        return None
    row = {**row, KNOWN: row[known]}
    return (row[source.time], *(row.get(column) for column in event_columns(source)))
