"""Writes of a table: files are staged out of sight, then made visible together by the manifest."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data.contracts import CONTRACT_VERSION, contract
from data.errors import StoreError
from data.lock import table_lock
from data.manifest import Manifest, TableFile, file_checksum, fsync_path, manifest_or_none, write_manifest
from data.sql import sql_text

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["COPY_OPTIONS", "TableRewrite", "TableWrite", "copy_partitioned"]

_STAGING = ".staging"
COPY_OPTIONS = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"


class _Staged:
    """An open write: the lock of the table, a staging folder, and what was staged."""

    def __init__(self, root: Path, name: str, created: dt.datetime) -> None:
        self.name = name
        self.folder = root / name
        self._root = root
        self._created = created
        self._staging = root / _STAGING / f"{os.getpid()}-{self._label}-{uuid4().hex[:8]}"
        self._files: dict[Path, TableFile] = {}
        self._gone: set[str] = set()
        self._guard = threading.Lock()
        self._held = ExitStack()

    @property
    def _label(self) -> str:
        return self.name.replace("/", "_")

    def __enter__(self) -> Self:
        """Lock the table, make the staging folder and sweep those of dead processes."""
        with ExitStack() as held:
            held.enter_context(table_lock(self._root, self.name))
            _sweep(self._staging.parent, self._label)
            held.callback(shutil.rmtree, self._staging, ignore_errors=True)
            self._staging.mkdir(parents=True)
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or drop everything after an exception."""
        with self._held:
            if kind is None:
                self._commit()

    def stage(self, suffix: str = "parquet") -> Path:
        """Give a fresh path out of sight to write one file to."""
        return self._staging / f"{uuid4().hex}.{suffix}"

    def replace(self, old: TableFile, path: Path, rows: int) -> None:
        """Put a staged file in the place of another; with no rows the other one is dropped alone."""
        with self._guard:
            before = next((staged for staged, file in self._files.items() if file == old), None)
            if before is None:
                self._gone.add(old.path)
            else:
                del self._files[before]
        self._take(path, Path(old.path).parent.as_posix().removeprefix("."), rows, old.source)

    def _take(self, path: Path, folder: str, rows: int | None, source: str) -> None:
        count = pq.read_metadata(path).num_rows if rows is None else rows
        if count == 0:
            path.unlink()
            return
        fsync_path(path)
        checksum = file_checksum(path)
        name = f"{folder}/" * bool(folder) + f"part-{checksum[:16]}.parquet"
        with self._guard:
            self._files[path] = TableFile(name, count, path.stat().st_size, checksum, source)

    def _commit(self) -> None:
        raise NotImplementedError

    def _publish(self, kept: Sequence[TableFile], inputs: dict[str, str]) -> None:
        """Move the staged files to their places and put the manifest over the one before."""
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


class TableWrite(_Staged):
    """One write of a table from one source.

    Entering locks the table, leaving the ``with`` block commits; an exception leaves the table as it was.

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

    Raises
    ------
    TableLockedError
        On entering, if another writer holds the table.
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
        super().__init__(root, name, created)
        self._source = source
        self._replaced = {source: fingerprint}
        self._keep_others = keep_others

    def take_over(self, source: str, fingerprint: str) -> None:
        """Replace what the table holds from a further source, too."""
        self._replaced[source] = fingerprint

    def listed(self) -> list[tuple[Path, TableFile]]:
        """Give every file that a commit would publish now, and where it lies."""
        kept = self._kept(manifest_or_none(self.folder))
        return [*((self.folder / file.path, file) for file in kept), *self._files.items()]

    def add(self, path: Path, folder: str = "", rows: int | None = None, source: str | None = None) -> None:
        """Take a finished parquet file into the write; threads may call it at once.

        Parameters
        ----------
        path : Path
            File from `stage`.
        folder : str
            Partition folders, for example ``"product=motor/quoted_month=2024-02"``.
        rows : int, optional
            Rows of the file, read from its footer when not given.
        source : str, optional
            Source of the rows when it is not that of the write.
        """
        self._take(path, folder, rows, source or self._source)

    def _kept(self, before: Manifest | None) -> list[TableFile]:
        if before is None or not self._keep_others:
            return []
        gone = self._gone
        return [file for file in before.files if file.source not in self._replaced and file.path not in gone]

    def _commit(self) -> None:
        before = manifest_or_none(self.folder)
        inputs = dict(before.inputs) if before and self._keep_others else {}
        self._publish(self._kept(before), inputs | self._replaced)


class TableRewrite(_Staged):
    """Replace single files of a table in one step, each by one with fewer or changed rows of its source.

    Parameters
    ----------
    root, name, created
        See `TableWrite`. The table must exist.
    """

    def __init__(self, root: Path, name: str, *, created: dt.datetime) -> None:
        super().__init__(root, name, created)

    def _commit(self) -> None:
        before = manifest_or_none(self.folder)
        if before is None:
            return
        if self._gone:
            self._publish([file for file in before.files if file.path not in self._gone], dict(before.inputs))
        else:
            # A rewrite killed after its manifest leaves the old files; they must not outlive this one.
            _drop_unlisted(self.folder, {file.path for file in before.files})


def copy_partitioned(
    connection: duckdb.DuckDBPyConnection, relation: str, write: TableWrite, source: str | None = None
) -> None:
    """Copy a relation of a DuckDB connection into a table write, split by the contract's partition rule.

    Parameters
    ----------
    connection : DuckDBPyConnection
        Connection that knows `relation`.
    relation : str
        Name of a table or view with the contract's columns.
    write : TableWrite
        The open write.
    source : str, optional
        Source of the rows when it is not that of the write.
    """
    rule = contract(write.name).partition
    if not rule.keys:
        path = write.stage()
        connection.execute(f"COPY {relation} TO {sql_text(path)} ({COPY_OPTIONS})")
        write.add(path, source=source)
        return
    month = f", strftime({rule.month_of}, '%Y-%m') AS {rule.month_key}" if rule.month_of else ""
    folder = write.stage("d")
    connection.execute(
        f"COPY (SELECT *{month} FROM {relation}) TO {sql_text(folder)} "  # noqa: S608 (names from the contract)
        f"({COPY_OPTIONS}, PARTITION_BY ({', '.join(rule.keys)}))"
    )
    for path in sorted(folder.rglob("*.parquet")):
        write.add(path, path.parent.relative_to(folder).as_posix(), source=source)


def _versions() -> dict[str, str]:
    return {"contract": CONTRACT_VERSION, "duckdb": duckdb.__version__, "pyarrow": pa.__version__}


def _sweep(staging: Path, label: str) -> None:
    """Drop the folders of dead processes, and all of the table whose lock is held now."""
    for folder in staging.glob("*-*-*"):
        owner, _, rest = folder.name.partition("-")
        dead = owner.isdigit() and int(owner) != os.getpid() and not Path(f"/proc/{owner}").exists()
        if dead or rest.rpartition("-")[0] == label:
            shutil.rmtree(folder, ignore_errors=True)


def _drop_unlisted(folder: Path, listed: set[str]) -> None:
    for path in folder.rglob("part-*.parquet"):
        if path.relative_to(folder).as_posix() not in listed:
            path.unlink()
