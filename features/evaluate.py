"""The serving path: one entity's features from its events in memory, without an SQL engine.

Events come as columns, ``(times, column, ...)`` in the order that `features.history` gives and sorted by
time: each aggregate then reads a slice of one of them. Definitions are compiled once to functions of the
columns and the two ends of the window, which are found by bisection. Where a source has a second clock,
events not known by as-of are cut out beforehand.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import compress
from typing import TYPE_CHECKING, TypeAlias

from features.derive import Step, Value, python_step
from features.errors import HistoryError
from features.history import KNOWN, EventNeed, as_columns, events_needed
from features.spec import Derived

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from features.history import Columns
    from features.spec import Entity, Feature, FeatureSpec, Filter

Row: TypeAlias = tuple[int | str | None, ...]
Events: TypeAlias = "Mapping[str, Columns | list[Row]]"
# Writes values of features into their slots, given columns and the window's ends as positions.
Write: TypeAlias = "Callable[[list[Value], Columns, int, int], None]"


class EntityEvaluator:
    """Features of one kind of entity.

    Parameters
    ----------
    spec
        Definitions.
    names
        Features wanted; all of this entity.
    entity
        Name of the entity.
    """

    def __init__(self, spec: FeatureSpec, names: Sequence[str], entity: str) -> None:
        self.names = tuple(names)
        self.entity: Entity = spec.entity[entity]
        self.needs: tuple[EventNeed, ...] = events_needed(spec, names, entity)
        items = spec.closure(names)
        # What is wanted has the first slots, so that the answer is a zip.
        self._wanted = tuple(dict.fromkeys(names))
        every = dict.fromkeys((*self._wanted, *(item.name for item in items)))
        slot = {name: index for index, name in enumerate(every)}
        base = spec.base(names)

        self._empty: list[Value] = [None] * len(items)
        for item in base:
            self._empty[slot[item.name]] = 0 if item.empty_is_zero else None
        self._sources = [_compile_source(need, base, slot) for need in self.needs]
        self._derived: list[tuple[int, Step]] = [
            (slot[item.name], python_step(spec, item, slot)) for item in items if isinstance(item, Derived)
        ]

    def evaluate(self, events: Events, as_of_us: int) -> dict[str, Value]:
        """Evaluate as of a time.

        Parameters
        ----------
        events
            By source: a tuple of columns sorted by time, as `features.history` lays them out, or a list of
            such rows. A source without events may be left out or empty. Events at or after the as-of time are
            ignored.
        as_of_us
            Microseconds since 1970, UTC. Floored to the grain of the entity.

        Returns
        -------
        dict
            Value by name, in the order of the names.
        """
        as_of = as_of_us - as_of_us % self.entity.grain_us
        values = self._empty.copy()
        for source, width, known, windows in self._sources:
            found = events.get(source)
            if not found:
                continue
            columns = as_columns(found) if isinstance(found, list) else found
            if len(columns) != width:
                raise HistoryError(
                    f"events of source {source!r} have {len(columns)} columns, wanted are {width}"
                )
            if known and max(columns[1]) >= as_of:
                columns = _known_before(columns, as_of)
            _aggregate_windows(windows, values, columns, as_of)
        for slot, step in self._derived:
            values[slot] = step(values, as_of)
        return dict(zip(self._wanted, values, strict=False))


class Evaluator:
    """Features of several entities at once: what one quote needs.

    Parameters
    ----------
    spec
        Definitions.
    names
        Features wanted, in order.

    Attributes
    ----------
    entities
        One `EntityEvaluator` per entity in use.
    """

    def __init__(self, spec: FeatureSpec, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.entities: dict[str, EntityEvaluator] = {}
        for entity in spec.entities_of(names):
            own = [name for name in self.names if spec.entity_of(name) is entity]
            self.entities[entity.name] = EntityEvaluator(spec, own, entity.name)
        self._unknown: dict[str, Value] = dict.fromkeys(self.names)

    def evaluate(self, events: Mapping[str, Events | None], as_of_us: int) -> dict[str, Value]:
        """Evaluate as of a time.

        Parameters
        ----------
        events
            By entity: its events by source. None, or no entry, says that there is no such entity (an order
            without a seller): its features are null. An entity without history is an empty mapping.
        as_of_us
            Microseconds since 1970, UTC.
        """
        values = self._unknown.copy()
        for name, evaluator in self.entities.items():
            own = events.get(name)
            if own is not None:
                values.update(evaluator.evaluate(own, as_of_us))
        return values


def _aggregate_windows(windows: Sequence[_Window], values: list[Value], columns: Columns, as_of: int) -> None:
    times: Sequence[int] = columns[0]
    high = bisect_left(times, as_of)
    for window_us, counts, firsts, lasts, writes in windows:
        low = 0 if window_us is None else bisect_left(times, as_of - window_us, 0, high)
        if low < high:
            for slot in counts:
                values[slot] = high - low
            for slot in firsts:
                values[slot] = times[low]
            for slot in lasts:
                values[slot] = times[high - 1]
            for write in writes:
                write(values, columns, low, high)


def _known_before(columns: Columns, as_of: int) -> Columns:
    kept = [known < as_of for known in columns[1]]
    return tuple(list(compress(column, kept)) for column in columns)


_Slots: TypeAlias = tuple[int, ...]
# Length, slots that take the count, the first and the last time, and what else there is to write.
_Window: TypeAlias = "tuple[int | None, _Slots, _Slots, _Slots, list[Write]]"


def _compile_source(
    need: EventNeed, base: Sequence[Feature], slot: Mapping[str, int]
) -> tuple[str, int, bool, list[_Window]]:
    place = {name: index for index, name in enumerate((need.source.time, *need.columns))}
    own = [item for item in base if item.source == need.source.name]
    windows = []
    for window in dict.fromkeys(item.window_us for item in own):
        group = [item for item in own if item.window_us == window]
        windows.append(_compile_window(group, place, slot))
    return need.source.name, len(place), KNOWN in need.columns, windows


def _compile_window(group: Sequence[Feature], place: Mapping[str, int], slot: Mapping[str, int]) -> _Window:
    """Compile the features of one window; counts by level of one column share one pass."""
    plain: dict[str, list[int]] = {"count": [], "first": [], "last": []}
    writes: list[Write] = []
    levels: dict[str, list[tuple[int, tuple[str | int, ...]]]] = {}
    for item in group:
        measure = None if item.measure is None else place[item.measure]
        kind = _plain_kind(item, measure)
        if kind is not None and not item.filters:
            plain[kind].append(slot[item.name])
        elif kind == "count" and len(item.filters) == 1:
            only = item.filters[0]
            levels.setdefault(only.column, []).append((slot[item.name], tuple(dict.fromkeys(only.values))))
        else:
            write = _aggregate(item, kind, measure, slot[item.name])
            writes.append(_filtered(item.filters, place, measure, write) if item.filters else write)
    writes.extend(_count_levels(place[column], wanted) for column, wanted in levels.items())
    counts, firsts, lasts = (tuple(plain[kind]) for kind in ("count", "first", "last"))
    return group[0].window_us, counts, firsts, lasts, writes


def _plain_kind(item: Feature, measure: int | None) -> str | None:
    """Name the aggregates that need no column but the time, which is sorted and never null."""
    if measure is None:
        return "count"
    if measure == 0:
        return "last" if item.aggregation in {"last", "max"} else "first"
    return None


def _aggregate(item: Feature, kind: str | None, measure: int | None, slot: int) -> Write:
    if measure is None:
        return _count(slot)
    if kind is not None:
        return _edge_time(slot, last=kind == "last")
    if item.aggregation in {"first", "last"}:
        return _edge(slot, measure, last=item.aggregation == "last")
    reductions: dict[str, Callable[[Sequence[int]], int]] = {"sum": sum, "min": min, "max": max}
    return _reduce(slot, measure, reductions[item.aggregation])


def _count(slot: int) -> Write:
    def write(values: list[Value], _columns: Columns, low: int, high: int) -> None:
        values[slot] = high - low

    return write


def _count_levels(column: int, wanted: Sequence[tuple[int, tuple[str | int, ...]]]) -> Write:
    if len(wanted) == 1:
        slot, levels = wanted[0]

        def write_one(values: list[Value], columns: Columns, low: int, high: int) -> None:
            count = columns[column][low:high].count
            values[slot] = sum(map(count, levels))

        return write_one

    def write(values: list[Value], columns: Columns, low: int, high: int) -> None:
        found = Counter(columns[column][low:high]).get
        for slot, levels in wanted:
            values[slot] = found(levels[0], 0) if len(levels) == 1 else sum([found(x, 0) for x in levels])

    return write


def _reduce(slot: int, measure: int, function: Callable[[Sequence[int]], int]) -> Write:
    def write(values: list[Value], columns: Columns, low: int, high: int) -> None:
        cut = columns[measure][low:high]
        try:
            values[slot] = function(cut)
        except TypeError:  # a null among them; looking for one first would cost as much as the sum
            filled = [value for value in cut if value is not None]
            if filled:
                values[slot] = function(filled)

    return write


def _edge_time(slot: int, *, last: bool) -> Write:
    def write(values: list[Value], columns: Columns, low: int, high: int) -> None:
        values[slot] = columns[0][high - 1 if last else low]

    return write


def _edge(slot: int, measure: int, *, last: bool) -> Write:
    """Take the measure of the first or last event that has one; of ties the least or the greatest."""
    choose = max if last else min

    def write(values: list[Value], columns: Columns, low: int, high: int) -> None:
        times, measures = columns[0], columns[measure]
        best: int | None = None
        instant: object = None
        for index in range(high - 1, low - 1, -1) if last else range(low, high):
            value: int | None = measures[index]
            if best is not None and times[index] != instant:
                break
            if value is not None:
                best, instant = value if best is None else choose(best, value), times[index]
        values[slot] = best

    return write


def _filtered(
    filters: Sequence[Filter], place: Mapping[str, int], measure: int | None, write: Write
) -> Write:
    """Cut the events down to those that all filters keep, then aggregate as if there were no others."""
    tests = [(place[item.column], frozenset(item.values)) for item in filters]

    def filtered(values: list[Value], columns: Columns, low: int, high: int) -> None:
        kept = [
            index for index in range(low, high) if all(columns[at][index] in allowed for at, allowed in tests)
        ]
        if kept:
            used = {0, measure or 0}
            cut = [
                [column[index] for index in kept] if at in used else () for at, column in enumerate(columns)
            ]
            write(values, tuple(cut), 0, len(kept))

    return filtered
