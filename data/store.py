"""The only parquet IO of the lake.

A table is a folder of immutable parquet files plus ``_manifest.json``. Readers open exactly the files that
the manifest lists, so replacing the manifest is the one moment at which a write becomes visible: a job
killed before it leaves files that nobody reads and that the next write sweeps away. Files are named by
their own checksum, so a new write never touches a file that an older manifest lists. One writer per table
at a time.
"""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data.contracts import CONTRACT_VERSION, CONTRACTS, Contract, contract
from data.errors import ContractError, StoreError, TableMissingError, hint
from data.manifest import (
    Manifest,
    TableFile,
    file_checksum,
    fsync_path,
    read_manifest,
    write_manifest,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

__all__ = [
    "TableWrite",
    "append_table",
    "connect",
    "open_writer",
    "read_table",
    "scan_batches",
    "sql_text",
    "table_files",
    "write_parquet_atomic",
    "write_table",
]

_STAGING = ".staging"
_COPY_OPTIONS = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"


def sql_text(text: str | Path) -> str:
    """Quote a text for SQL."""
    return "'" + str(text).replace("'", "''") + "'"


def sql_name(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


class TableWrite:
    """One write of a table: files are staged out of sight, then made visible together by the manifest.

    Leaving the ``with`` block commits; an exception leaves the table as it was.

    Parameters
    ----------
    root : Path
        The lake.
    name : str
        A contract's table, or another folder of the lake such as ``truth/customers``.
    created : datetime
        Time written into the manifest, naive UTC.
    source : str
        Name of the input of these rows. What the table held from this source is replaced.
    fingerprint : str
        Checksum or parameters of the input.
    keep_others : bool
        Keep the rows of other sources; otherwise the write is the whole table.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        *,
        created: dt.datetime,
        source: str,
        fingerprint: str = "",
        keep_others: bool = False,
    ) -> None:
        self.name = name
        self.folder = root / name
        self._created = created
        self._source = source
        self._fingerprint = fingerprint
        self._keep_others = keep_others
        self._staging = root / _STAGING / f"{os.getpid()}-{name.replace('/', '_')}-{uuid4().hex[:8]}"
        self._files: dict[Path, TableFile] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Make the staging folder and sweep those of dead processes."""
        _sweep(self._staging.parent)
        self._staging.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or drop everything after an exception."""
        try:
            if kind is None:
                self._commit()
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)

    def stage(self, suffix: str = "parquet") -> Path:
        """Give a fresh path out of sight to write one file to."""
        return self._staging / f"{uuid4().hex}.{suffix}"

    def add(self, path: Path, folder: str = "", rows: int | None = None) -> None:
        """Take a finished parquet file into the write; threads may call it at once.

        Parameters
        ----------
        path : Path
            File from `stage`.
        folder : str
            Partition folders, for example ``"product=motor/quoted_month=2024-02"``.
        rows : int, optional
            Rows of the file, read from its footer when not given.
        """
        count = pq.read_metadata(path).num_rows if rows is None else rows
        if count == 0:
            path.unlink()
            return
        fsync_path(path)
        checksum = file_checksum(path)
        name = f"{folder}/" * bool(folder) + f"part-{checksum[:16]}.parquet"
        with self._lock:
            self._files[path] = TableFile(name, count, path.stat().st_size, checksum, self._source)

    def _commit(self) -> None:
        before = _manifest_or_none(self.folder)
        kept = [f for f in before.files if f.source != self._source] if before and self._keep_others else []
        inputs = dict(before.inputs) if before and self._keep_others else {}
        inputs[self._source] = self._fingerprint
        files = {file.path: file for file in [*kept, *self._files.values()]}
        if len(files) != len(kept) + len(self._files):
            message = f"Two sources of table {self.name!r} gave the same file; were rows given twice?"
            raise StoreError(message)
        self.folder.mkdir(parents=True, exist_ok=True)
        for staged, file in self._files.items():
            target = self.folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(target)
        for folder in {(self.folder / file.path).parent for file in self._files.values()}:
            fsync_path(folder)
        ordered = tuple(files[path] for path in sorted(files))
        manifest = Manifest(self.name, self._created.isoformat(), inputs, _versions(), ordered)
        write_manifest(self.folder, manifest)
        _drop_unlisted(self.folder, set(files))


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


def copy_partitioned(connection: duckdb.DuckDBPyConnection, relation: str, write: TableWrite) -> None:
    """Copy a relation of a DuckDB connection into a table write, split by the contract's partition rule.

    Parameters
    ----------
    connection : DuckDBPyConnection
        Connection that knows `relation`.
    relation : str
        Name of a table or view with the contract's columns.
    write : TableWrite
        The open write.
    """
    rule = contract(write.name).partition
    if not rule.keys:
        path = write.stage()
        connection.execute(f"COPY {relation} TO {sql_text(path)} ({_COPY_OPTIONS})")
        write.add(path)
        return
    month = f", strftime({rule.month_of}, '%Y-%m') AS {rule.month_key}" if rule.month_of else ""
    folder = write.stage("d")
    connection.execute(
        f"COPY (SELECT *{month} FROM {relation}) TO {sql_text(folder)} "  # noqa: S608 (names from the contract)
        f"({_COPY_OPTIONS}, PARTITION_BY ({', '.join(rule.keys)}))"
    )
    for path in sorted(folder.rglob("*.parquet")):
        write.add(path, path.parent.relative_to(folder).as_posix())


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
        manifest = _manifest_or_none(root / name)
        if manifest is not None:
            connection.execute(f"CREATE VIEW {name} AS {_view_sql(root / name, manifest)}")
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


def scan_batches(
    path: Path, columns: Sequence[str] | None = None, batch_size: int = 65_536
) -> Iterator[pa.RecordBatch]:
    """Read a parquet file, or every parquet file below a folder in path order, in bounded memory.

    Parameters
    ----------
    path : Path
        File or folder.
    columns : sequence of str, optional
        Columns to read; all by default.
    batch_size : int
        Most rows of one batch.

    Yields
    ------
    pyarrow.RecordBatch

    Raises
    ------
    TableMissingError
        If there is nothing to read.
    """
    if path.is_dir():
        manifest = _manifest_or_none(path)
        files = [path / f.path for f in manifest.files] if manifest else sorted(path.rglob("*.parquet"))
    else:
        files = [path] if path.is_file() else []
    if not files:
        message = f"{path} is neither a parquet file nor a folder with some"
        raise TableMissingError(message)
    for file in files:
        with pq.ParquetFile(file) as reader:
            yield from reader.iter_batches(batch_size=batch_size, columns=columns and list(columns))


def write_parquet_atomic(data: pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch], path: Path) -> int:
    """Write one parquet file so that it is either whole or absent.

    Parameters
    ----------
    data : Table, RecordBatchReader or iterable of RecordBatch
        Rows; an iterable must give at least one batch.
    path : Path
        Target; an older file is replaced.

    Returns
    -------
    int
        Rows written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid4().hex[:8]}")
    try:
        rows = _write_batches(data, temporary)
        fsync_path(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_path(path.parent)
    return rows


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a parquet writer with the lake's settings (plain types, zstd)."""
    return pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, store_schema=False)


def _write_batches(data: pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch], path: Path) -> int:
    batches = iter(data.to_batches() if isinstance(data, pa.Table) else data)
    first = next(batches, None)
    if isinstance(data, pa.Table | pa.RecordBatchReader):
        schema = data.schema
    elif first is not None:
        schema = first.schema
    else:
        message = f"No batch to write to {path}, so its columns are unknown"
        raise StoreError(message)
    rows = 0
    with open_writer(path, schema) as writer:
        while first is not None:
            writer.write_batch(first)
            rows += first.num_rows
            first = next(batches, None)
    return rows


def _view_sql(folder: Path, manifest: Manifest) -> str:
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


def _manifest_or_none(folder: Path) -> Manifest | None:
    try:
        return read_manifest(folder)
    except TableMissingError:
        return None


def _versions() -> dict[str, str]:
    return {"contract": CONTRACT_VERSION, "duckdb": duckdb.__version__, "pyarrow": pa.__version__}


def _sweep(staging: Path) -> None:
    for folder in staging.glob("*-*-*"):
        owner = folder.name.split("-", 1)[0]
        if owner.isdigit() and int(owner) != os.getpid() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _drop_unlisted(folder: Path, listed: set[str]) -> None:
    for path in folder.rglob("part-*.parquet"):
        if path.relative_to(folder).as_posix() not in listed:
            path.unlink()
