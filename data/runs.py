"""The run log: one line of figures for every ingest of a table, what the next one is judged by.

A line is appended in one piece under a lock. What a killed run leaves is a line without its end: readers pass
over it and the next run cuts it off.
"""

from __future__ import annotations

import datetime as dt  # noqa: TC003 (pydantic reads the annotations)
import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from data.contracts import contract
from data.errors import QualityError
from data.manifest import fsync_path
from data.statistics import Statistics  # noqa: TC001 (pydantic reads the annotations)

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["RunRecord", "append_run", "last_runs", "read_runs", "run_log"]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What one ingest did, in figures.

    Parameters
    ----------
    table, source, checksum : str
        Table, name of the input and its checksum.
    now : datetime
        When it ran, naive UTC, as the caller said.
    rows_read, rows_merged, rows_in, rows_stored, rows_quarantined : int
        See `data.ingest.IngestReport`.
    reasons : dict of str to int
        Quarantined rows by reason; a row may have several.
    statistics : Statistics
        Figures of the rows.
    """

    table: str
    source: str
    checksum: str
    now: dt.datetime
    rows_read: int
    rows_merged: int
    rows_in: int
    rows_stored: int
    rows_quarantined: int
    reasons: dict[str, int]
    statistics: Statistics


_RECORD = TypeAdapter(RunRecord)


def run_log(root: Path, table: str) -> Path:
    """Give the file of a table's run log."""
    return root / "_runs" / f"{contract(table).name}.jsonl"


def append_run(root: Path, run: RunRecord) -> None:
    """Add a run to the log of its table.

    Parameters
    ----------
    root : Path
        The lake.
    run : RunRecord
        The run.
    """
    path = run_log(root, run.table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        _cut_torn_line(stream)
        stream.write(_RECORD.dump_json(run) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    fsync_path(path.parent)


def _cut_torn_line(stream: BinaryIO) -> None:
    stream.seek(0)
    whole = stream.read()
    end = whole.rfind(b"\n") + 1
    if end != len(whole):
        stream.truncate(end)


def read_runs(root: Path, table: str) -> list[RunRecord]:
    """Read the log of a table, oldest run first; a table without runs has an empty one.

    Raises
    ------
    QualityError
        If a whole line is not a run.
    """
    path = run_log(root, table)
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    found = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            found.append(_RECORD.validate_json(line))
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "line"
            message = f"{path} line {number} is not a run: {where}: {fault['msg']}"
            raise QualityError(message) from error
    return found


def last_runs(runs: list[RunRecord], most: int) -> list[RunRecord]:
    """Give the last runs, of each source file only its last, oldest first.

    A file that was ingested again, with a better map or by accident, is one arrival of data, not two.
    """
    latest = {run.checksum: place for place, run in enumerate(runs)}
    return [run for place, run in enumerate(runs) if latest[run.checksum] == place][-most:]
