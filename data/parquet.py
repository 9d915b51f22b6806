"""Plain parquet files: written whole or not at all, read in bounded memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import StoreError, TableMissingError
from data.manifest import fsync_path, manifest_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["open_writer", "scan_batches", "write_parquet_atomic"]


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
        manifest = manifest_or_none(path)
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
