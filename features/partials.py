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
    return f"epoch_us(CAST({source.time} AS TIMESTAMP))"


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


def partial_rows(entity: Entity, source: Source, group: Sequence[Feature]) -> str:
    """Select the keys, ``event_us`` and the partials of the events, one row per event or per tile."""
    partials = partial_names(group)
    wanted = {part.column for item in group for part in item.filters} | {
        item.measure for item in group if item.measure
    }
    plain = [
        name for name in (*source.levels, *source.measures) if name in wanted and name not in entity.keys
    ]
    where = " AND ".join(filter(None, [f"{source.time} IS NOT NULL", condition(source.where)]))
    columns = ", ".join([*entity.keys, f"{event_time(source)} AS event_us", *plain])
    rows = f"SELECT {columns} FROM {source.table} WHERE {where}"
    first = {partial_key(item): item for item in reversed(group)}
    keys = ", ".join(entity.keys)
    if entity.grain_us == 1:
        values = [f"{_partial(first[key], source)} AS {name}" for key, name in partials.items()]
        return f"SELECT {', '.join([keys, 'event_us', *values])} FROM ({rows})"
    values = [
        f"{MERGE[first[key].aggregation]}({_partial(first[key], source)}) AS {name}"
        for key, name in partials.items()
    ]
    tile = floored("event_us", entity.grain_us)
    inner = ", ".join([keys, f"{tile} AS tile_us", *values])
    outer = ", ".join([keys, "tile_us AS event_us", *partials.values()])
    return f"SELECT {outer} FROM (SELECT {inner} FROM ({rows}) GROUP BY {keys}, tile_us)"


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
