"""Fitted features in the serving store: the values of recent months in SQLite, one indexed look-up away."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from data.store import scan_batches
from models.errors import FittedMissingError
from models.fitted import FITTED, fitted_files, fitted_months, month_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC
MICROSECOND = dt.timedelta(microseconds=1)
# A store that was not synced on the first of a month serves the month before, but nothing older.
KEPT_MONTHS = 2
LONGEST_STALE = dt.timedelta(days=62)


def copy_fitted(
    root: Path, connection: sqlite3.Connection, months: Sequence[dt.datetime] | None = None
) -> int:
    """Copy fitted features of the lake into a store.

    Parameters
    ----------
    root
        The lake.
    connection
        The store; the tables ``fitted`` and ``fitted_months`` are made anew. The caller commits.
    months
        Firsts of months; the newest two that have been fitted when absent.

    Returns
    -------
    int
        Rows copied.

    Raises
    ------
    FittedMissingError
        If one of the months has not been fitted.
    """
    chosen = fitted_months(root)[-KEPT_MONTHS:] if months is None else sorted(set(months))
    create_fitted(connection)
    rows = 0
    for month in chosen:
        connection.execute("INSERT INTO fitted_months VALUES (?)", (_micros(month),))
        for entity, key in {item.entity: item.key for item in FITTED.values()}.items():
            for path in fitted_files(root, month, entity):
                for batch in scan_batches(path, [key, "frailty"]):
                    rows += _insert(connection, entity, _micros(month), batch)
    return rows


def create_fitted(connection: sqlite3.Connection) -> None:
    """Make the tables of a store anew, without any month."""
    connection.execute("DROP TABLE IF EXISTS fitted")
    connection.execute("DROP TABLE IF EXISTS fitted_months")
    connection.execute("CREATE TABLE fitted_months (month_us INTEGER PRIMARY KEY)")
    connection.execute(
        "CREATE TABLE fitted (entity TEXT, month_us INTEGER, key INTEGER, frailty REAL NOT NULL, "
        "PRIMARY KEY (entity, month_us, key)) WITHOUT ROWID"
    )


def erase_fitted(connection: sqlite3.Connection, customer_id: int) -> None:
    """Remove a customer from a store."""
    connection.execute("DELETE FROM fitted WHERE entity = 'customers' AND key = ?", (customer_id,))


def _insert(connection: sqlite3.Connection, entity: str, month_us: int, batch: pa.RecordBatch) -> int:
    keys, values = (column.to_pylist() for column in batch.columns)
    lines = ((entity, month_us, key, value) for key, value in zip(keys, values, strict=True))
    connection.executemany("INSERT INTO fitted VALUES (?, ?, ?, ?)", lines)
    return len(keys)


def served_month(connection: sqlite3.Connection, as_of: dt.datetime) -> dt.datetime:
    """Say as of which month fitted features are read at a moment.

    It is the month of the moment; while that one has not been synced, the month before.

    Raises
    ------
    FittedMissingError
        If the store holds neither.
    """
    wanted = month_of(as_of)
    row = connection.execute(
        "SELECT max(month_us) FROM fitted_months WHERE month_us <= ?", (_micros(wanted),)
    ).fetchone()
    found = None if row[0] is None else EPOCH + int(row[0]) * MICROSECOND
    if found is None or wanted - found > LONGEST_STALE:
        raise FittedMissingError(
            f"fitted features as of {wanted:%Y-%m-%d} are not in the serving store, which holds "
            f"{'none' if found is None else f'{found:%Y-%m-%d}'}. Hint: premia sync"
        )
    return found


def read_fitted(
    connection: sqlite3.Connection, entity: str, key: int | None, as_of: dt.datetime
) -> float | None:
    """Read the frailty of one customer or shop at a moment, bit-equal to `attach_fitted`.

    Parameters
    ----------
    connection
        Store that `copy_fitted` filled.
    entity
        `customers` or `sellers`.
    key
        Whose; None is nobody.
    as_of
        Naive UTC.

    Returns
    -------
    float or None
        None where there is no record: unknown, not average.

    Raises
    ------
    FittedMissingError
        See `served_month`.
    """
    return _read(connection, entity, key, _micros(served_month(connection, as_of)))


def _read(connection: sqlite3.Connection, entity: str, key: int | None, month: int) -> float | None:
    if key is None:
        return None
    row = connection.execute(
        "SELECT frailty FROM fitted WHERE entity = ? AND month_us = ? AND key = ?", (entity, month, key)
    ).fetchone()
    return None if row is None else float(row[0])


def read_fitted_features(
    connection: sqlite3.Connection,
    names: Sequence[str],
    keys: Mapping[str, int | str | None],
    as_of: dt.datetime,
) -> dict[str, float | None]:
    """Read the fitted features of a product for one quote, by name.

    Parameters
    ----------
    connection
        Store that `copy_fitted` filled.
    names
        `Profile.fitted` of the product.
    keys
        Value by key column (``customer_id``, ``seller_id``).
    as_of
        Naive UTC.
    """
    if not names:
        return {}
    month = _micros(served_month(connection, as_of))
    found: dict[str, float | None] = {}
    for name in names:
        key = keys.get(FITTED[name].key)
        found[name] = _read(connection, FITTED[name].entity, None if key is None else int(key), month)
    return found


def _micros(moment: dt.datetime) -> int:
    return (moment - EPOCH) // MICROSECOND
