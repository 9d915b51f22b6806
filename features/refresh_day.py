"""The incremental refresh: move stored aggregates from one as-of time to a later one."""

# ruff: noqa: S608
# Every name in the text has passed the pattern and the key word check of load.

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from features.refresh_source import NotWorthIt, collect, make_patches, table_of
from features.refresh_store import Layers, damaged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    import duckdb

    from features.refresh_job import Job
    from features.refresh_manifest import ProfileManifest
    from features.refresh_source import Diff, SourceChanges
    from features.refresh_store import PartWriter

PATCH_SHARE = 2
"""Patches of more rows than this many times those of the table are merged into a new base."""

PATCH_RUNS = 16
"""So are patches of more runs than this."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What an incremental run wrote.

    Parameters
    ----------
    rows, recomputed, looked_up
        See `features.refresh.RefreshSummary`.
    keeps_base
        Whether the base of the last run stays, under one more patch.
    runs
        Runs that patch the base.
    """

    rows: int
    recomputed: int
    looked_up: int
    keeps_base: bool
    runs: int


def refresh_rows(job: Job, old: ProfileManifest, diff: Diff, writer: PartWriter) -> Refreshed:
    """Write what has changed since the last run.

    Raises
    ------
    NotWorthIt
        Before anything is written, when a full run is as quick.
    """
    # Side by side: what the engine does on one thread for one source, it does while it reads for another.
    with ThreadPoolExecutor(3) as pool:
        job.report("changes", 0.05)
        broken = pool.submit(damaged, job.root, old)
        found = pool.map(lambda source: collect(job, old, diff, source), job.sources)
        changes = [part for part in found if part]
        if broken.result():
            raise NotWorthIt("files of the last run are missing or damaged")
        job.report("stored rows", 0.3)
        _stored(job, old, changes)
        list(pool.map(lambda part: make_patches(job, old, part), changes))
        job.report("population", 0.7)
        gone = _vanished(job)
        job.report("write", 0.8)
        return _write(job, old, writer, changes, gone, pool)


def _stored(job: Job, old: ProfileManifest, changes: Sequence[SourceChanges]) -> None:
    """Read what is stored of those who change.

    Makes ``_people``, who has an event more or less, ``_old``, stored values that do not move by addition,
    and ``_born``, who has no row yet.
    """
    con, keys, layers = job.con, job.keys, Layers.of(job.root, old)
    nobody = f"SELECT {keys}, 0 AS gained, 0 AS lost FROM {layers.base[0]} WHERE false"
    events = " UNION ALL ".join([nobody, *(f"FROM {part.people}" for part in changes)])
    con.execute(
        f"CREATE TABLE _people AS SELECT {keys}, SUM(gained) AS gained, SUM(lost) AS lost "
        f"FROM ({events}) GROUP BY {keys}"
    )
    moved = [part for source in changes for part in source.moved]
    tables = ["_people", *(table_of("changes", part) for part in moved)]
    con.execute("CREATE TABLE _asked AS " + " UNION ".join(f"SELECT {keys} FROM {table}" for table in tables))
    edges = [name for part in moved for name in part.edges]
    con.execute(f"CREATE TABLE _old AS {layers.sql(edges, among='_asked')}")
    con.execute(f"CREATE TABLE _born AS SELECT {keys} FROM _people ANTI JOIN _old USING ({keys})")


def _vanished(job: Job) -> bool:
    """Make ``_gone``: keys that have no event left. Tell whether there are any."""
    con = job.con
    con.execute(f"CREATE TABLE _gone AS SELECT {job.keys} FROM _people WHERE lost > gained")
    if not _count(con, "_gone"):
        return False
    con.execute(f"CREATE TABLE _alive AS {job.known_sql('_gone')}")
    con.execute(f"DELETE FROM _gone USING _alive a WHERE {job.match('_gone', 'a')}")
    return bool(_count(con, "_gone"))


def _write(
    job: Job,
    old: ProfileManifest,
    writer: PartWriter,
    changes: Sequence[SourceChanges],
    gone: bool,
    pool: Executor,
) -> Refreshed:
    """Write patches, or a new base when there are many or rows must vanish."""
    con, keys = job.con, job.keys
    tables = {part.name: table_of("patch", part) for source in changes for part in source.parts}
    sizes = {name: _count(con, table) for name, table in tables.items()}
    new = {name: table for name, table in tables.items() if sizes[name]}
    looked_up = pool.submit(_distinct, job, [part.redo for part in changes])
    recomputed = pool.submit(_distinct, job, ["_born", *new.values()])
    born = _count(con, "_born")
    rows = old.rows + born - _count(con, "_gone")
    # Who is new has a row of his own, counts and sums of nothing, which patches then add to.
    empty = [f"CAST({0 if item.empty_is_zero else 'NULL'} AS BIGINT) AS {item.name}" for item in job.stored]
    whole = f"SELECT {', '.join([keys, *empty])} FROM _born"
    run = old.runs + 1
    patches = {name: f"(SELECT *, {run} AS run FROM {table})" for name, table in new.items()}
    patched = sum(file.rows for file in old.files if file.layer != "base") + sum(sizes.values())
    merge = gone or run > PATCH_RUNS or patched > PATCH_SHARE * rows
    if merge:
        layers = Layers.of(job.root, old).under([f"({whole})"] if born else [], patches)
        kept = layers.sql([item.name for item in job.stored])
        writer.write_base(con, job.bucketed(f"SELECT * FROM ({kept}) ANTI JOIN _gone USING ({keys})"))
        run = 0
    else:
        if born:
            writer.write(con, whole, "base")
        list(pool.map(lambda name: _write_patch(job, writer, name, patches[name]), patches))
        run = run if new or born else old.runs
    return Refreshed(rows, recomputed.result(), looked_up.result(), keeps_base=not merge, runs=run)


def _write_patch(job: Job, writer: PartWriter, name: str, rows: str) -> None:
    with job.apart() as own:
        writer.write(own.con, f"FROM {rows}", name)


def _distinct(job: Job, tables: Sequence[str]) -> int:
    """Count the keys of some tables together."""
    rows = "\nUNION ".join(f"SELECT {job.keys} FROM {table}" for table in tables)
    with job.apart() as own:
        return _count(own.con, f"({rows})") if tables else 0


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(con.execute(f"SELECT COUNT(*) FROM {table}").fetchall()[0][0])
