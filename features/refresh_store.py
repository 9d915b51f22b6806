"""The files of a profile table: a base in buckets and a delta that stands over it.

A day changes a tenth of the rows, spread over all buckets. Those go to the delta; once it holds a good part
of the table, or a row must vanish, the whole is written as a new base. Readers see one row per key.
"""

# ruff: noqa: S608
# Every name in the text comes from checked definitions, and every path is quoted.

from __future__ import annotations

import datetime as dt
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from data.contracts import contract
from data.manifest import file_checksum, fsync_path
from data.sql import sql_text
from features.refresh_inputs import EPOCH, drop_pins
from features.refresh_manifest import (
    BUCKETS,
    INPUTS,
    PartFile,
    ProfileManifest,
    profile_folder,
    write_profile_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import duckdb

    from features.spec import Entity, FeatureSpec

ONE_FILE_ROWS = 1 << 18
STAGING = ".staging-"
# A table that is read and written again every day: lz4 costs a third more space and reads a third faster.
COPY_OPTIONS = "FORMAT parquet, COMPRESSION lz4_raw"


def key_types(spec: FeatureSpec, entity: Entity) -> dict[str, pa.DataType]:
    """Give the types of the keys of an entity, from the contract of a table that has them."""
    table = next(source.table for source in spec.sources if set(entity.keys) <= set(source.keys))
    return {key: contract(table).column(key).type for key in entity.keys}


def bucket_sql(key: str, kind: pa.DataType) -> str:
    """Write the bucket of a key: a multiplicative hash (Knuth), the same in every engine and version."""
    if not pa.types.is_integer(kind):
        return f"CAST(md5_number_lower({key}) % {BUCKETS} AS INTEGER)"
    folded = f"(xor({key}, {key} >> 31) & 2147483647)"
    bits = BUCKETS.bit_length() - 1
    return f"CAST((({folded} * 2654435761) & 4294967295) >> {32 - bits} AS INTEGER)"


def rows_sql(root: Path, manifest: ProfileManifest, columns: Sequence[str] | None = None) -> str:
    """Write the rows of a profile table as SQL: the keys and stored columns, one row per key."""
    folder = profile_folder(root, manifest.entity)
    chosen = ", ".join([*manifest.keys, *(manifest.stored if columns is None else columns)])
    base, delta = (_files(folder, manifest.layer(name)) for name in ("base", "delta"))
    if base is None:
        raise AssertionError(f"{folder} lists no base")  # a run always writes one, though it be empty
    if delta is None:
        return f"SELECT {chosen} FROM {base}"
    match = " AND ".join(f"d.{key} = b.{key}" for key in manifest.keys)
    return (
        f"SELECT {chosen} FROM {base} b WHERE NOT EXISTS (SELECT 1 FROM {delta} d WHERE {match})\n"
        f"UNION ALL SELECT {chosen} FROM {delta}"
    )


def _files(folder: Path, files: Sequence[PartFile]) -> str | None:
    if not files:
        return None
    paths = ", ".join(sql_text(folder / file.path) for file in files)
    return f"read_parquet([{paths}], hive_partitioning = false)"


def delta_rows_sql(root: Path, manifest: ProfileManifest) -> str | None:
    """Write the rows of the delta alone as SQL; None when there is none."""
    files = _files(profile_folder(root, manifest.entity), manifest.layer("delta"))
    return files and f"SELECT {', '.join([*manifest.keys, *manifest.stored])} FROM {files}"


class PartWriter:
    """Writes rows out of sight; `move_in` puts the files to their places, still unlisted.

    Parameters
    ----------
    folder
        Folder of the profile table, whose lock is held.
    as_of_us
        As-of time of the run, which names its folder.
    """

    def __init__(self, folder: Path, as_of_us: int) -> None:
        self._folder = folder
        self._run = f"as_of={_label(as_of_us)}"
        self._staging = folder / f"{STAGING}{os.getpid()}"
        self._files: dict[Path, PartFile] = {}

    @property
    def spill(self) -> Path:
        """Folder where the engine may put what does not fit its memory."""
        return self._staging / "spill"

    def prepare(self) -> None:
        """Sweep what killed runs left behind, and make the staging folder."""
        for left in self._folder.glob(f"{STAGING}*"):
            shutil.rmtree(left, ignore_errors=True)
        self.spill.mkdir(parents=True)

    def write(self, con: duckdb.DuckDBPyConnection, rows: str, layer: str, *, split: bool) -> None:
        """Write the rows of a query, which has a column ``bucket``, as the files of a layer."""
        target = self._staging / layer
        if split:
            con.execute(f"COPY ({rows}) TO {sql_text(target)} ({COPY_OPTIONS}, PARTITION_BY (bucket))")
        found = sorted(target.rglob("*.parquet"))
        if not found:
            target.mkdir(exist_ok=True)
            path = target / "rows.parquet"
            con.execute(f"COPY (SELECT * FROM ({rows})) TO {sql_text(path)} ({COPY_OPTIONS})")
            found = [path]
        with ThreadPoolExecutor(4) as pool:
            parts = pool.map(lambda path: self._finish(path, target, layer), found)
            self._files.update(zip(found, parts, strict=True))

    def _finish(self, path: Path, target: Path, layer: str) -> PartFile:
        fsync_path(path)
        checksum = file_checksum(path)
        below = path.parent.relative_to(target).as_posix().removeprefix(".")
        name = "/".join(filter(None, (self._run, below, f"part-{checksum[:16]}.parquet")))
        return PartFile(name, layer, pq.read_metadata(path).num_rows, path.stat().st_size, checksum)

    def move_in(self) -> tuple[PartFile, ...]:
        """Move the files to their places; until the manifest lists them nobody reads them."""
        for staged, file in self._files.items():
            place = self._folder / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(place)
        for folder in {(self._folder / file.path).parent for file in self._files.values()}:
            fsync_path(folder)
        return tuple(sorted(self._files.values(), key=lambda file: file.path))

    def close(self) -> None:
        """Drop the staging folder."""
        shutil.rmtree(self._staging, ignore_errors=True)


def commit(root: Path, manifest: ProfileManifest) -> None:
    """Make a run visible, then drop what only the run before needed."""
    folder = profile_folder(root, manifest.entity)
    write_profile_manifest(folder, manifest)
    _drop_unlisted(folder, {file.path for file in manifest.files})
    drop_pins(root, manifest.entity, manifest.inputs)


def damaged(root: Path, manifest: ProfileManifest) -> bool:
    """Tell whether a file of the table is missing or not what the manifest says."""
    folder = profile_folder(root, manifest.entity)

    def sound(file: PartFile) -> bool:
        path = folder / file.path
        return path.is_file() and file_checksum(path) == file.sha256

    with ThreadPoolExecutor(2) as pool:
        return not all(pool.map(sound, manifest.files))


def _drop_unlisted(folder: Path, listed: Iterable[str]) -> None:
    kept = {folder / path for path in listed}
    pins = folder / INPUTS
    for path in folder.rglob("part-*.parquet"):
        if path not in kept and pins not in path.parents:
            path.unlink()
    for path in sorted(folder.glob("as_of=*/**/"), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


def _label(as_of_us: int) -> str:
    time = EPOCH + dt.timedelta(microseconds=as_of_us)
    return time.strftime("%Y-%m-%d" if time.time() == dt.time() else "%Y-%m-%dT%H%M%S.%f")
