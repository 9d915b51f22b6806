"""Compile definitions to one SQL text.

The form is narrow so that any engine can run it: the distinct (entity, as-of) pairs of the labels, an
equality and range join with the events, sums over CASE, GROUP BY. There is no ASOF join, RANGE frame, FILTER clause
or COUNT DISTINCT. Times enter as integer microseconds through `epoch_us` and stay integers.

Each aggregate is split as in map and reduce: a *partial* is made of the events alone, the window then merges
partials. For an entity with a coarse grain the partials of one grain are added up first (a tile), so that a
seller with a million orders joins as a few hundred tiles.
"""

# ruff: noqa: S608
# Every name in the text has passed the pattern and the key word check of load, and every value is escaped.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from features.derive import sql_expression
from features.spec import Derived, Entity, Feature, FeatureSpec, Filter, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

MERGE = {"count": "SUM", "sum": "SUM", "min": "MIN", "max": "MAX", "first": "MIN", "last": "MAX"}


@dataclass(frozen=True, slots=True)
class CompiledProfiles:
    """A query for risk profiles.

    Parameters
    ----------
    sql
        The text. It reads the source tables and the table of labels, and yields ``row_id`` and one column per
        name, in no particular order of rows.
    label_columns
        Columns that the labels must have beside ``row_id`` and ``as_of``.
    sources
        The sources that it reads.
    """

    sql: str
    label_columns: tuple[str, ...]
    sources: tuple[Source, ...]


def compile_profiles(spec: FeatureSpec, names: Sequence[str], *, labels: str = "labels") -> CompiledProfiles:
    """Compile the features of the given names.

    Parameters
    ----------
    spec, names
        Definitions, and the columns wanted, in order.
    labels
        Table or view with ``row_id``, ``as_of`` and the keys of every entity in use.
    """
    entities = spec.entities_of(names)
    base = spec.base(names)
    keys = tuple(dict.fromkeys(key for entity in entities for key in entity.keys))
    parts = [f"_labels AS (\n{__labels(entities, keys, labels)}\n)"]
    joins = ["FROM _labels r"]
    columns: dict[str, str] = {}
    for entity in entities:
        parts.append(f"_{entity.name}_at AS (\n{_pairs(entity)}\n)")
        for source in spec.sources:
            group = [item for item in base if item.entity == entity.name and item.source == source.name]
            if not group:
                continue
            alias = f"_{entity.name}_{source.name}"
            parts.append(f"{alias} AS (\n{_aggregate(entity, source, group)}\n)")
            joins.append(f"LEFT JOIN {alias} ON {_match(entity, alias, 'r', _as_of(entity))}")
            columns.update({item.name: _value(entity, alias, item) for item in group})
    parts.append("_base AS (\n" + _base_select(entities, columns, joins) + "\n)")
    select = ",\n  ".join(["row_id", *(f"{_expression(spec, name)} AS {name}" for name in names)])
    sql = "WITH " + ",\n".join(parts) + f"\nSELECT\n  {select}\nFROM _base"
    used = {item.source for item in base}
    return CompiledProfiles(sql, keys, tuple(source for source in spec.sources if source.name in used))


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


def _as_of(entity: Entity) -> str:
    return "as_of_us" if entity.grain_us == 1 else f"{entity.name}_as_of_us"


def _floored(expression: str, grain_us: int) -> str:
    # The remainder of a negative number has its sign in SQL; the detour floors times before 1970 as well.
    return f"{expression} - ({expression} % {grain_us} + {grain_us}) % {grain_us}"


def __labels(entities: Sequence[Entity], keys: Sequence[str], labels: str) -> str:
    floors = [
        f"{_floored('as_of_us', entity.grain_us)} AS {_as_of(entity)}"
        for entity in entities
        if entity.grain_us > 1
    ]
    columns = ", ".join(["row_id", *keys, "as_of_us", *floors])
    inner = ", ".join(["row_id", *keys, "epoch_us(as_of) AS as_of_us"])
    return f"  SELECT {columns}\n  FROM (SELECT {inner} FROM {labels})"


def _pairs(entity: Entity) -> str:
    keys = ", ".join(entity.keys)
    known = " AND ".join(f"{key} IS NOT NULL" for key in entity.keys)
    return f"  SELECT DISTINCT {keys}, {_as_of(entity)} AS as_of_us\n  FROM _labels\n  WHERE {known}"


def _match(entity: Entity, left: str, right: str, right_as_of: str) -> str:
    keys = [f"{left}.{key} = {right}.{key}" for key in entity.keys]
    return " AND ".join([*keys, f"{left}.as_of_us = {right}.{right_as_of}"])


def _partial_key(item: Feature) -> tuple[object, ...]:
    return item.aggregation, item.measure, item.filters


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


def _events(
    entity: Entity, source: Source, partials: dict[tuple[object, ...], str], group: Sequence[Feature]
) -> str:
    """Select the partials of the events, one row per event or per tile."""
    wanted = {part.column for item in group for part in item.filters} | {
        item.measure for item in group if item.measure
    }
    plain = [
        name for name in (*source.levels, *source.measures) if name in wanted and name not in entity.keys
    ]
    where = " AND ".join(filter(None, [f"{source.time} IS NOT NULL", condition(source.where)]))
    columns = ", ".join([*entity.keys, f"{event_time(source)} AS event_us", *plain])
    rows = f"SELECT {columns} FROM {source.table} WHERE {where}"
    first = {_partial_key(item): item for item in reversed(group)}
    keys = ", ".join(entity.keys)
    if entity.grain_us == 1:
        values = [f"{_partial(first[key], source)} AS {name}" for key, name in partials.items()]
        return f"SELECT {', '.join([keys, 'event_us', *values])} FROM ({rows})"
    values = [
        f"{MERGE[first[key].aggregation]}({_partial(first[key], source)}) AS {name}"
        for key, name in partials.items()
    ]
    tile = _floored("event_us", entity.grain_us)
    inner = ", ".join([keys, f"{tile} AS tile_us", *values])
    outer = ", ".join([keys, "tile_us AS event_us", *partials.values()])
    return f"SELECT {outer} FROM (SELECT {inner} FROM ({rows}) GROUP BY {keys}, tile_us)"


def _aggregate(entity: Entity, source: Source, group: Sequence[Feature]) -> str:
    """Merge the partials within each window, for each (entity, as-of) pair that has events."""
    partials: dict[tuple[object, ...], str] = {}
    for item in group:
        partials.setdefault(_partial_key(item), f"p{len(partials)}")
    windows = [item.window_us for item in group if item.window_us is not None]
    longest = max(windows) if len(windows) == len(group) else None
    bound = "" if longest is None else f" AND e.event_us >= l.as_of_us - {longest}"
    keys = " AND ".join(f"e.{key} = l.{key}" for key in entity.keys)
    merged = [
        f"{_merge(item, source, partials[_partial_key(item)], longest)} AS {item.name}" for item in group
    ]
    pairs = ", ".join([*(f"l.{key}" for key in entity.keys), "l.as_of_us"])
    rows = ", ".join(
        [pairs, "l.as_of_us - e.event_us AS age_us", *(f"e.{name}" for name in partials.values())]
    )
    outer = ", ".join([*entity.keys, "as_of_us"])
    events = _events(entity, source, partials, group)
    return (
        f"  SELECT {outer},\n    " + ",\n    ".join(merged) + f"\n  FROM (\n    SELECT {rows}\n"
        f"    FROM _{entity.name}_at l\n    JOIN (\n      {events}\n    ) e\n"
        f"      ON {keys} AND e.event_us < l.as_of_us{bound}\n  )\n  GROUP BY {outer}"
    )


def _merge(item: Feature, source: Source, partial: str, longest: int | None) -> str:
    inside = item.window_us == longest
    value = partial if inside else f"CASE WHEN age_us <= {item.window_us} THEN {partial} END"
    merged = f"{MERGE[item.aggregation]}({value})"
    if item.aggregation in {"first", "last"} and item.measure != source.time:
        return f"{merged}['m']"
    return merged


def _value(entity: Entity, alias: str, item: Feature) -> str:
    column = f"CAST({alias}.{item.name} AS BIGINT)"
    if not item.empty_is_zero:
        return column
    known = " OR ".join(f"r.{key} IS NULL" for key in entity.keys)
    return f"CASE WHEN {known} THEN NULL ELSE COALESCE({column}, 0) END"


def _base_select(entities: Sequence[Entity], columns: dict[str, str], joins: Sequence[str]) -> str:
    as_of = dict.fromkeys(_as_of(entity) for entity in entities)
    names = [f"r.{name}" for name in ("row_id", *as_of)] + [
        f"{text} AS {name}" for name, text in columns.items()
    ]
    return "  SELECT\n    " + ",\n    ".join(names) + "\n  " + "\n  ".join(joins)


def _expression(spec: FeatureSpec, name: str) -> str:
    item = spec.get(name)
    if not isinstance(item, Derived):
        return name
    inputs = [_expression(spec, part) for part in item.inputs]
    return sql_expression(spec, item, inputs, _as_of(spec.entity_of(name)))
