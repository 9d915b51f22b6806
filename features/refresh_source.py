"""One source in the incremental refresh: from its events that enter and leave to patches of its columns."""

# ruff: noqa: S608
# Every name in the text has passed the pattern and the key word check of load.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from features.refresh_changes import (
    Step,
    can_matter,
    changes_sql,
    entered,
    move,
    patch_groups,
    population_sql,
    ranges,
    rows_between,
    signed_sql,
)
from features.refresh_inputs import files_sql, pin_folder
from features.refresh_manifest import PatchGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.refresh_inputs import Snapshot
    from features.refresh_job import Job
    from features.refresh_manifest import InputFile, ProfileManifest
    from features.spec import Source

LOOK_UP_SHARE = 0.25
"""Looking up more of the rows than this in their history costs as much as a full run."""

LOOK_UP_ROWS = 4096
"""So few rows are always looked up."""


class NotWorthIt(Exception):
    """A full run is as quick; the message says why. Never leaves the package."""


@dataclass(frozen=True)
class Diff:
    """Event files of two runs: in both, only in the new one, only in the old one."""

    kept: tuple[InputFile, ...]
    added: tuple[InputFile, ...]
    removed: tuple[InputFile, ...]

    @classmethod
    def of(cls, old: ProfileManifest, new: Snapshot) -> Diff:
        """Compare the inputs of the last run with a snapshot."""
        before = {(file.table, file.path, file.sha256) for file in old.inputs}
        now = {(file.table, file.path, file.sha256) for file in new.files.values()}
        own = sorted(new.files.values(), key=lambda file: (file.table, file.path))
        kept = tuple(file for file in own if (file.table, file.path, file.sha256) in before)
        added = tuple(file for file in own if (file.table, file.path, file.sha256) not in before)
        gone = tuple(file for file in old.inputs if (file.table, file.path, file.sha256) not in now)
        return cls(kept, added, gone)

    @property
    def large(self) -> bool:
        """Tell whether more rows are in other files than in the same."""
        others = sum(file.rows for file in (*self.added, *self.removed))
        return others > sum(file.rows for file in self.kept)


@dataclass(frozen=True, slots=True)
class SourceChanges:
    """What changes by the events of one source, as tables of the database.

    Parameters
    ----------
    source, parts
        The source and the groups of its columns.
    """

    source: Source
    parts: tuple[PatchGroup, ...]

    @property
    def people(self) -> str:
        """Keys with the events that they have more (``gained``) and less (``lost``)."""
        return _table("people", self.source.name)

    @property
    def redo(self) -> str:
        """Keys that were looked up in their history."""
        return _table("redo", self.source.name)

    @property
    def moved(self) -> list[PatchGroup]:
        """The groups with columns that do not move by addition."""
        return [part for part in self.parts if part.edges]


def table_of(kind: str, part: PatchGroup) -> str:
    """Name the table of a group: ``changes`` by key, or the ``patch`` made of them."""
    return _table(kind, part.name)


def _table(kind: str, name: str) -> str:
    return f'"_{kind}_{name}"'


def collect(job: Job, old: ProfileManifest, diff: Diff, source: Source) -> SourceChanges | None:
    """Sum up what enters and leaves by the events of one source; None when no file can have any."""
    step = Step(old.as_of_us, job.as_of_us)
    with job.apart() as own:
        if not _events(own, source, diff, step):
            return None
        group = own.group(source)
        found = SourceChanges(source, tuple(patch_groups(source, group)))
        own.con.execute(f"CREATE TABLE {found.people} AS {population_sql(own.entity, '_signed')}")
        for part in found.parts:
            rows = changes_sql(own.entity, group, part, "_signed")
            own.con.execute(f"CREATE TABLE {table_of('changes', part)} AS {rows}")
    return found


def make_patches(job: Job, old: ProfileManifest, changes: SourceChanges) -> None:
    """Make the patches of the groups of a source; stored values are read from the table ``_old``.

    Raises
    ------
    NotWorthIt
        When a full run is as quick.
    """
    step = Step(old.as_of_us, job.as_of_us)
    with job.apart() as own:
        for part in changes.moved:
            _move(own, part, changes.source, step)
        again = _look_up(own, changes, step, old.rows)
        for part in changes.parts:
            _patch(own, part, changes.source, again)


def _events(job: Job, source: Source, diff: Diff, step: Step) -> bool:
    """Make ``_signed``: the events that enter or leave something. False when no file can have any."""
    group, views = job.group(source), {}
    for kind, files in (("kept", diff.kept), ("added", diff.added), ("removed", diff.removed)):
        wanted = ranges(source, group, step, kind)
        chosen = [file for file in files if file.table == source.table and can_matter(file, wanted)]
        if not chosen:
            continue
        job.open(chosen)
        views[kind] = f"_{kind}_{source.name}"
        job.con.execute(
            f"CREATE TEMP VIEW {views[kind]} AS "
            f"SELECT * FROM ({_rows(job, source.table, kind, chosen)}) WHERE {rows_between(wanted)}"
        )
    if views:
        signed = signed_sql(job.entity, source, group, step, views)
        job.con.execute(f"CREATE TEMP TABLE _signed AS {signed}")
    return bool(views)


def _rows(job: Job, table: str, kind: str, files: Sequence[InputFile]) -> str:
    if kind == "removed":
        return files_sql(pin_folder(job.root, job.entity.name, table), table, files)
    return job.snapshot.view(table, files)


def _move(job: Job, part: PatchGroup, source: Source, step: Step) -> None:
    """Make the new values of a group of columns, as far as arithmetic can tell."""
    columns = [*part.sums]
    for item in job.group(source):
        if item.name in part.edges:
            moved = move(item, source, job.group(source), step)
            columns += [
                f"CAST({moved.value} AS BIGINT) AS {item.name}",
                f"o.{item.name} AS {item.name}__was",
                f"COALESCE({moved.redo}, false) AS {item.name}__redo",
            ]
    rows = f"FROM {table_of('changes', part)} c LEFT JOIN _old o USING ({job.keys})"
    job.con.execute(
        f"CREATE TEMP TABLE {table_of('moved', part)} AS SELECT {job.keys}, {', '.join(columns)} {rows}"
    )


def _look_up(job: Job, changes: SourceChanges, step: Step, rows: int) -> list[str]:
    """Find in the history what arithmetic cannot tell. Give the features for which that was so."""
    con, again = job.con, []
    keys = [f"SELECT {job.keys} FROM {changes.people} WHERE false"]
    for part in changes.moved:
        table = table_of("moved", part)
        counts = ", ".join(f"COUNT_IF({name}__redo)" for name in part.edges)
        each = con.execute(f"SELECT {counts} FROM {table}").fetchall()[0]
        names = tuple(name for name, count in zip(part.edges, each, strict=True) if count)
        if names:
            again.append(PatchGroup(part.name, (), names))
            any_of = " OR ".join(f"{name}__redo" for name in names)
            keys.append(f"SELECT {job.keys} FROM {table} WHERE {any_of}")
    con.execute(f"CREATE TABLE {changes.redo} AS " + "\nUNION ".join(keys))
    number = con.execute(f"SELECT COUNT(*) FROM {changes.redo}").fetchall()[0][0]
    if number > max(LOOK_UP_SHARE * rows, LOOK_UP_ROWS):
        raise NotWorthIt("the window ends of too many rows have moved over an event")
    if again:
        job.report("look up", 0.5)
        _history(job, changes, step, again)
    return [name for part in again for name in part.edges]


def _history(job: Job, changes: SourceChanges, step: Step, again: Sequence[PatchGroup]) -> None:
    """Make the tables ``found`` of some groups.

    What a key has in a window is what enters when nothing was known of it before.
    """
    wanted = {name for part in again for name in part.edges}
    group = [item for item in job.stored if item.name in wanted]
    events = job.events_sql([changes.source], group)
    job.con.execute(
        f"CREATE TEMP VIEW _history AS SELECT * FROM ({events}) SEMI JOIN {changes.redo} USING ({job.keys})"
    )
    signed = signed_sql(job.entity, changes.source, group, step, {"added": "_history"})
    job.con.execute(f"CREATE TEMP TABLE _all AS {signed}")
    for part in again:
        found = changes_sql(job.entity, group, part, "_all")
        job.con.execute(f"CREATE TEMP TABLE {table_of('found', part)} AS {found}")


def _patch(job: Job, part: PatchGroup, source: Source, again: Sequence[str]) -> None:
    """Make the patch of a group: the keys whose values really change."""
    keys, table = job.keys, table_of("patch", part)
    if not part.edges:
        job.con.execute(f"CREATE VIEW {table} AS FROM {table_of('changes', part)}")
        return
    values, changed = [], [f"{name} <> 0" for name in part.sums]
    for item in job.group(source):
        if item.name in part.edges:
            found = entered(item, source, "f")
            value = f"CASE WHEN {item.name}__redo THEN {found} ELSE m.{item.name} END"
            values.append(f"{value if item.name in again else f'm.{item.name}'} AS {item.name}")
            changed.append(f"{item.name} IS DISTINCT FROM {item.name}__was")
    was = ", ".join(f"{name}__was" for name in part.edges)
    rows = f"SELECT {', '.join([keys, *part.sums, *values])}, {was} FROM {table_of('moved', part)} m"
    if any(name in again for name in part.edges):
        rows += f" LEFT JOIN {table_of('found', part)} f USING ({keys})"
    job.con.execute(
        f"CREATE TABLE {table} AS SELECT * EXCLUDE ({was}) FROM ({rows}) WHERE {' OR '.join(changed)}"
    )
