"""What history a set of features needs, and how rows of a table become the events of the evaluator."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from features.errors import HistoryError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from features.spec import Entity, FeatureSpec, Source


Columns: TypeAlias = "tuple[Sequence[Any], ...]"

KNOWN = "known_us"
"""What an event calls the time at which it became known."""


@dataclass(frozen=True, slots=True)
class EventNeed:
    """The events of one source that the features of one entity look at.

    Parameters
    ----------
    entity, source
        Whose events, and which.
    columns
        Columns beside the time, in the order in which the evaluator expects them: an event is
        ``(time_us, *columns)``. With a second clock the first of them is `KNOWN`, in microseconds.
    window_us
        Length of the longest window, None for the whole life: older events need not be fetched.
    """

    entity: Entity
    source: Source
    columns: tuple[str, ...]
    window_us: int | None

    def since(self, as_of_us: int) -> int | None:
        """Give the earliest time that matters as of a time; None when all do."""
        return None if self.window_us is None else self.entity.floor(as_of_us) - self.window_us


def events_needed(spec: FeatureSpec, names: Sequence[str], entity: str) -> tuple[EventNeed, ...]:
    """Give what must be fetched to evaluate the features of one entity among `names`."""
    base = [item for item in spec.base(names) if item.entity == entity]
    needs = []
    for source in spec.sources:
        own = [item for item in base if item.source == source.name]
        if not own:
            continue
        used = {item.measure for item in own} | {part.column for item in own for part in item.filters}
        clocks = () if source.known is None else (KNOWN,)
        plain = (name for name in dict.fromkeys((*source.levels, *source.measures)) if name in used)
        windows = [item.window_us for item in own]
        longest = None if None in windows else max(window for window in windows if window is not None)
        needs.append(EventNeed(spec.entity[entity], source, (*clocks, *plain), longest))
    return tuple(needs)


def events_query(spec: FeatureSpec, names: Sequence[str], entity: str) -> dict[str, list[str]]:
    """Give the table columns to fetch by source, the event time first, for the features of one entity."""
    return {
        need.source.name: [need.source.time, *_table_columns(need)]
        for need in events_needed(spec, names, entity)
    }


def _table_columns(need: EventNeed) -> list[str]:
    return [need.source.known or name if name == KNOWN else name for name in need.columns]


def event_columns(table: pa.Table | pa.RecordBatch, need: EventNeed) -> Columns:
    """Turn rows of the source's table, all of one entity, into events.

    Parameters
    ----------
    table
        Rows of ``need.source.table``. Rows without an event time, those not known yet and those that the
        source's row filter keeps out are left away.
    need
        From `events_needed`.

    Returns
    -------
    tuple of sequences
        One per column of ``(time_us, *need.columns)``, in the order of time; empty without events.
    """
    return as_columns(sorted(zip(*_columns(_kept(table, need), need), strict=True), key=_time))


def as_columns(rows: Sequence[Sequence[Any]]) -> Columns:
    """Turn rows ``(time_us, *columns)``, sorted by time, into events; no rows are the empty tuple."""
    return tuple(zip(*rows, strict=True))


def events_by_entity(
    table: pa.Table | pa.RecordBatch, need: EventNeed
) -> dict[tuple[Hashable, ...], Columns]:
    """Turn rows of many entities into events by key; rows with a null key belong to none."""
    kept = _kept(table, need)
    keys = zip(*(kept[name].to_pylist() for name in need.entity.keys), strict=True)
    found: dict[tuple[Hashable, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for key, row in zip(keys, zip(*_columns(kept, need), strict=True), strict=True):
        if None not in key:
            found[key].append(row)
    return {key: as_columns(sorted(rows, key=_time)) for key, rows in found.items()}


def _time(row: Sequence[Any]) -> int:
    time: int = row[0]
    return time


def _kept(table: pa.Table | pa.RecordBatch, need: EventNeed) -> pa.Table:
    source = need.source
    wanted = [source.time, *_table_columns(need), *(item.column for item in source.where)]
    missing = [name for name in wanted if name not in table.schema.names]
    if missing:
        raise HistoryError(f"rows of source {source.name!r} lack the columns {', '.join(missing)}")
    keep = pc.is_valid(table[source.time])
    if source.known is not None:
        keep = pc.and_(keep, pc.is_valid(table[source.known]))
    for item in source.where:
        keep = pc.and_(keep, pc.is_in(table[item.column], value_set=pa.array(item.values)))
    return table.filter(keep)


def _columns(kept: pa.Table, need: EventNeed) -> list[list[Any]]:
    columns = [_microseconds(kept[need.source.time])]
    for name in need.columns:
        clock = name == KNOWN and need.source.known is not None
        columns.append(_microseconds(kept[need.source.known]) if clock else kept[name].to_pylist())
    return columns


def _microseconds(times: pa.ChunkedArray) -> list[int]:
    values: list[int] = times.cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
    return values
