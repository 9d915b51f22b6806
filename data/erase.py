"""Erase a customer from the lake: from every table, from the quarantine and from the truth beside them.

Each table changes in one step, when its manifest is replaced. The tables that others hang on come last, so
that an erasure killed at any moment can be run again and finds what is left to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.contracts import CONTRACTS
from data.errors import TableMissingError
from data.events import EVENTS, LEDGER
from data.lock import table_lock
from data.manifest import fsync_path, manifest_or_none
from data.parquet import open_writer, write_parquet_atomic
from data.sql import sql_text
from data.table_write import TableRewrite

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

    from data.manifest import TableFile

__all__ = ["ErasureReport", "erase_customer"]

# The ledger goes first, or an ingest beside the erasure could bring rows back from it.
# A policy's truth has no customer, so it goes while the policy still says whose it is; customers go last.
_ORDER = (
    LEDGER,
    "truth/policies",
    "truth/claims",
    "truth/sellers",
    "truth/customers",
    "claims",
    "quotes",
    "orders",
    "policies",
    "customers",
)
_OWNER = "owner_customer_id"
_KEYS = ("customer_id", "policy_id", _OWNER)


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What an erasure removed.

    Parameters
    ----------
    customer_id : int
        Who was erased.
    removed : dict of str to int
        Rows removed by table; ``quarantine/<table>`` for quarantined rows. Tables without such rows are left
        out, so an erasure that had nothing to do has an empty one.
    unlinked : int
        Shops of a simulated insurer whose owner was taken out.
    files : int
        Files rewritten or dropped.
    sources : tuple of str
        Inputs that gave the removed rows. Their files lie outside the lake: ingesting one of them again
        brings the customer back.
    """

    customer_id: int
    removed: dict[str, int] = field(default_factory=dict)
    unlinked: int = 0
    files: int = 0
    sources: tuple[str, ...] = ()


@dataclass(slots=True)
class _Tally:
    removed: dict[str, int] = field(default_factory=dict)
    unlinked: int = 0
    files: int = 0
    sources: set[str] = field(default_factory=set)

    def count(self, name: str, rows: int, source: str) -> None:
        if rows:
            self.removed[name] = self.removed.get(name, 0) + rows
        self.files += 1
        if name != LEDGER and source != EVENTS:
            self.sources.add(source)


def erase_customer(root: Path, customer_id: int, *, created: dt.datetime) -> ErasureReport:
    """Erase a customer from the lake.

    All other rows keep their content and their order. The run log and whatever else is kept in sums holds no
    ids and stays as it is.

    Parameters
    ----------
    root : Path
        The lake.
    customer_id : int
        The customer.
    created : datetime
        Time for the manifests, naive UTC.

    Returns
    -------
    ErasureReport

    Raises
    ------
    TableMissingError
        If there is no such lake.
    TableLockedError
        If a table is being written; what was erased until then stays erased, run it again.
    """
    if not root.is_dir():
        message = f"There is no lake at {root}"
        raise TableMissingError(message)
    tally = _Tally()
    with duckdb.connect() as connection:
        policies = _policies(connection, root, customer_id)
        for name in _ORDER:
            _erase_from_table(
                connection, TableRewrite(root, name, created=created), customer_id, policies, tally
            )
    for name in CONTRACTS:
        _erase_from_quarantine(root, name, customer_id, tally)
    sources = tuple(sorted(tally.sources))
    return ErasureReport(customer_id, tally.removed, tally.unlinked, tally.files, sources)


def _policies(connection: duckdb.DuckDBPyConnection, root: Path, customer_id: int) -> list[int]:
    manifest = manifest_or_none(root / "policies")
    if manifest is None or not manifest.files:
        return []
    files = ", ".join(sql_text(root / "policies" / file.path) for file in manifest.files)
    found = connection.execute(
        f"SELECT policy_id FROM read_parquet([{files}], union_by_name = true) WHERE customer_id = ?",  # noqa: S608
        [customer_id],
    ).fetchall()
    return [int(row[0]) for row in found]


def _erase_from_table(
    connection: duckdb.DuckDBPyConnection,
    rewrite: TableRewrite,
    customer_id: int,
    policies: list[int],
    tally: _Tally,
) -> None:
    # Entering sweeps what killed writers left, and leaving drops files that no manifest lists any more.
    with rewrite:
        manifest = manifest_or_none(rewrite.folder)
        by_key: dict[str, list[TableFile]] = {key: [] for key in _KEYS}
        for file in manifest.files if manifest else ():
            columns = pq.read_schema(rewrite.folder / file.path).names
            for key in _KEYS:
                if key in columns:
                    by_key[key].append(file)
                    break
        for key, files in by_key.items():
            values = policies if key == "policy_id" else [customer_id]
            for file in _naming(connection, rewrite.folder, files, key, values):
                staged = rewrite.stage()
                change = _without_owner if key == _OWNER else _without_rows
                rows, changed = _rewrite(rewrite.folder / file.path, staged, key, values, change)
                rewrite.replace(file, staged, rows)
                if key == _OWNER:
                    tally.unlinked += changed
                tally.count(rewrite.name, file.rows - rows, file.source)


def _naming(
    connection: duckdb.DuckDBPyConnection, folder: Path, files: list[TableFile], key: str, values: list[int]
) -> list[TableFile]:
    """Pick the files with a row of these; the statistics of most files rule them out unread."""
    if not files or not values:
        return []
    listed = ", ".join(sql_text(folder / file.path) for file in files)
    wanted = ", ".join(str(int(value)) for value in values)
    found = connection.execute(
        f"SELECT DISTINCT filename FROM read_parquet([{listed}], filename = true, union_by_name = true, "  # noqa: S608
        f"hive_partitioning = false) WHERE {key} IN ({wanted})"
    ).fetchall()
    names = {str(row[0]) for row in found}
    return [file for file in files if str(folder / file.path) in names]


def _without_rows(table: pa.Table, key: str, mine: pa.Array) -> pa.Table:
    return table.filter(pc.invert(mine))


def _without_owner(table: pa.Table, key: str, mine: pa.Array) -> pa.Table:
    owner = table.column(key)
    nobody = pa.scalar(0, owner.type)  # a shop without an owner has 0 there
    return table.set_column(table.schema.get_field_index(key), key, pc.if_else(mine, nobody, owner))


def _rewrite(
    path: Path,
    target: Path,
    key: str,
    values: list[int],
    change: Callable[[pa.Table, str, pa.Array], pa.Table],
) -> tuple[int, int]:
    """Write a file anew, row group by row group; give the rows it has now and those that were found."""
    rows = found = 0
    with pq.ParquetFile(path) as reader, open_writer(target, reader.schema_arrow) as writer:
        for group in range(reader.num_row_groups):
            table = reader.read_row_group(group)
            mine = pc.is_in(table.column(key), pa.array(values, table.schema.field(key).type))
            found += pc.sum(mine).as_py() or 0
            kept = change(table, key, mine)
            rows += kept.num_rows
            if kept.num_rows:
                writer.write_table(kept)
    return rows, found


def _erase_from_quarantine(root: Path, name: str, customer_id: int, tally: _Tally) -> None:
    """Remove quarantined rows of the customer.

    They are those whose mapped customer it is. Where the customer could not be had (a record that does not
    split into columns), a row that names the number as a whole word is taken to be the customer's: rather a
    broken row too many than one of the customer left.
    """
    folder = root / "quarantine" / name
    if not folder.is_dir():
        return
    word = rf"(^|[^0-9A-Za-z_.]){customer_id}([^0-9A-Za-z_.]|$)"
    with table_lock(root, name):
        for path in sorted(folder.glob("*.parquet")):
            table = pq.read_table(path)
            unsure = pc.match_substring_regex(table.column("row"), word)
            if "customer_id" in table.column_names:
                mapped = table.column("customer_id")
                mine = pc.if_else(pc.is_null(mapped), unsure, pc.equal(mapped, customer_id))
            else:
                mine = unsure
            kept = table.filter(pc.invert(pc.fill_null(mine, False)))  # noqa: FBT003
            if kept.num_rows == table.num_rows:
                continue
            if kept.num_rows:
                write_parquet_atomic(kept, path)
            else:
                path.unlink()
                fsync_path(folder)
            tally.count(f"quarantine/{name}", table.num_rows - kept.num_rows, path.stem)
