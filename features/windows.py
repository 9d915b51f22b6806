"""Windows: two ways to merge partials within ``[as_of - W, as_of)`` for each (entity, as-of) pair.

The range join meets each pair with each of its events. It is right for customers, who have few. A coarse
grain has a shorter way for counts and sums: a tile enters a window one grain after it began and leaves it
the window's length later, so that the running sum of entering minus leaving tiles is the window's sum at
every grain.
"""

# ruff: noqa: S608
# Every name in the text has passed the pattern and the key word check of load, and every value is escaped.

from __future__ import annotations

from typing import TYPE_CHECKING

from features.partials import (
    MERGE,
    event_rows,
    partial_key,
    partial_names,
    partial_rows,
    partial_values,
    plain_columns,
    seen,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.spec import Entity, Feature, Source


def pairs_of(entity: Entity) -> str:
    """Name the table of the distinct (entity, as-of) pairs."""
    return f"_{entity.name}_at"


def by_range_join(entity: Entity, source: Source, group: Sequence[Feature]) -> str:
    """Merge the partials within each window by joining each pair with its events.

    Yields the keys, ``as_of_us`` and the features, for pairs that have events in the longest window.
    """
    partials = partial_names(group)
    windows = [item.window_us for item in group if item.window_us is not None]
    longest = max(windows) if len(windows) == len(group) else None
    bound = "" if longest is None else f" AND e.event_us >= l.as_of_us - {longest}"
    merged = [
        f"{_merge(item, source, partials[partial_key(item)], longest)} AS {item.name}" for item in group
    ]
    outer = ", ".join([*entity.keys, "as_of_us"])
    return (
        f"  SELECT {outer},\n    " + ",\n    ".join(merged) + "\n  FROM (\n"
        f"{_joined(entity, source, group, bound)}\n  )\n  GROUP BY {outer}"
    )


def _joined(entity: Entity, source: Source, group: Sequence[Feature], bound: str) -> str:
    """Join each pair with its events, or tiles, and give the keys, ``as_of_us``, ``age_us`` and partials."""
    keys = " AND ".join(f"e.{key} = l.{key}" for key in entity.keys)
    pairs = [*(f"l.{key}" for key in entity.keys), "l.as_of_us", "l.as_of_us - e.event_us AS age_us"]
    if entity.grain_us == 1:
        events = event_rows(entity, source, group)
        carried = ["event_us", *plain_columns(entity, source, group)]
    else:
        events = partial_rows(entity, source, group)
        carried = list(partial_names(group).values())
    rows = (
        f"    SELECT {', '.join([*pairs, *(f'e.{name}' for name in carried)])}\n"
        f"    FROM {pairs_of(entity)} l\n    JOIN (\n      {events}\n    ) e\n"
        f"      ON {keys} AND e.{seen(source)} < l.as_of_us{bound}"
    )
    if entity.grain_us > 1:
        return rows
    # Partials are made after the join: most events lie in no window of any pair.
    columns = ", ".join([*entity.keys, "as_of_us", "age_us", *partial_values(source, group)])
    return f"    SELECT {columns} FROM (\n{rows}\n    )"


def by_running_sum(entity: Entity, source: Source, group: Sequence[Feature]) -> str:
    """Sum within each window by running sums over tiles; for counts and sums at a coarse grain.

    Yields the keys, ``as_of_us`` and the features, for every pair.
    """
    partials = partial_names(group)
    keys = ", ".join(entity.keys)
    zeros = [f"0 AS {item.name}" for item in group]
    enter = [f"{partials[partial_key(item)]} AS {item.name}" for item in group]
    # Unlike names: the dialect of Spark lifts inner WITH clauses into one outer one.
    table = f"_{entity.name}_{source.name}_tiles"
    enters = f"{seen(source)} + {entity.grain_us}"
    steps = [_change(keys, enters, enter, asked=0, table=table)]
    for window in dict.fromkeys(item.window_us for item in group if item.window_us is not None):
        leave = [
            f"-{partials[partial_key(item)]} AS {item.name}"
            if item.window_us == window
            else f"0 AS {item.name}"
            for item in group
        ]
        leaves = f"event_us + {entity.grain_us + window}"
        if source.known is not None:
            # What becomes known after it has left the window enters and leaves at once: nothing is counted.
            leaves = f"GREATEST({leaves}, {enters})"
        steps.append(_change(keys, leaves, leave, asked=0, table=table))
    steps.append(_change(keys, "as_of_us", zeros, asked=1, table=pairs_of(entity)))
    values = [f"CAST(COALESCE({name}, 0) AS BIGINT) AS {name}" for name in partials.values()]
    tiles = ", ".join([keys, *dict.fromkeys(("event_us", seen(source))), *values])
    return (
        f"  WITH {table} AS (SELECT {tiles} FROM ({partial_rows(entity, source, group)}))\n"
        f"{_running(keys, [item.name for item in group], steps)}"
    )


def _running(keys: str, names: Sequence[str], steps: Sequence[str]) -> str:
    """Add the changes up in order of time and keep the moments that were asked for."""
    frame = f"OVER (PARTITION BY {keys} ORDER BY at_us ROWS UNBOUNDED PRECEDING)"
    net = ", ".join(f"CAST(SUM({name}) AS BIGINT) AS {name}" for name in names)
    running = ", ".join(f"SUM({name}) {frame} AS {name}" for name in names)
    changes = "\n      UNION ALL ".join(steps)
    return (
        f"  SELECT {keys}, at_us AS as_of_us, {', '.join(names)}\n  FROM (\n"
        f"    SELECT {keys}, at_us, asked, {running}\n    FROM (\n"
        f"      SELECT {keys}, at_us, MAX(asked) AS asked, {net} FROM (\n      {changes}\n      )\n"
        f"      GROUP BY {keys}, at_us\n    )\n  )\n  WHERE asked = 1"
    )


def _change(keys: str, at_us: str, values: Sequence[str], *, asked: int, table: str) -> str:
    return f"SELECT {keys}, {at_us} AS at_us, {asked} AS asked, {', '.join(values)} FROM {table}"


def _merge(item: Feature, source: Source, partial: str, longest: int | None) -> str:
    inside = item.window_us == longest
    value = partial if inside else f"CASE WHEN age_us <= {item.window_us} THEN {partial} END"
    # Counts are here only at an exact grain, where each partial is 1; their state is a third of a sum's.
    merged = f"COUNT({value})" if item.aggregation == "count" else f"{MERGE[item.aggregation]}({value})"
    if item.aggregation in {"first", "last"} and item.measure != source.time:
        return f"{merged}['m']"
    return merged
