"""Reading and writing the tables of the lake.

A table is a folder of immutable parquet files plus ``_manifest.json``. Readers open exactly the files that
the manifest lists, so replacing the manifest is the one moment at which a write becomes visible: a job
killed before it leaves files that nobody reads and that the next write sweeps away. Files are named by
their own checksum, so a new write never touches a file that an older manifest lists. One writer per table
at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from data.contracts import CONTRACTS, Contract, contract
from data.errors import ContractError, hint
from data.manifest import Manifest, manifest_or_none, read_manifest
from data.parquet import open_writer, scan_batches, write_parquet_atomic
from data.sql import sql_name, sql_text
from data.table_write import TableWrite, copy_partitioned

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

__all__ = [
    "TableWrite",
    "append_table",
    "connect",
    "copy_partitioned",
    "open_writer",
    "read_table",
    "scan_batches",
    "sql_name",
    "sql_text",
    "table_files",
    "view_sql",
    "write_parquet_atomic",
    "write_table",
]


def write_table(
    root: Path,
    name: str,
    table: pa.Table,
    *,
    created: dt.datetime,
    source: str = "table",
    fingerprint: str = "",
    keep_others: bool = False,
) -> Manifest:
    """Write rows as a table of the lake.

    Parameters
    ----------
    root : Path
        The lake.
    name : str
        A contract's table.
    table : pyarrow.Table
        The contract's columns, and in open tables the rating factors beside them.
    created : datetime
        Time for the manifest, naive UTC.
    source, fingerprint : str
        Name and checksum of the input.
    keep_others : bool
        Keep rows of other sources instead of replacing the whole table.

    Returns
    -------
    Manifest
        The table as it now stands.

    Raises
    ------
    ContractError
        If columns are missing, unknown or not of the contract's type.
    """
    rules = contract(name)
    _check_schema(rules, table.schema)
    write = TableWrite(
        root, name, created=created, source=source, fingerprint=fingerprint, keep_others=keep_others
    )
    with duckdb.connect(config={"threads": 1}) as connection, write:
        connection.register("rows_in", table)
        copy_partitioned(connection, "rows_in", write)
    return read_manifest(root / name)


def append_table(root: Path, name: str, table: pa.Table, *, created: dt.datetime, source: str) -> Manifest:
    """Add rows of a further source to a table, replacing what that source gave before.

    See `write_table` for the parameters.
    """
    return write_table(root, name, table, created=created, source=source, keep_others=True)


def connect(
    root: Path, memory_limit: str | None = None, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """Open the lake for reading: an in-memory DuckDB with one view per table that the lake holds.

    Parameters
    ----------
    root : Path
        The lake.
    memory_limit : str, optional
        For example ``"1GB"``; DuckDB spills to disk beyond it.
    threads : int, optional
        Threads of DuckDB.

    Returns
    -------
    DuckDBPyConnection
        Views show the contract's columns in order, then the rating factors.
    """
    connection = duckdb.connect()
    connection.execute("SET preserve_insertion_order = true")
    if memory_limit is not None:
        connection.execute(f"SET memory_limit = {sql_text(memory_limit)}")
    if threads is not None:
        connection.execute(f"SET threads = {int(threads)}")
    for name in CONTRACTS:
        manifest = manifest_or_none(root / name)
        if manifest is not None:
            connection.execute(f"CREATE VIEW {name} AS {view_sql(root / name, manifest)}")
    return connection


def table_files(root: Path, name: str) -> list[Path]:
    """List the files of a table, for engines that read parquet themselves.

    Raises
    ------
    TableMissingError
        If the lake holds no such table.
    """
    folder = root / contract(name).name
    return [folder / file.path for file in read_manifest(folder).files]


def read_table(root: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table of the lake into memory.

    Parameters
    ----------
    root : Path
        The lake.
    name : str
        A contract's table.
    columns : sequence of str, optional
        Columns to read; all by default.

    Raises
    ------
    TableMissingError
        If the lake holds no such table.
    ContractError
        If the table has no such column.
    """
    read_manifest(root / contract(name).name)
    with connect(root) as connection:
        known = [row[0] for row in connection.execute(f"DESCRIBE {name}").fetchall()]
        for column in columns or ():
            if column not in known:
                message = f"Table {name!r} has no column {column!r}{hint(column, known)}"
                raise ContractError(message)
        chosen = ", ".join(sql_name(column) for column in columns or known)
        return connection.sql(f"SELECT {chosen} FROM {name}").to_arrow_table()  # noqa: S608 (checked above)


def view_sql(folder: Path, manifest: Manifest) -> str:
    """Give the SQL of a manifest's rows: the contract's columns, then the rating factors."""
    rules = contract(manifest.table)
    own = [f"CAST({sql_name(c.name)} AS {c.sql_type}) AS {sql_name(c.name)}" for c in rules.columns]
    if not manifest.files:
        empty = [f"CAST(NULL AS {c.sql_type}) AS {sql_name(c.name)}" for c in rules.columns]
        return f"SELECT {', '.join(empty)} WHERE false"  # noqa: S608 (names from the contract)
    files = ", ".join(sql_text(folder / file.path) for file in manifest.files)
    month = [rules.partition.month_key] if rules.partition.month_of else []
    extra = f"* EXCLUDE ({', '.join(sql_name(name) for name in [*rules.names, *month])})"
    rest = [extra] if rules.open else []
    return (
        f"SELECT {', '.join([*own, *rest])} FROM read_parquet([{files}], "  # noqa: S608 (quoted above)
        "hive_partitioning = true, hive_types_autocast = false, union_by_name = true)"
    )


def _check_schema(rules: Contract, schema: pa.Schema) -> None:
    for column in rules.columns:
        if column.name not in schema.names:
            message = f"Table {rules.name!r} needs column {column.name!r}; given: {', '.join(schema.names)}"
            raise ContractError(message)
        found = schema.field(column.name).type
        if found != column.type:
            message = f"Column {rules.name}.{column.name} is {found}, the contract says {column.type}"
            raise ContractError(message)
    extra = [name for name in schema.names if name not in rules.names]
    if extra and not rules.open:
        message = f"Table {rules.name!r} has no column {extra[0]!r}{hint(extra[0], rules.names)}"
        raise ContractError(message)
