"""What a later as-of time changes in stored aggregates, as SQL over the events that enter and leave windows.

An event is in a window at a run when the run had its file, it was seen before the run's as-of time and it is
no older than the window. Events in at the new run but not at the old one enter, the others leave:

=====================  ==================================================================================
aggregate              new value
=====================  ==================================================================================
count, sum             old + entering - leaving
min, max, edge times   best of old and entering, unless what leaves was the best; then looked up again
last, first measure    that of the entering event when it lies after (before) all old ones, else looked up
=====================  ==================================================================================

All of it is integer arithmetic, so that the result equals that of a full run.
"""

# ruff: noqa: S608
# Every name in the text has passed the pattern and the key word check of load.

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from data.contracts import contract
from features.describe import window_text
from features.partials import MERGE, partial_key, partial_names, partial_rows, seen
from features.refresh_inputs import clocks
from features.refresh_manifest import PatchGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.refresh_manifest import InputFile
    from features.spec import Entity, Feature, Source

KINDS = {"kept": (True, True), "added": (False, True), "removed": (True, False)}
"""Files by whether the old run and the new run have them."""


@dataclass(frozen=True, slots=True)
class Step:
    """From one as-of time of an entity to another, both floored to its grain."""

    before_us: int
    after_us: int


@dataclass(frozen=True, slots=True)
class Move:
    """How one stored column gets its new value.

    Parameters
    ----------
    value
        SQL of the new value.
    redo
        SQL condition under which the value must be looked up again.
    """

    value: str
    redo: str


def windows(group: Sequence[Feature]) -> tuple[int | None, ...]:
    """Give the lengths of the windows of some features."""
    return tuple(dict.fromkeys(item.window_us for item in group))


def patch_groups(source: Source, group: Sequence[Feature]) -> list[PatchGroup]:
    """Part the features of a source by their window."""
    found = []
    for length in windows(group):
        own = [item for item in group if item.window_us == length]
        sums = tuple(item.name for item in own if item.empty_is_zero)
        edges = tuple(item.name for item in own if not item.empty_is_zero)
        found.append(PatchGroup(f"{source.name}-{window_text(length)}", sums, edges))
    return found


def ranges(
    source: Source, group: Sequence[Feature], step: Step, kind: str
) -> list[tuple[str, int | None, int]]:
    """Give (time column, begin, end) of the rows that can change something; a row in any of them may.

    Parameters
    ----------
    source, group
        The source and its features.
    step
        From which as-of time to which.
    kind
        Which files: see `KINDS`.
    """
    if kind == "added":
        return [(source.time, None, step.after_us)]
    if kind == "removed":
        return [(source.time, None, step.before_us)]
    low, high = sorted((step.before_us, step.after_us))
    if low == high:
        return []
    found: list[tuple[str, int | None, int]] = [(name, low, high) for name in clocks(source)]
    lengths = [length for length in windows(group) if length is not None]
    return found + [(source.time, low - length, high - length) for length in lengths]


def can_matter(file: InputFile, wanted: Sequence[tuple[str, int | None, int]]) -> bool:
    """Tell whether a file may have rows in one of the ranges."""
    return any(file.overlaps(column, begin, end) for column, begin, end in wanted)


def rows_between(wanted: Sequence[tuple[str, int | None, int]]) -> str:
    """Write the ranges as a condition on raw columns, which the engine can hold against the footers."""
    return " OR ".join(f"({_between(*part)})" for part in wanted) or "false"


def _between(column: str, begin_us: int | None, end_us: int) -> str:
    above = "" if begin_us is None else f"{column} >= make_timestamp({begin_us}) AND "
    return f"{above}{column} < make_timestamp({end_us})"


def signed_sql(
    entity: Entity, source: Source, group: Sequence[Feature], step: Step, views: dict[str, str]
) -> str:
    """Give the events that enter or leave something, with what each gives to the aggregates.

    Parameters
    ----------
    entity, source, group
        Whose changes, from which source, for which features.
    step
        From which as-of time to which.
    views
        View of the rows by kind of file.

    Returns
    -------
    str
        Yields the keys, the partials and, for the whole life and for each window, a sign: 1 when the event
        enters, -1 when it leaves.
    """
    parts = []
    for kind, view in views.items():
        before, after = KINDS[kind]
        rows = partial_rows(entity, replace(source, table=view), group)
        parts.append(f"SELECT *, {before} AS had, {after} AS has FROM ({rows})")
    known = " AND ".join(f"{key} IS NOT NULL" for key in entity.keys)
    signs = [
        f"{_inside(source, step, 'has', length)} - {_inside(source, step, 'had', length)} AS {_sign(length)}"
        for length in dict.fromkeys((None, *windows(group)))
    ]
    columns = ", ".join([*entity.keys, *partial_names(group).values(), *signs])
    return f"SELECT {columns} FROM (\n" + "\nUNION ALL ".join(parts) + f"\n) WHERE {known}"


def _sign(length: int | None) -> str:
    return "s" if length is None else f"s{length}"


def _inside(source: Source, step: Step, run: str, length: int | None) -> str:
    """Write 1 when an event is in a window at a run, else 0."""
    as_of_us = step.after_us if run == "has" else step.before_us
    since = "" if length is None else f" AND event_us >= {as_of_us - length}"
    return f"CAST({run} AND {seen(source)} < {as_of_us}{since} AS TINYINT)"


def population_sql(entity: Entity, signed: str) -> str:
    """Count per key the events, of the whole life, that enter (``gained``) and that leave (``lost``)."""
    keys, sign = ", ".join(entity.keys), _sign(None)
    return (
        f"SELECT {keys}, COUNT_IF({sign} > 0) AS gained, COUNT_IF({sign} < 0) AS lost FROM {signed} "
        f"WHERE {sign} <> 0 GROUP BY {keys}"
    )


def changes_sql(entity: Entity, group: Sequence[Feature], part: PatchGroup, signed: str) -> str:
    """Sum up per key what enters and leaves one window.

    Parameters
    ----------
    entity, group
        Whose changes, and all features of the source.
    part
        The features of the window.
    signed
        Table of the rows of `signed_sql`.

    Returns
    -------
    str
        Yields the keys and per feature what enters less what leaves, under its name, or its aggregates over
        the two, ``<name>__in`` and ``<name>__out``. Where all are sums, keys that keep theirs are left out.
    """
    names, items = partial_names(group), {item.name: item for item in group}
    sign = _sign(items[part.columns[0]].window_us)
    sums = {name: f"CAST(SUM({names[partial_key(items[name])]} * {sign}) AS BIGINT)" for name in part.sums}
    columns = [f"COALESCE({text}, 0) AS {name}" for name, text in sums.items()]
    for name in part.edges:
        merge, value = MERGE[items[name].aggregation], names[partial_key(items[name])]
        columns.append(f"{merge}(CASE WHEN {sign} > 0 THEN {value} END) AS {name}__in")
        columns.append(f"{merge}(CASE WHEN {sign} < 0 THEN {value} END) AS {name}__out")
    keys = ", ".join(entity.keys)
    moved = "" if part.edges else " HAVING " + " OR ".join(f"{name} <> 0" for name in part.sums)
    return f"SELECT {keys}, {', '.join(columns)} FROM {signed} WHERE {sign} <> 0 GROUP BY {keys}{moved}"


def move(item: Feature, source: Source, group: Sequence[Feature], step: Step) -> Move:
    """Say how a stored minimum, maximum, first or last moves.

    Parameters
    ----------
    item, source, group
        The feature, its source and all features of the source.
    step
        From which as-of time to which. Changes have the alias ``c``, the stored row has the alias ``o``.
    """
    old, enters, leaves = f"o.{item.name}", f"c.{item.name}__in", f"c.{item.name}__out"
    if item.aggregation in {"first", "last"} and item.measure != source.time:
        moved = _edge_measure(item.aggregation, old, enters, leaves, step)
        latest = _time_of_last(item, source, group)
        return _by_time_of_last(moved, f"o.{latest}", item, step) if latest else moved
    later = item.aggregation in {"max", "last"}
    best, beats = ("GREATEST", ">=") if later else ("LEAST", "<=")
    value = f"{best}({old}, {enters})"
    redo = f"{leaves} {beats} {old} AND ({enters} IS NULL OR NOT {enters} {beats} {old})"
    if later and item.measure == source.time and item.window_us is not None:
        # The latest of them all is too old: so is every other, and only what enters is left.
        emptied = f"{old} < {step.after_us - item.window_us}"
        return Move(f"CASE WHEN {emptied} THEN {enters} ELSE {value} END", f"{redo} AND NOT {emptied}")
    return Move(value, redo)


def entered(item: Feature, source: Source, alias: str) -> str:
    """Write the value that what enters alone has, from the changes of an alias."""
    value = f"{alias}.{item.name}__in"
    return f"{value}['m']" if item.aggregation in {"first", "last"} and item.measure != source.time else value


def _edge_measure(aggregation: str, old: str, enters: str, leaves: str, step: Step) -> Move:
    """Move a value whose own time is not stored."""
    still = f"{enters} IS NULL AND {leaves} IS NULL"
    after_all = f"{enters}['t'] >= {step.before_us}"
    if aggregation == "last":
        sure = f"{still} OR COALESCE({after_all}, false)"
        return Move(f"CASE WHEN {enters} IS NULL THEN {old} ELSE {enters}['m'] END", f"NOT ({sure})")
    begins = f"{leaves} IS NULL AND {old} IS NULL"
    behind = f"{leaves} IS NULL AND {old} IS NOT NULL AND COALESCE({after_all}, false)"
    value = f"CASE WHEN {old} IS NULL THEN {enters}['m'] ELSE {old} END"
    return Move(value, f"NOT ({still} OR ({begins}) OR ({behind}))")


def _time_of_last(item: Feature, source: Source, group: Sequence[Feature]) -> str | None:
    """Name the stored time of the very event that a last measure is taken from, if there is one."""
    if item.aggregation != "last" or contract(source.table).column(str(item.measure)).nullable:
        return None
    same = ("last", source.time, item.window_us, item.filters)
    found = (o.name for o in group if (o.aggregation, o.measure, o.window_us, o.filters) == same)
    return next(found, None)


def _by_time_of_last(moved: Move, latest: str, item: Feature, step: Step) -> Move:
    """Move a last measure whose time is stored: older events may leave without changing it."""
    enters, leaves = f"c.{item.name}__in", f"c.{item.name}__out"
    older = f"{enters} IS NULL AND COALESCE({leaves}['t'] < {latest}, false)"
    if item.window_us is None:
        return Move(moved.value, f"{moved.redo} AND NOT ({older})")
    emptied = f"COALESCE({latest} < {step.after_us - item.window_us}, false)"
    value = f"CASE WHEN {emptied} THEN {enters}['m'] ELSE {moved.value} END"
    return Move(value, f"{moved.redo} AND NOT ({emptied} OR ({older}))")
