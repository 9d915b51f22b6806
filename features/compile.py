"""Compile definitions to one SQL text.

The form is narrow so that any engine can run it: the distinct (entity, as-of) pairs of the labels, an
equality and range join with the events, sums over CASE, GROUP BY; running sums over ROWS where the as-of
time has a coarse grain. There is no ASOF join, RANGE frame, FILTER clause or COUNT DISTINCT. Times enter
as integer microseconds through `epoch_us` and stay integers.

Each aggregate is split as in map and reduce: `features.partials` says what events give,
`features.windows` how windows merge it, and here the merged features are joined to the labels and derived
ones are made of them.
"""

# ruff: noqa: S608
# Every name in the text has passed the pattern and the key word check of load, and every value is escaped.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from features.derive import sql_expression
from features.partials import floored
from features.spec import Derived
from features.windows import by_range_join, by_running_sum, pairs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from features.spec import Entity, Feature, FeatureSpec, Source


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
    parts = [f"_labels AS (\n{_label_rows(entities, keys, labels)}\n)"]
    joins = ["FROM _labels r"]
    columns: dict[str, str] = {}
    for entity in entities:
        parts.append(f"{pairs_of(entity)} AS (\n{_pairs(entity)}\n)")
        for alias, query, group in _merged(spec, entity, base):
            parts.append(f"{alias} AS (\n{query}\n)")
            joins.append(f"LEFT JOIN {alias} ON {_match(entity, alias, 'r', _as_of(entity))}")
            columns.update({item.name: _value(entity, alias, item) for item in group})
    parts.append("_base AS (\n" + _base_select(entities, columns, joins) + "\n)")
    select = ",\n  ".join(["row_id", *(f"{_expression(spec, name)} AS {name}" for name in names)])
    sql = "WITH " + ",\n".join(parts) + f"\nSELECT\n  {select}\nFROM _base"
    used = {item.source for item in base}
    return CompiledProfiles(sql, keys, tuple(source for source in spec.sources if source.name in used))


def _merged(
    spec: FeatureSpec, entity: Entity, base: Sequence[Feature]
) -> Iterator[tuple[str, str, Sequence[Feature]]]:
    """Give name, query and features of each merge that an entity needs."""
    for source in spec.sources:
        own = [item for item in base if item.entity == entity.name and item.source == source.name]
        summed = [item for item in own if item.empty_is_zero and entity.grain_us > 1]
        joined = [item for item in own if item not in summed]
        if summed:
            yield f"_{entity.name}_{source.name}_sums", by_running_sum(entity, source, summed), summed
        if joined:
            yield f"_{entity.name}_{source.name}", by_range_join(entity, source, joined), joined


def _as_of(entity: Entity) -> str:
    return "as_of_us" if entity.grain_us == 1 else f"{entity.name}_as_of_us"


def _label_rows(entities: Sequence[Entity], keys: Sequence[str], labels: str) -> str:
    floors = [
        f"{floored('as_of_us', entity.grain_us)} AS {_as_of(entity)}"
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
