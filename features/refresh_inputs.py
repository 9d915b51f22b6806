"""The event files of a refresh: a snapshot of the lake, kept by hard links, and which files can matter.

Files of the lake are immutable and named by their content, but a later write drops those that it replaces.
A hard link to each input costs nothing and keeps the rows that the last run counted until the next run has
taken them back. Where the file system has no hard links, a replaced file leads to a full run.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from data.manifest import Manifest, TableFile, file_checksum, manifest_or_none
from data.store import view_sql
from features.refresh_manifest import INPUTS, InputFile, Span, profile_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from features.spec import Source

EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - times of the lake are naive UTC
MICROSECOND = dt.timedelta(microseconds=1)
ATTEMPTS = 5


@dataclass(frozen=True)
class Snapshot:
    """The event files of one run.

    Parameters
    ----------
    files
        By (table, path).
    folders
        Where to read the files of each table: the links, or the lake itself where it cannot link.
    """

    files: dict[tuple[str, str], InputFile]
    folders: dict[str, Path]

    def view(self, table: str, chosen: Iterable[InputFile]) -> str:
        """Give the SQL of the rows of some files of a table."""
        return files_sql(self.folders[table], table, chosen)


def clocks(source: Source) -> tuple[str, ...]:
    """Give the time columns of a source: when it happened, and when it became known if that differs."""
    return (source.time,) if source.known is None else (source.time, source.known)


def files_sql(folder: Path, table: str, chosen: Iterable[InputFile]) -> str:
    """Give the SQL of the rows of some files below a folder, in the columns of the table's contract."""
    files = tuple(TableFile(file.path, file.rows, 0, file.sha256, "") for file in chosen)
    return view_sql(folder, Manifest(table, "", {}, {}, files))


def take_snapshot(root: Path, entity: str, sources: Sequence[Source], known: Iterable[InputFile]) -> Snapshot:
    """Fix the files that a run reads, so that writers of the lake may go on.

    Parameters
    ----------
    root, entity
        The lake, and whose profiles are made.
    sources
        Sources that are read; those whose table the lake lacks have no files.
    known
        Inputs of the last run: their statistics need not be read again.
    """
    times: dict[str, list[str]] = {}
    for source in sources:
        times.setdefault(source.table, []).extend(clocks(source))
    before = {(file.table, file.path, file.sha256): file for file in known}
    files: dict[tuple[str, str], InputFile] = {}
    folders: dict[str, Path] = {}
    for table, columns in times.items():
        manifest, folders[table] = _pinned(root, entity, table)
        for file in manifest.files if manifest else ():
            found = before.get((table, file.path, file.sha256))
            if found is None or any(name not in found.spans for name in columns):
                spans = _spans(folders[table] / file.path, dict.fromkeys(columns))
                found = InputFile(table, file.path, file.sha256, file.rows, spans)
            files[table, file.path] = found
    return Snapshot(files, folders)


def pin_folder(root: Path, entity: str, table: str) -> Path:
    """Give the folder of the links to the files of a table."""
    return profile_folder(root, entity) / INPUTS / table


def still_there(root: Path, entity: str, files: Iterable[InputFile]) -> bool:
    """Tell whether files that the lake no longer has can be read from their links, unchanged."""
    paths = [(pin_folder(root, entity, file.table) / file.path, file.sha256) for file in files]
    return all(path.is_file() and file_checksum(path) == sha for path, sha in paths)


def drop_pins(root: Path, entity: str, keep: Iterable[InputFile]) -> None:
    """Drop the links to files that the last run was not made from."""
    folder = profile_folder(root, entity) / INPUTS
    kept = {folder / file.table / file.path for file in keep}
    for path in folder.rglob("*.parquet"):
        if path not in kept:
            path.unlink()


def _pinned(root: Path, entity: str, table: str) -> tuple[Manifest | None, Path]:
    folder = pin_folder(root, entity, table)
    for attempt in range(ATTEMPTS):
        manifest = manifest_or_none(root / table)
        try:
            for file in manifest.files if manifest else ():
                _link(root / table / file.path, folder / file.path)
        except FileNotFoundError:
            # A write of the table came between its manifest and the link: look at the new manifest.
            if attempt == ATTEMPTS - 1:
                raise
        except OSError:
            return manifest, root / table
        else:
            return manifest, folder
    raise AssertionError  # the loop returns or raises


def _link(file: Path, link: Path) -> None:
    if link.exists() and link.samefile(file):
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    os.link(file, link)


def _spans(path: Path, columns: Iterable[str]) -> dict[str, Span]:
    """Read from the footer between which times the rows of a file lie."""
    meta = pq.read_metadata(path)
    place = {meta.schema.column(index).name: index for index in range(meta.num_columns)}
    spans: dict[str, Span] = {}
    for name in columns:
        if name not in place:
            continue
        groups = [meta.row_group(index).column(place[name]) for index in range(meta.num_row_groups)]
        filled = [group for group in groups if not _all_null(group)]
        stats = [group.statistics for group in filled]
        if all(item is not None and item.has_min_max for item in stats):
            lows, highs = ([_micros(value) for value in ends] for ends in _ends(stats))
            spans[name] = (min(lows), max(highs)) if stats else None
    return spans


def _ends(stats: Sequence[pq.Statistics]) -> tuple[list[dt.datetime], list[dt.datetime]]:
    return [item.min for item in stats], [item.max for item in stats]


def _all_null(group: pq.ColumnChunkMetaData) -> bool:
    stats = group.statistics
    return stats is not None and stats.has_null_count and stats.null_count == group.num_values


def _micros(value: dt.datetime) -> int:
    return (value.replace(tzinfo=None) - EPOCH) // MICROSECOND
