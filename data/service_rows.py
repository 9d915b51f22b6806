"""Rows that a service gives to a table of the lake: all that it has given are replaced together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data.checks import reasons_sql
from data.contracts import contract
from data.events import FUTURE_TOLERANCE
from data.manifest import fsync_path, manifest_or_none
from data.sql import sql_text
from data.store import view_sql
from data.table_write import TableWrite, copy_partitioned

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Replaced", "replace_rows"]


@dataclass(frozen=True, slots=True)
class Replaced:
    """What became of rows.

    Parameters
    ----------
    stored, waiting : int
        Rows in the table, and rows that break its contract as things are.
    reasons : dict of str to int
        Why they wait; one may have several reasons.
    quarantine : Path or None
        File of those that wait, laid out as that of an ingest.
    """

    stored: int
    waiting: int
    reasons: dict[str, int]
    quarantine: Path | None


def replace_rows(
    root: Path, name: str, source: str, rows: Sequence[pa.Table], *, created: dt.datetime
) -> Replaced:
    """Make a table hold these rows of a source, and no others of it; done again it changes nothing.

    Parameters
    ----------
    root : Path
        The lake.
    name : str
        Table.
    source : str
        Whose rows they are; those of other sources stay.
    rows : sequence of pyarrow.Table
        Columns of the contract, and further ones, which may differ between the tables.
    created : datetime
        Now, naive UTC: for the manifest, and no event may lie more than an hour after it.

    Raises
    ------
    TableLockedError
        If another process is writing the table.
    """
    rules = contract(name)
    stored, reasons, waiting = 0, dict[str, int](), []
    write = TableWrite(root, name, created=created, source=source, keep_others=True)
    with write, duckdb.connect(config={"threads": 1}) as connection:
        more = _known(connection, root, write)
        why = reasons_sql(rules, latest=created + FUTURE_TOLERANCE, more=more)
        for table in rows:
            connection.register("given", table)
            connection.execute(
                f"CREATE OR REPLACE TABLE judged AS SELECT *, {why} AS reasons FROM given "  # noqa: S608
                f"ORDER BY {rules.key}"
            )
            connection.execute(
                "CREATE OR REPLACE VIEW sound AS SELECT * EXCLUDE (reasons) FROM judged "
                "WHERE len(reasons) = 0"
            )
            copy_partitioned(connection, "sound", write)
            bad = connection.execute(
                "SELECT reasons, CAST(to_json(judged) AS VARCHAR) AS row, customer_id FROM judged "
                "WHERE len(reasons) > 0"
            ).fetchall()
            stored += table.num_rows - len(bad)
            waiting += bad
        for one in waiting:
            for reason in one[0]:
                reasons[reason] = reasons.get(reason, 0) + 1
        target = _quarantine(root, name, source, write, waiting)
    return Replaced(stored, len(waiting), dict(sorted(reasons.items())), target)


def _known(connection: duckdb.DuckDBPyConnection, root: Path, write: TableWrite) -> list[tuple[str, str]]:
    """Give what rows must not clash with: keys of other sources, and customers that nobody knows."""
    key = contract(write.name).key
    more = []
    if others := [sql_text(path) for path, _ in write.listed()]:
        connection.execute(
            f"CREATE VIEW others AS SELECT {key} FROM read_parquet([{', '.join(others)}], "  # noqa: S608
            "union_by_name = true, hive_partitioning = false)"
        )
        more.append((f"{key} IN (SELECT {key} FROM others)", f"{key}: stands in another source"))  # noqa: S608
    customers = manifest_or_none(root / "customers")
    if customers is not None:
        connection.execute(f"CREATE VIEW customers AS {view_sql(root / 'customers', customers)}")
        unknown = "customer_id NOT IN (SELECT customer_id FROM customers)"
        more.append((unknown, "customer_id: unknown customer"))
    return more


def _quarantine(
    root: Path, name: str, source: str, write: TableWrite, waiting: Sequence[tuple[list[str], str, int]]
) -> Path | None:
    """Replace the quarantine of the source, before the table is committed."""
    target = root / "quarantine" / name / f"{source}.parquet"
    if not waiting:
        target.unlink(missing_ok=True)
        return None
    staged = write.stage()
    table = pa.table(
        {
            "source_row": pa.array(range(1, len(waiting) + 1), pa.int64()),
            "reasons": pa.array([one[0] for one in waiting], pa.list_(pa.string())),
            "row": pa.array([one[1] for one in waiting], pa.string()),
            "customer_id": pa.array([one[2] for one in waiting], pa.int64()),
        }
    )
    pq.write_table(table, staged, compression="zstd")
    fsync_path(staged)
    target.parent.mkdir(parents=True, exist_ok=True)
    staged.replace(target)
    fsync_path(target.parent)
    return target
