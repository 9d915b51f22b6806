"""One definition of a broken row, for ingest, for the simulator's tests and for a lake as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.contracts import CONTRACTS, Column, Contract, contract
from data.errors import ContractBreachError
from data.store import connect, sql_name, sql_text

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb

__all__ = ["check_lake", "count_breaches", "orphans", "reasons_sql", "require_sound"]


def reasons_sql(
    rules: Contract,
    *,
    uncast: str | None = None,
    latest: dt.datetime | None = None,
    more: Sequence[tuple[str, str]] = (),
) -> str:
    """Give the SQL expression that lists why a row breaks its contract; empty when it does not.

    Parameters
    ----------
    rules : Contract
        The contract.
    uncast : str, optional
        Column with the list of the contract's columns whose value could not be computed or cast. Such a
        column is reported once, as that, and not again as null.
    latest : datetime, optional
        No event may lie after it; not checked when not given.
    more : sequence of (str, str)
        Further boolean SQL and the reason that it is when true.

    Returns
    -------
    str
        DuckDB expression of type ``VARCHAR[]``.
    """
    cases: list[tuple[str, str]] = []
    for column in rules.columns:
        name = sql_name(column.name)
        is_uncast = f"list_contains({uncast}, {sql_text(column.name)})" if uncast else "false"
        if uncast:
            cases.append((is_uncast, f"{column.name}: not a {column.sql_type.lower()}"))
        if not column.nullable:
            word = "null key" if column.name == rules.key else "missing"
            cases.append((f"{name} IS NULL AND NOT {is_uncast}", f"{column.name}: {word}"))
        bounds = _out_of_bounds(column)
        if bounds:
            why = "negative money" if column.is_money else f"allowed is {column.allowed}"
            cases.append((bounds, f"{column.name}: {why}"))
        if column.past and latest is not None:
            cases.append((f"{name} > TIMESTAMP {sql_text(str(latest))}", f"{column.name}: in the future"))
    cases += [(f"NOT ({check.sql})", f"check: {check.name}") for check in rules.checks]
    cases += more
    whens = ", ".join(f"CASE WHEN {when} THEN {sql_text(why)} END" for when, why in cases)
    return f"list_filter([{whens}], lambda why: why IS NOT NULL)"


def _out_of_bounds(column: Column) -> str:
    name = sql_name(column.name)
    if column.levels:
        return f"{name} NOT IN ({', '.join(sql_text(level) for level in column.levels)})"
    parts = []
    if column.minimum is not None:
        parts.append(f"{name} < {_literal(column, column.minimum)}")
    if column.maximum is not None:
        parts.append(f"{name} > {_literal(column, column.maximum)}")
    if column.type == "double":
        parts.append(f"NOT isfinite({name})")
    return " OR ".join(parts)


def _literal(column: Column, value: object) -> str:
    return f"CAST({sql_text(str(value))} AS {column.sql_type})"


def count_breaches(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, int]:
    """Count the rows of a table that break its contract, by reason.

    Parameters
    ----------
    connection : DuckDBPyConnection
        From `data.store.connect`.
    name : str
        A contract's table that the connection shows.

    Returns
    -------
    dict of str to int
        Empty when every row is sound.
    """
    rules = contract(name)
    found = connection.execute(
        f"SELECT why, count(*) FROM (SELECT unnest({reasons_sql(rules)}) AS why FROM {name}) "  # noqa: S608
        "GROUP BY why ORDER BY why"
    ).fetchall()
    counts = {str(why): int(rows) for why, rows in found}
    twice = connection.execute(
        f"SELECT count(*) - count(DISTINCT {rules.key}) FROM {name} WHERE {rules.key} IS NOT NULL"  # noqa: S608
    ).fetchall()[0][0]
    return counts | ({f"{rules.key}: duplicate key": int(twice)} if twice else {})


def orphans(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, int]:
    """Count values that refer to no row of the table they refer to, where the lake holds that table.

    Returns
    -------
    dict of str to int
        ``"column -> table.column"`` to rows; only references that dangle.
    """
    shown = {str(row[0]) for row in connection.execute("SHOW TABLES").fetchall()}
    found: dict[str, int] = {}
    for reference in contract(name).references:
        if reference.table not in shown:
            continue
        rows = connection.execute(
            f"SELECT count(*) FROM {name} AS t WHERE t.{reference.column} IS NOT NULL AND NOT EXISTS "  # noqa: S608
            f"(SELECT 1 FROM {reference.table} AS o WHERE o.{reference.target} = t.{reference.column})"
        ).fetchall()[0][0]
        if rows:
            found[f"{reference.column} -> {reference.table}.{reference.target}"] = int(rows)
    return found


def check_lake(root: Path, memory_limit: str | None = None) -> dict[str, dict[str, int]]:
    """Check every table that a lake holds against its contract and its references.

    Parameters
    ----------
    root : Path
        The lake.
    memory_limit : str, optional
        Memory that DuckDB may use.

    Returns
    -------
    dict of str to dict of str to int
        Per table the breaches by reason; an empty dict is a sound table.
    """
    with connect(root, memory_limit) as connection:
        shown = {str(row[0]) for row in connection.execute("SHOW TABLES").fetchall()}
        names = [name for name in CONTRACTS if name in shown]
        return {name: count_breaches(connection, name) | orphans(connection, name) for name in names}


def require_sound(root: Path) -> None:
    """Refuse a lake with a row that breaks its contract.

    Raises
    ------
    ContractBreachError
        Naming table, reason and number of rows.
    """
    for name, breaches in check_lake(root).items():
        for why, rows in breaches.items():
            message = f"{rows} rows of table {name!r} break their contract: {why}"
            raise ContractBreachError(message)
