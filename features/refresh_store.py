"""The files of a profile table: a base in buckets, and patches of the runs since over it.

A day changes a tenth of the rows, spread over all buckets, but few columns of each. A patch holds what one
run changes in the columns of one window: what to add to counts and sums, the new value of all others. Once
there are many, or a row must vanish, the whole is written as a new base. Readers see one row per key.
"""

# ruff: noqa: S608
# Every name in the text comes from checked definitions, and every path is quoted.

from __future__ import annotations

import datetime as dt
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from data.contracts import contract
from data.manifest import file_checksum, fsync_path
from data.sql import sql_text
from features.refresh_inputs import EPOCH, drop_pins
from features.refresh_manifest import (
    BUCKETS,
    PartFile,
    PatchGroup,
    ProfileManifest,
    profile_folder,
    write_profile_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import duckdb

    from features.spec import Entity, FeatureSpec

STAGING = ".staging-"
# The file system writes out together what is flushed at the same time.
FLUSHES = 16
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


@dataclass(frozen=True, slots=True)
class Layers:
    """Relations that hold the rows of a profile table.

    Parameters
    ----------
    keys
        Columns that identify a row.
    groups
        Columns that patches hold.
    base
        Relations of whole rows.
    patches
        Relations of patches, by group.
    """

    keys: tuple[str, ...]
    groups: tuple[PatchGroup, ...]
    base: tuple[str, ...]
    patches: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, root: Path, manifest: ProfileManifest) -> Layers:
        """Give the files of a profile table."""
        folder = profile_folder(root, manifest.entity)
        base, *patches = (
            _files(folder, manifest.layer(name))
            for name in ("base", *(part.name for part in manifest.groups))
        )
        if not base:
            raise AssertionError(f"{folder} lists no base")  # a run always writes one, though it be empty
        named = {part.name: found for part, found in zip(manifest.groups, patches, strict=True) if found}
        return cls(manifest.keys, manifest.groups, base, named)

    def under(self, base: Sequence[str], patches: dict[str, str]) -> Layers:
        """Add the relations of a later run."""
        stacked = self.patches | {name: (*self.patches.get(name, ()), new) for name, new in patches.items()}
        return replace(self, base=(*self.base, *base), patches=stacked)

    def sql(self, columns: Sequence[str], among: str | None = None) -> str:
        """Write the rows as SQL: the keys and some columns, one row per key.

        Parameters
        ----------
        columns
            Aggregates wanted.
        among
            Relation of keys, to give only their rows.
        """
        keys, only = (
            ", ".join(self.keys),
            f" SEMI JOIN {among} USING ({', '.join(self.keys)})" if among else "",
        )
        values = {name: f"b.{name}" for name in columns}
        joins: list[str] = []
        for part in self.groups:
            sums, edges = ([name for name in names if name in values] for names in (part.sums, part.edges))
            if part.name not in self.patches or not (sums or edges):
                continue
            alias = f"p{len(joins)}"
            values |= {name: f"b.{name} + COALESCE({alias}.{name}, 0)" for name in sums}
            values |= {
                name: f"CASE WHEN {alias}.run IS NULL THEN b.{name} ELSE {alias}.{name} END" for name in edges
            }
            rows = _union([*self.keys, "run", *sums, *edges], self.patches[part.name])
            joins.append(f"LEFT JOIN ({self._patched(rows + only, sums, edges)}) {alias} USING ({keys})")
        base = f"{_union([*self.keys, *columns], self.base)}{only}"
        chosen = ", ".join([keys, *(f"{text} AS {name}" for name, text in values.items())])
        return f"SELECT {chosen} FROM ({base}) b\n" + "\n".join(joins)

    def _patched(self, rows: str, sums: Sequence[str], edges: Sequence[str]) -> str:
        """Merge the patches of several runs."""
        keys = ", ".join(self.keys)
        values = [f"CAST(SUM({name}) AS BIGINT) AS {name}" for name in sums]
        values += [f"arg_max_null({name}, run) AS {name}" for name in edges]
        return f"SELECT {keys}, MAX(run) AS run, {', '.join(values)} FROM ({rows}) GROUP BY {keys}"


def _union(columns: Sequence[str], relations: Sequence[str]) -> str:
    rows = " UNION ALL ".join(f"SELECT {', '.join(columns)} FROM {relation}" for relation in relations)
    return f"SELECT * FROM ({rows})"


def _files(folder: Path, files: Sequence[PartFile]) -> tuple[str, ...]:
    if not files:
        return ()
    paths = ", ".join(sql_text(folder / file.path) for file in files)
    return (f"read_parquet([{paths}], hive_partitioning = false)",)


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
        self._staged: dict[Path, str] = {}

    @property
    def spill(self) -> Path:
        """Folder where the engine may put what does not fit its memory."""
        return self._staging / "spill"

    def prepare(self) -> None:
        """Sweep what killed runs left behind, and make the staging folder."""
        for left in self._folder.glob(f"{STAGING}*"):
            shutil.rmtree(left, ignore_errors=True)
        self.spill.mkdir(parents=True)

    def write(self, con: duckdb.DuckDBPyConnection, rows: str, layer: str) -> None:
        """Write the rows of a query as one file of a layer."""
        path = self._staging / f"{layer}.parquet"
        con.execute(f"COPY (SELECT * FROM ({rows})) TO {sql_text(path)} ({COPY_OPTIONS})")
        self._staged[path] = layer

    def write_base(self, con: duckdb.DuckDBPyConnection, rows: str) -> None:
        """Write the rows of a query, which has a column ``bucket``, as a new base of one file a bucket."""
        target = self._staging / "base"
        con.execute(f"COPY ({rows}) TO {sql_text(target)} ({COPY_OPTIONS}, PARTITION_BY (bucket))")
        self._staged.update(dict.fromkeys(sorted(target.rglob("*.parquet")), "base"))
        if not self._staged:
            self.write(con, f"SELECT * EXCLUDE (bucket) FROM ({rows})", "base")

    def _finish(self, path: Path, layer: str) -> PartFile:
        fsync_path(path)
        checksum = file_checksum(path)
        bucket = path.parent.name if path.parent != self._staging else ""
        name = "/".join(filter(None, (self._run, bucket, f"part-{checksum[:16]}.parquet")))
        return PartFile(name, layer, pq.read_metadata(path).num_rows, path.stat().st_size, checksum)

    def move_in(self) -> tuple[PartFile, ...]:
        """Move the files to their places; until the manifest lists them nobody reads them."""
        with ThreadPoolExecutor(FLUSHES) as pool:
            files = tuple(pool.map(self._finish, self._staged.keys(), self._staged.values()))
            for staged, file in zip(self._staged, files, strict=True):
                place = self._folder / file.path
                place.parent.mkdir(parents=True, exist_ok=True)
                staged.replace(place)
            list(pool.map(fsync_path, {(self._folder / file.path).parent for file in files}))
        return files

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
    for path in folder.glob("as_of=*/**/part-*.parquet"):
        if path not in kept:
            path.unlink()
    for path in sorted(folder.glob("as_of=*/**/"), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


def _label(as_of_us: int) -> str:
    time = EPOCH + dt.timedelta(microseconds=as_of_us)
    return time.strftime("%Y-%m-%d" if time.time() == dt.time() else "%Y-%m-%dT%H%M%S.%f")
