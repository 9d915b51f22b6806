"""Partials: what events alone give to each aggregate, one row per event, or per tile of a coarse grain."""

# ruff: noqa: S608
# Every name in the text has passed the pattern and the key word check of load, and every value is escaped.

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.spec import Entity, Feature, Filter, Source

MERGE = {"count": "SUM", "sum": "SUM", "min": "MIN", "max": "MAX", "first": "MIN", "last": "MAX"}
PartialKey: TypeAlias = tuple[object, ...]


def condition(filters: Sequence[Filter]) -> str:
    """Write filters as an SQL condition; the empty filter is empty text."""
    return " AND ".join(
        f"{item.column} IN ({', '.join(_literal(value) for value in item.values)})" for item in filters
    )


def event_time(source: Source) -> str:
    """Write the event time of a source as integer microseconds."""
    return _microseconds(source.time)


def known_time(source: Source) -> str:
    """Write the time at which a row of a source became known as integer microseconds."""
    return event_time(source) if source.known is None else _microseconds(source.known)


def seen(source: Source) -> str:
    """Name the column of `partial_rows` that must lie strictly before as-of."""
    return "event_us" if source.known is None else "seen_us"


def is_event(source: Source) -> str:
    """Write the condition under which a row of the source's table is an event at all."""
    clocks = [source.time] if source.known is None else [source.time, source.known]
    return " AND ".join(filter(None, [*(f"{name} IS NOT NULL" for name in clocks), condition(source.where)]))


def _microseconds(column: str) -> str:
    return f"epoch_us(CAST({column} AS TIMESTAMP))"


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def floored(expression: str, grain_us: int) -> str:
    """Write a time rounded down to a multiple of a grain."""
    # The remainder of a negative number has its sign in SQL; the detour floors times before 1970 as well.
    return f"{expression} - ({expression} % {grain_us} + {grain_us}) % {grain_us}"


def partial_key(item: Feature) -> PartialKey:
    """Tell partials apart: features that differ only in their window share one."""
    return item.aggregation, item.measure, item.filters


def partial_names(group: Sequence[Feature]) -> dict[PartialKey, str]:
    """Name each partial that a group of features needs."""
    keys = dict.fromkeys(partial_key(item) for item in group)
    return {key: f"p{index}" for index, key in enumerate(keys)}


def event_rows(entity: Entity, source: Source, group: Sequence[Feature]) -> str:
    """Select the keys, ``event_us`` and the columns that some features look at, one row per event.

    A source that has a second clock also gives ``seen_us``, the later of its two times: what lies strictly
    before as-of with that one does so with both.
    """
    stamps = [f"{event_time(source)} AS event_us"]
    if source.known is not None:
        stamps.append(f"GREATEST({event_time(source)}, {known_time(source)}) AS seen_us")
    columns = ", ".join([*entity.keys, *stamps, *plain_columns(entity, source, group)])
    return f"SELECT {columns} FROM {source.table} WHERE {is_event(source)}"


def partial_values(source: Source, group: Sequence[Feature]) -> list[str]:
    """Write the partials that one event gives, over the columns of `event_rows`."""
    first = {partial_key(item): item for item in reversed(group)}
    return [f"{_partial(first[key], source)} AS {name}" for key, name in partial_names(group).items()]


def partial_rows(entity: Entity, source: Source, group: Sequence[Feature]) -> str:
    """Select the keys, the times of `event_rows` and the partials, one row per event or per tile."""
    rows = event_rows(entity, source, group)
    times = list(dict.fromkeys(("event_us", seen(source))))
    keys = ", ".join(entity.keys)
    if entity.grain_us == 1:
        return f"SELECT {', '.join([keys, *times, *partial_values(source, group)])} FROM ({rows})"
    partials = partial_names(group)
    first = {partial_key(item): item for item in reversed(group)}
    values = [
        f"{MERGE[first[key].aggregation]}({_partial(first[key], source)}) AS {name}"
        for key, name in partials.items()
    ]
    tiles = {name.replace("_us", "_tile"): name for name in times}
    floors = [f"{floored(name, entity.grain_us)} AS {tile}" for tile, name in tiles.items()]
    inner = ", ".join([keys, *floors, *values])
    outer = ", ".join([keys, *(f"{tile} AS {name}" for tile, name in tiles.items()), *partials.values()])
    return f"SELECT {outer} FROM (SELECT {inner} FROM ({rows}) GROUP BY {keys}, {', '.join(tiles)})"


def plain_columns(entity: Entity, source: Source, group: Sequence[Feature]) -> list[str]:
    """Give the columns beside keys and times that some features of a source look at."""
    wanted = {part.column for item in group for part in item.filters} | {item.measure for item in group}
    return [name for name in (*source.levels, *source.measures) if name in wanted and name not in entity.keys]


def _partial(item: Feature, source: Source) -> str:
    """Write what one event gives to an aggregate; null when the filter keeps it out."""
    if item.aggregation == "count":
        value = "1"
    elif item.measure == source.time:
        value = "event_us"
    elif item.aggregation in {"first", "last"}:
        # Ordered by time, then by measure: of ties at one instant, first takes the least, last the greatest.
        value = f"CASE WHEN {item.measure} IS NOT NULL THEN {{'t': event_us, 'm': {item.measure}}} END"
    else:
        value = str(item.measure)
    kept = condition(item.filters)
    return f"CASE WHEN {kept} THEN {value} END" if kept else value
