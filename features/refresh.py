"""Refresh of the profile table of an entity: in full, or only what a later as-of time changes."""

# ruff: noqa: S608
# Every name in the text has passed the pattern and the key word check of load.

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import duckdb

from data.lock import table_lock
from data.sql import sql_text
from features.errors import UnknownFeature
from features.refresh_day import refresh_rows
from features.refresh_inputs import EPOCH, MICROSECOND, still_there, take_snapshot
from features.refresh_job import Job, population_hash, sources_of
from features.refresh_manifest import (
    BUCKETS,
    FORMAT,
    ProfileManifest,
    ProfileTableError,
    profile_folder,
    read_profile_manifest,
)
from features.refresh_source import Diff, NotWorthIt
from features.refresh_store import PartWriter, commit
from features.spec import Derived, FeatureSpec

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from features.refresh_manifest import PartFile

    Progress = Callable[[str, float], None]

MEMORY = "4GB"


@dataclass(frozen=True, slots=True)
class RefreshSummary:
    """What a refresh did.

    Parameters
    ----------
    entity, as_of
        Whose profiles, and as of when they are now.
    mode, reason
        Whether all was made anew, and why.
    rows, recomputed
        Rows of the table, and how many of them this run wrote new values of.
    looked_up
        Rows of which some values had to be looked up in their history again.
    files_read, files_total
        Event files that were opened, and that the tables have.
    seconds
        Time it took.
    """

    entity: str
    as_of: dt.datetime
    mode: Literal["full", "incremental"]
    reason: str
    rows: int
    recomputed: int
    looked_up: int
    files_read: int
    files_total: int
    seconds: float


def default_names(spec: FeatureSpec, entity: str) -> tuple[str, ...]:
    """Give all features of an entity but event times, which move with the clock only as ages."""
    own = (name for name in spec.names if spec.entity_of(name).name == entity)
    return tuple(name for name in own if isinstance(spec.get(name), Derived) or spec.get(name).unit != "us")


def refresh_profiles(
    root: Path,
    spec: FeatureSpec,
    names: Sequence[str] | None,
    entity: str,
    as_of: dt.datetime,
    *,
    memory_limit: str = MEMORY,
    threads: int | None = None,
    progress: Progress | None = None,
) -> RefreshSummary:
    """Bring the profile table of an entity to an as-of time; readers see the old one until the new is whole.

    Everybody of whom an event was seen before as-of has a row. The result equals that of a full run at the
    same moment, whatever came late, was corrected or erased since the last one.

    Parameters
    ----------
    root
        The lake.
    spec, names
        Definitions, and the features wanted, all of this entity; None takes `default_names`.
    entity
        Name of the entity.
    as_of
        UTC without zone; floored to the grain of the entity.
    memory_limit, threads
        Of the engine, which spills to disk beyond the limit.
    progress
        Told (step, share done).

    Raises
    ------
    UnknownFeature
        If a name is not defined.
    ProfileTableError
        If a feature belongs to another entity.
    TableLockedError
        If another refresh of this table is running.
    """
    begin = time.perf_counter()
    wanted = _checked(spec, names, entity)
    as_of_us = spec.entity[entity].floor((as_of - EPOCH) // MICROSECOND)
    report = progress or (lambda _step, _share: None)
    with table_lock(root, f"profiles/{entity}"):
        folder = profile_folder(root, entity)
        folder.mkdir(parents=True, exist_ok=True)
        writer = PartWriter(folder, as_of_us)
        writer.prepare()
        try:
            with closing(_engine(writer, memory_limit, threads)) as con:
                done = _locked(root, spec, entity, wanted, as_of_us, con, report, writer)
        finally:
            writer.close()
    return replace(done, seconds=time.perf_counter() - begin)


def _locked(
    root: Path,
    spec: FeatureSpec,
    entity: str,
    names: tuple[str, ...],
    as_of_us: int,
    con: duckdb.DuckDBPyConnection,
    report: Progress,
    writer: PartWriter,
) -> RefreshSummary:
    who = spec.entity[entity]
    old, reason = _last(root, entity)
    snapshot = take_snapshot(root, entity, sources_of(spec, who), old.inputs if old else ())
    job = Job(root, spec, who, names, as_of_us, spec.base(names), snapshot, con, report)
    mode, why, rows, recomputed, looked_up = _run(job, old, reason, writer)
    when, files = EPOCH + as_of_us * MICROSECOND, (len(job.read), len(snapshot.files))
    return RefreshSummary(entity, when, mode, why, rows, recomputed, looked_up, *files, seconds=0.0)


def _checked(spec: FeatureSpec, names: Sequence[str] | None, entity: str) -> tuple[str, ...]:
    if entity not in spec.entity:
        raise UnknownFeature(entity, spec.entity)
    wanted = tuple(dict.fromkeys(names)) if names is not None else default_names(spec, entity)
    for name in wanted:
        other = spec.entity_of(name).name
        if other != entity:
            raise ProfileTableError(
                f"feature {name!r} describes entity {other!r}, the table is of {entity!r}"
            )
    if not wanted:
        raise ProfileTableError(f"no feature of entity {entity!r} was asked for")
    return wanted


def _last(root: Path, entity: str) -> tuple[ProfileManifest | None, str]:
    """Give the manifest of the last run, or why there is none to go on from."""
    try:
        return read_profile_manifest(root, entity), ""
    except ProfileTableError as error:
        return None, "first run" if error.absent else "the manifest of the last run cannot be read"


def _engine(writer: PartWriter, memory_limit: str, threads: int | None) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(f"SET memory_limit = {sql_text(memory_limit)}")
    con.execute(f"SET temp_directory = {sql_text(writer.spill)}")
    con.execute("SET preserve_insertion_order = false")
    con.execute("SET enable_progress_bar = false")  # it would write into the output of a long query
    if threads is not None:
        con.execute(f"SET threads = {int(threads)}")
    return con


_Found = tuple[Literal["full", "incremental"], str, int, int, int]


def _run(job: Job, old: ProfileManifest | None, reason: str, writer: PartWriter) -> _Found:
    if old is not None:
        diff = Diff.of(old, job.snapshot)
        reason = _mismatch(job, old, diff)
        if not reason:
            try:
                done = refresh_rows(job, old, diff, writer)
            except NotWorthIt as better:
                reason = str(better)
            else:
                kept = old.files if done.keeps_base else ()
                _commit(job, (*kept, *writer.move_in()), done.rows, done.runs)
                return "incremental", "", done.rows, done.recomputed, done.looked_up
    rows = _full(job, writer)
    _commit(job, writer.move_in(), rows, runs=0)
    return "full", reason, rows, rows, 0


def _mismatch(job: Job, old: ProfileManifest, diff: Diff) -> str:
    """Say why the last run is nothing to go on from; empty when it is."""
    mine = (job.spec.hash(job.names), population_hash(job.sources), tuple(item.name for item in job.stored))
    if (old.spec_hash, old.population_hash, old.stored) != mine or old.keys != job.entity.keys:
        return "the definitions have changed"
    if (old.format, old.buckets) != (FORMAT, BUCKETS):
        return "the layout of the table has changed"
    if job.as_of_us < old.as_of_us:
        return "the last run is as of a later time"
    if diff.large:
        return "most event files are new or replaced"
    if not still_there(job.root, job.entity.name, diff.removed):
        return "event files of the last run were replaced and are no longer there"
    return ""


def _full(job: Job, writer: PartWriter) -> int:
    job.report("who is known", 0.0)
    job.con.execute(f"CREATE OR REPLACE TEMP TABLE _people AS {job.known_sql()}")
    job.report("features", 0.1)
    rows = job.evaluate_sql("_people", job.stored)
    writer.write_base(job.con, job.bucketed(rows))
    job.report("commit", 0.95)
    return int(job.con.execute("SELECT COUNT(*) FROM _people").fetchall()[0][0])


def _commit(job: Job, files: tuple[PartFile, ...], rows: int, runs: int) -> None:
    manifest = ProfileManifest(
        entity=job.entity.name,
        keys=job.entity.keys,
        as_of_us=job.as_of_us,
        names=job.names,
        stored=tuple(item.name for item in job.stored),
        spec_hash=job.spec.hash(job.names),
        population_hash=population_hash(job.sources),
        groups=job.groups,
        rows=rows,
        runs=runs,
        files=tuple(sorted(files, key=lambda file: file.path)),
        inputs=tuple(job.snapshot.files[key] for key in sorted(job.snapshot.files)),
    )
    commit(job.root, manifest)
    job.report("done", 1.0)
