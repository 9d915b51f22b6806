"""What a set of rows looks like in figures: missing values, time span, volume over time, shares of texts."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 (pydantic reads the annotations of what a run log holds)
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.sql import sql_name

if TYPE_CHECKING:
    import duckdb

    from data.contracts import Contract

__all__ = ["DAYS_KEPT", "LEVELS_KEPT", "RARE", "Statistics", "measure"]

DAYS_KEPT = 92
LEVELS_KEPT = 40
RARE = "(fewer than 5)"


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures of a set of rows; no row and no id can be had from them.

    Parameters
    ----------
    rows : int
        Rows that were judged, the broken ones that could be split into columns among them.
    nulls : dict of str to int
        Judged rows without a value, by column.
    oldest, newest : datetime or None
        Span of the event time of the stored rows, naive UTC; None when there are none.
    by_month, by_day : dict of str to int
        Stored rows by month, and by day for the `DAYS_KEPT` days up to the newest; days without rows are left
        out.
    levels : dict of str to dict of str to int
        Stored rows by text, for columns with at most `LEVELS_KEPT` texts. In personal and protected columns
        texts of fewer than 5 rows are counted together as `RARE`.
    """

    rows: int
    nulls: dict[str, int]
    oldest: dt.datetime | None
    newest: dt.datetime | None
    by_month: dict[str, int]
    by_day: dict[str, int]
    levels: dict[str, dict[str, int]]


def measure(
    connection: duckdb.DuckDBPyConnection, rules: Contract, *, stored: str, judged: str | None = None
) -> Statistics:
    """Measure a table.

    Parameters
    ----------
    connection : DuckDBPyConnection
        Knows the relations.
    rules : Contract
        Contract of the table.
    stored : str
        Relation of the rows as stored: the contract's columns and the rating factors.
    judged : str, optional
        Relation of all rows that were looked at; the stored ones when not given.
    """
    described = connection.execute(f"DESCRIBE {stored}").fetchall()
    types = {str(row[0]): str(row[1]) for row in described}
    counts = ", ".join(f"count(*) - count({sql_name(name)})" for name in types)
    total, *nulls = connection.execute(f"SELECT count(*), {counts} FROM {judged or stored}").fetchall()[0]  # noqa: S608
    time = sql_name(rules.event_time)
    oldest, newest = connection.execute(f"SELECT min({time}), max({time}) FROM {stored}").fetchall()[0]  # noqa: S608
    recent = f"WHERE {time}::DATE > (SELECT max({time})::DATE - {DAYS_KEPT} FROM {stored})"  # noqa: S608
    texts = [name for name, kind in types.items() if kind == "VARCHAR"]
    return Statistics(
        rows=int(total),
        nulls={name: int(count) for name, count in zip(types, nulls, strict=True)},
        oldest=oldest,
        newest=newest,
        by_month=_counts(connection, f"strftime({time}, '%Y-%m')", stored),
        by_day=_counts(connection, f"strftime({time}, '%Y-%m-%d')", f"{stored} {recent}"),
        levels=_levels(connection, rules, stored, texts),
    )


def _counts(connection: duckdb.DuckDBPyConnection, expression: str, source: str) -> dict[str, int]:
    found = connection.execute(
        f"SELECT {expression} AS what, count(*) FROM {source} GROUP BY what ORDER BY what"  # noqa: S608
    ).fetchall()
    return {str(what): int(rows) for what, rows in found if what is not None}


def _levels(
    connection: duckdb.DuckDBPyConnection, rules: Contract, stored: str, texts: list[str]
) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name in texts:
        quoted = sql_name(name)
        rows = connection.execute(
            f"SELECT {quoted}, count(*) AS rows FROM {stored} WHERE {quoted} IS NOT NULL "  # noqa: S608
            f"GROUP BY 1 ORDER BY rows DESC, 1 LIMIT {LEVELS_KEPT + 1}"
        ).fetchall()
        if len(rows) > LEVELS_KEPT:
            continue
        discreet = name in rules.names and rules.column(name).visibility in ("personal", "protected")
        levels: dict[str, int] = {}
        for text, count in rows:
            level = RARE if discreet and count < 5 else str(text)
            levels[level] = levels.get(level, 0) + int(count)
        found[name] = levels
    return found
