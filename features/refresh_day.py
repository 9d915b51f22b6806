"""The incremental refresh: move stored aggregates from one as-of time to a later one."""

# ruff: noqa: S608
# Every name in the text has passed the pattern and the key word check of load.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from features.refresh_changes import Move, Step, can_matter, changes_sql, move, ranges, rows_between
from features.refresh_inputs import files_sql, pin_folder
from features.refresh_store import ONE_FILE_ROWS, delta_rows_sql, rows_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.refresh_inputs import Snapshot
    from features.refresh_job import Job
    from features.refresh_manifest import InputFile, ProfileManifest
    from features.refresh_store import PartWriter
    from features.spec import Feature, Source

LOOK_UP_SHARE = 0.25
"""Looking up more of the rows than this in their history costs as much as a full run."""

LOOK_UP_ROWS = 4096
"""So few rows are always looked up."""

DELTA_SHARE = 1 / 2
"""A delta of more of the rows than this is merged into a new base."""


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
class Refreshed:
    """What an incremental run wrote.

    Parameters
    ----------
    rows, recomputed, looked_up
        See `features.refresh.RefreshSummary`.
    keeps_base
        Whether the base of the last run stays, under a new delta.
    """

    rows: int
    recomputed: int
    looked_up: int
    keeps_base: bool


def refresh_rows(job: Job, old: ProfileManifest, diff: Diff, writer: PartWriter) -> Refreshed:
    """Write what has changed since the last run.

    Raises
    ------
    NotWorthIt
        Before anything is written, when a full run is as quick.
    """
    step = Step(old.as_of_us, job.as_of_us)
    job.report("changes", 0.05)
    changed = [source for source in job.sources if _collect(job, source, diff, step)]
    job.report("stored rows", 0.3)
    flags = _move(job, old, changed, step)
    looked_up = _look_up(job, flags, old.rows)
    job.report("population", 0.7)
    gone = _vanished(job, changed)
    job.report("write", 0.8)
    return _write(job, old, writer, gone, looked_up)


def _collect(job: Job, source: Source, diff: Diff, step: Step) -> bool:
    """Sum up the changes of one source; False when no file can have any."""
    group, views = job.group(source), {}
    for kind, files in (("kept", diff.kept), ("added", diff.added), ("removed", diff.removed)):
        wanted = ranges(source, group, step, kind)
        chosen = [file for file in files if file.table == source.table and can_matter(file, wanted)]
        if not chosen:
            continue
        job.open(chosen)
        views[kind] = f"_{kind}_{source.name}"
        job.con.execute(
            f"CREATE OR REPLACE TEMP VIEW {views[kind]} AS "
            f"SELECT * FROM ({_rows(job, source.table, kind, chosen)}) WHERE {rows_between(wanted)}"
        )
    if views:
        job.con.execute(
            f"CREATE OR REPLACE TEMP TABLE {_changes(source)} AS "
            f"{changes_sql(job.entity, source, group, step, views)}"
        )
    return bool(views)


def _rows(job: Job, table: str, kind: str, files: Sequence[InputFile]) -> str:
    if kind == "removed":
        return files_sql(pin_folder(job.root, job.entity.name, table), table, files)
    return job.snapshot.view(table, files)


def _changes(source: Source) -> str:
    return f"_changes_{source.name}"


def _move(job: Job, old: ProfileManifest, changed: Sequence[Source], step: Step) -> list[Feature]:
    """Make ``_moved``: new values of all touched keys. Give the features that may need looking up."""
    con, keys = job.con, job.keys
    rows = rows_sql(job.root, old)
    touched = "\nUNION ".join(f"SELECT {keys} FROM {_changes(source)}" for source in changed)
    touched = touched or f"SELECT {keys} FROM ({rows}) WHERE false"
    con.execute(f"CREATE OR REPLACE TEMP TABLE _touched AS {touched}")
    moves = {item.name: _moved(job, item, changed, step) for item in job.stored}
    redo = {name: f"COALESCE({part.redo}, false)" for name, part in moves.items() if part.redo}
    # What is looked up counts as changed: as a rule it is, and its value is not known yet.
    differs = [f"{part.value} IS DISTINCT FROM o.{name}" for name, part in moves.items()]
    columns = [keys, "stored", f"{' OR '.join(['NOT stored', *differs, *redo.values()])} AS fresh"]
    columns += [f"{_total(changed, name)} AS {name}" for name in ("gained", "lost")]
    columns += [f"CAST({part.value} AS BIGINT) AS {name}" for name, part in moves.items()]
    columns += [f"{text} AS {name}__redo" for name, text in redo.items()]
    joins = "".join(f"\nLEFT JOIN {_changes(source)} USING ({keys})" for source in changed)
    strangers = f"SELECT {keys}, false AS stored FROM _touched ANTI JOIN old USING ({keys})"
    # Materialized, else the engine joins the whole table with the changes before it drops what is untouched.
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE _moved AS WITH old AS MATERIALIZED (\n"
        f"SELECT *, true AS stored FROM ({rows}) SEMI JOIN _touched USING ({keys})\n),\n"
        f"o AS MATERIALIZED (FROM old UNION ALL BY NAME {strangers})\n"
        f"SELECT {', '.join(columns)} FROM o{joins}"
    )
    return [item for item in job.stored if item.name in redo]


def _total(changed: Sequence[Source], name: str) -> str:
    return " + ".join([f"COALESCE({_changes(source)}.{name}, 0)" for source in changed]) or "0"


def _moved(job: Job, item: Feature, changed: Sequence[Source], step: Step) -> Move:
    source = job.spec.source[item.source]
    if source in changed:
        return move(item, source, step, _changes(source))
    # New keys have no stored row: counts and sums of nothing are 0.
    return Move(f"COALESCE(o.{item.name}, 0)" if item.empty_is_zero else f"o.{item.name}")


def _look_up(job: Job, candidates: Sequence[Feature], rows: int) -> int:
    """Make ``_found``: values from history where arithmetic cannot tell. Give the number of its rows."""
    con = job.con
    any_of = " OR ".join(f"{item.name}__redo" for item in candidates) or "false"
    con.execute(f"CREATE OR REPLACE TEMP TABLE _redo AS SELECT {job.keys} FROM _moved WHERE {any_of}")
    counts = ", ".join(["COUNT(*)", *(f"COUNT_IF({item.name}__redo)" for item in candidates)])
    number, *each = con.execute(f"SELECT {counts} FROM _moved WHERE {any_of}").fetchall()[0]
    wanted = [item for item, count in zip(candidates, each, strict=True) if count]
    if number > max(LOOK_UP_SHARE * rows, LOOK_UP_ROWS):
        raise NotWorthIt("the window ends of too many rows have moved over an event")
    if wanted:
        job.report("look up", 0.5)
        con.execute(f"CREATE OR REPLACE TEMP TABLE _found AS {job.evaluate_sql('_redo', wanted, only=True)}")
        fresh = ", ".join(f"{item.name} = f.{item.name}" for item in wanted)
        con.execute(f"UPDATE _moved SET {fresh} FROM _found f WHERE {job.match('_moved', 'f')}")
    return int(number)


def _vanished(job: Job, changed: Sequence[Source]) -> bool:
    """Make ``_gone``: keys that have no event left. Tell whether there are any."""
    con = job.con
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE _gone AS SELECT {job.keys} FROM _moved WHERE stored AND lost > gained"
    )
    if not changed or not con.execute("SELECT COUNT(*) FROM _gone").fetchall()[0][0]:
        return False
    con.execute(f"CREATE OR REPLACE TEMP TABLE _alive AS {job.known_sql('_gone')}")
    con.execute(f"DELETE FROM _gone USING _alive a WHERE {job.match('_gone', 'a')}")
    return bool(con.execute("SELECT COUNT(*) FROM _gone").fetchall()[0][0])


def _write(job: Job, old: ProfileManifest, writer: PartWriter, gone: bool, looked_up: int) -> Refreshed:
    """Write the new delta, or a new base when the delta grows large or rows must vanish."""
    con, keys = job.con, job.keys
    columns = ", ".join([keys, *(item.name for item in job.stored)])
    con.execute(
        f"CREATE OR REPLACE TEMP VIEW _new AS SELECT {columns}, stored FROM "
        f"(SELECT * FROM _moved WHERE fresh) ANTI JOIN _gone USING ({keys})"
    )
    recomputed, inserted = con.execute(
        "SELECT COUNT(*), COUNT(*) - COUNT(nullif(stored, false)) FROM _new"
    ).fetchall()[0]
    removed = con.execute("SELECT COUNT(*) FROM _gone").fetchall()[0][0]
    rows = old.rows + inserted - removed
    before = delta_rows_sql(job.root, old)
    layer = sum(file.rows for file in old.layer("delta"))
    fresh = f"SELECT {columns} FROM _new"
    if not gone and layer + recomputed <= max(DELTA_SHARE * rows, 1):
        kept = f" UNION ALL SELECT {columns} FROM ({before}) ANTI JOIN _new USING ({keys})" if before else ""
        if layer + recomputed:
            split = layer + recomputed > ONE_FILE_ROWS
            writer.write(con, job.bucketed(fresh + kept), "delta", split=split)
        return Refreshed(rows, recomputed, looked_up, keeps_base=True)
    whole = (
        f"SELECT {columns} FROM ({rows_sql(job.root, old)}) ANTI JOIN _new USING ({keys}) "
        f"ANTI JOIN _gone USING ({keys})"
    )
    writer.write(con, job.bucketed(f"{fresh} UNION ALL {whole}"), "base", split=True)
    return Refreshed(rows, recomputed, looked_up, keeps_base=False)
