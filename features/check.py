"""What makes a set of definitions sound: names, columns, windows, derivations."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from data.contracts import CONTRACTS
from features.errors import Problem, closest
from features.spec import DAY_US, RESERVED, Derived, Feature, FeatureSpec, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME = r"[a-z][a-z0-9_]*"
UNITS_US = {"h": 3_600_000_000, "d": DAY_US}
# Names go into SQL as they are.
KEYWORDS = frozenset(
    {
        "all", "and", "any", "as", "asc", "between", "by", "case", "cast", "check", "column", "constraint",
        "create", "cross", "default", "desc", "distinct", "else", "end", "except", "exists", "false",
        "fetch", "for", "foreign", "from", "full", "grant", "group", "having", "in", "inner", "intersect",
        "into", "is", "join", "lateral", "left", "like", "limit", "natural", "not", "null", "offset", "on",
        "only", "or", "order", "outer", "primary", "references", "right", "select", "semi", "set", "some",
        "table", "then", "to", "true", "union", "unique", "user", "using", "when", "where", "window",
        "with",
    }
)  # fmt: skip
INPUTS = {
    "ratio": 2, "mean": 2, "rate": 2, "recency": 1, "tenure": 1, "span": 2, "trend": 2, "seasonality": 2
}  # fmt: skip


class Lines:
    """Find the line on which a definition stands.

    Parameters
    ----------
    text
        The TOML text, its tables written with ``[[kind]]`` headers.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._headers: dict[str, list[int]] = {}
        for number, line in enumerate(self._lines, start=1):
            found = re.match(r"\s*\[\[?\s*([A-Za-z0-9_-]+)\s*\]\]?", line)
            if found:
                self._headers.setdefault(found.group(1), []).append(number)

    @property
    def count(self) -> int:
        """Number of lines."""
        return max(1, len(self._lines))

    def of(self, kind: str, index: int, key: str | None = None) -> int:
        """Give the line of a key of the index-th table of a kind, or of its header when it lacks the key."""
        headers = self._headers.get(kind, [])
        if index >= len(headers):
            return self._first_key(kind)
        start = headers[index]
        for number in range(start + 1, self.count + 1):
            line = self._lines[number - 1]
            if re.match(r"\s*\[", line):
                break
            if key is not None and re.match(rf"\s*{re.escape(key)}\s*[.=]", line):
                return number
        return start

    def _first_key(self, key: str) -> int:
        for number, line in enumerate(self._lines, start=1):
            if re.match(rf"\s*{re.escape(key)}\s*=", line):
                return number
        return 1


def parse_window(text: str) -> int | None:
    """Read a window: ``"30d"``, ``"12h"`` or ``"lifetime"``.

    Returns
    -------
    int or None
        Microseconds; None for a lifetime.
    """
    if text == "lifetime":
        return None
    found = re.fullmatch(r"(\d+)([a-z]*)", text)
    if found is None:
        raise ValueError(f"window {text!r} is not a length of time")
    number, unit = int(found.group(1)), found.group(2)
    if not unit:
        raise ValueError(f"window {text!r} has no unit")
    if unit not in UNITS_US:
        raise ValueError(f"window {text!r} has the unknown unit {unit!r}, allowed are {', '.join(UNITS_US)}")
    if number == 0:
        raise ValueError(f"window {text!r} is empty")
    return number * UNITS_US[unit]


def check_spec(spec: FeatureSpec, lines: Lines) -> Iterator[Problem]:
    """Find everything wrong between the definitions; each alone already has the right form."""
    yield from _names(spec, lines)
    for index, source in enumerate(spec.sources):
        yield from _source(source, index, lines)
    for index, feature in enumerate(spec.features):
        yield from _feature(spec, feature, index, lines)
    cyclic = _cyclic(spec)
    for index, item in enumerate(spec.derived):
        if item.name in cyclic:
            message = f"{item.name}: derivation in a cycle, {' -> '.join(cyclic[item.name])}"
            yield Problem(lines.of("derived", index, "inputs"), message, "derive from aggregates")
        else:
            yield from _derived(spec, item, index, lines)


def _names(spec: FeatureSpec, lines: Lines) -> Iterator[Problem]:
    groups: list[list[tuple[str, int, str]]] = [
        [("entity", index, item.name) for index, item in enumerate(spec.entities)],
        [("source", index, item.name) for index, item in enumerate(spec.sources)],
        [("feature", index, item.name) for index, item in enumerate(spec.features)]
        + [("derived", index, item.name) for index, item in enumerate(spec.derived)],
    ]
    keys = {key for entity in spec.entities for key in entity.keys}
    for group in groups:
        first: dict[str, int] = {}
        for kind, index, name in group:
            line = lines.of(kind, index, "name")
            if name in RESERVED | KEYWORDS | keys:
                hint = "reserved are SQL key words, entity keys and " + ", ".join(sorted(RESERVED))
                yield Problem(line, f"{name!r} is a reserved name", hint)
            if name in first:
                yield Problem(line, f"{name!r} is defined twice", f"the first stands on line {first[name]}")
            first.setdefault(name, line)


def _source(source: Source, index: int, lines: Lines) -> Iterator[Problem]:
    # A key may be a level too: a category identifies customer x category and can be filtered on.
    for column, times in Counter((*source.measures, *{*source.keys, *source.levels})).items():
        if times > 1 or column in RESERVED | KEYWORDS or not re.fullmatch(NAME, column):
            message = f"{source.name}: column {column!r} is reserved, no plain name, or stands twice"
            yield Problem(lines.of("source", index), message, "measures are integers, levels are texts")
    if source.known in {source.time, *source.measures}:
        message = f"{source.name}: the time of knowing, {source.known!r}, is the event time or a measure"
        yield Problem(lines.of("source", index, "known"), message, "leave it out where both clocks are one")
    columns = (*source.keys, *source.measures, *source.levels)
    for item in source.where:
        if item.column not in columns:
            message = f"{source.name}: the row filter names the unknown column {item.column!r}"
            yield Problem(lines.of("source", index, "where"), message, closest(item.column, columns))
        if not item.values:
            message = f"{source.name}: the row filter on {item.column!r} has no value"
            yield Problem(lines.of("source", index, "where"), message, "list the values to keep")


def check_tables(spec: FeatureSpec, lines: Lines) -> Iterator[Problem]:
    """Find sources that name a table or a column that no contract of the lake has."""
    for index, source in enumerate(spec.sources):
        rules = CONTRACTS.get(source.table)
        if rules is None:
            message = f"{source.name}: the lake has no table {source.table!r}"
            yield Problem(lines.of("source", index, "table"), message, closest(source.table, CONTRACTS))
            continue
        named = [("time", source.time), *(("keys", key) for key in source.keys)]
        named += [("known", source.known)] if source.known else []
        # Further columns of an open table are the rating factors of its products.
        if not rules.open:
            named += [("measures", name) for name in source.measures]
            named += [("levels", name) for name in source.levels]
        for key, column in named:
            if column not in rules.names:
                message = f"{source.name}: table {source.table!r} has no column {column!r}"
                yield Problem(lines.of("source", index, key), message, closest(column, rules.names))


def _feature(spec: FeatureSpec, item: Feature, index: int, lines: Lines) -> Iterator[Problem]:
    source, entity = spec.source.get(item.source), spec.entity.get(item.entity)
    if source is None:
        message = f"{item.name}: unknown source {item.source!r}"
        yield Problem(lines.of("feature", index, "source"), message, closest(item.source, spec.source))
    if entity is None:
        message = f"{item.name}: unknown entity {item.entity!r}"
        yield Problem(lines.of("feature", index, "entity"), message, closest(item.entity, spec.entity))
    if source is None or entity is None:
        return
    missing = [key for key in entity.keys if key not in source.keys]
    if missing:
        message = (
            f"{item.name}: source {source.name!r} has no key {', '.join(missing)} of entity {entity.name!r}"
        )
        yield Problem(lines.of("feature", index, "entity"), message, f"its keys are {', '.join(source.keys)}")
    yield from _measure(item, source, index, lines)
    yield from _filter(item, source, index, lines)
    if item.window_us is not None and item.window_us % entity.grain_us:
        message = f"{item.name}: the window is no multiple of the grain of entity {entity.name!r}"
        yield Problem(lines.of("feature", index, "window"), message, "use whole days")


def _measure(item: Feature, source: Source, index: int, lines: Lines) -> Iterator[Problem]:
    line = lines.of("feature", index, "measure")
    if item.aggregation == "count":
        if item.measure is not None:
            yield Problem(
                line, f"{item.name}: a count has no measure, found {item.measure!r}", "leave it out"
            )
        return
    allowed = source.measures if item.aggregation == "sum" else (*source.measures, source.time)
    if item.measure is None:
        yield Problem(
            line, f"{item.name}: {item.aggregation} needs a measure", "allowed are " + ", ".join(allowed)
        )
    elif item.measure not in allowed:
        message = f"{item.name}: source {source.name!r} has no measure {item.measure!r}"
        yield Problem(line, message, closest(item.measure, allowed))


def _filter(item: Feature, source: Source, index: int, lines: Lines) -> Iterator[Problem]:
    line = lines.of("feature", index, "filter")
    for part in item.filters:
        if part.column not in (*source.levels, *source.measures):
            message = f"{item.name}: source {source.name!r} has no column {part.column!r} to filter on"
            yield Problem(line, message, closest(part.column, (*source.levels, *source.measures)))
            continue
        if not part.values:
            yield Problem(
                line, f"{item.name}: the filter on {part.column!r} has no value", "list the values to keep"
            )
        wanted = str if part.column in source.levels else int
        if not all(isinstance(value, wanted) for value in part.values):
            message = (
                f"{item.name}: the filter on {part.column!r} needs {'texts' if wanted is str else 'integers'}"
            )
            yield Problem(line, message, f"found {list(part.values)!r}")


def _derived(spec: FeatureSpec, item: Derived, index: int, lines: Lines) -> Iterator[Problem]:
    line = lines.of("derived", index, "inputs")
    unknown = [name for name in item.inputs if name not in spec.definition]
    for name in unknown:
        yield Problem(line, f"{item.name}: unknown input {name!r}", closest(name, spec.definition))
    if unknown or _reaches_unknown(spec, item):
        return
    wanted = INPUTS.get(item.kind)
    if wanted is not None and len(item.inputs) != wanted:
        message = f"{item.name}: {item.kind} has {len(item.inputs)} inputs"
        yield Problem(lines.of("derived", index, "kind"), message, f"it needs {wanted}")
        return
    entities = list(dict.fromkeys(feature.entity for feature in spec.base([item.name])))
    if len(entities) > 1:
        message = f"{item.name}: its inputs belong to different entities, {' and '.join(entities)}"
        yield Problem(line, message, "derive within one entity")
    hint = _kind_hint(spec, item, [spec.get(name) for name in item.inputs])
    if hint:
        line = lines.of("derived", index, "kind")
        yield Problem(line, f"{item.name}: {item.kind} cannot be made of {', '.join(item.inputs)}", hint)


def _reaches_unknown(spec: FeatureSpec, item: Derived) -> bool:
    """Tell whether something below is broken; that something has its own message."""
    inputs = (spec.definition.get(name) for name in item.inputs)
    return any(
        part is None
        or (isinstance(part, Derived) and _reaches_unknown(spec, part))
        or (isinstance(part, Feature) and (part.entity not in spec.entity or part.source not in spec.source))
        for part in inputs
    )


def _kind_hint(spec: FeatureSpec, item: Derived, inputs: Sequence[Feature | Derived]) -> str | None:
    """Say what the inputs of a kind must be, when these are not; None when they are."""
    if item.kind in {"ratio", "share"}:
        return None
    base = [part for part in inputs if isinstance(part, Feature)]
    if len(base) != len(inputs):
        return "it takes aggregates only"
    if item.kind in {"recency", "tenure", "span"}:
        wanted = {"recency": ["last"], "tenure": ["first"], "span": ["first", "last"]}[item.kind]
        timed = all(part.measure == spec.source[part.source].time for part in base)
        same = [part.aggregation for part in base] == wanted
        return None if timed and same else f"it takes the {' and the '.join(wanted)} event time"
    if item.kind == "rate":
        return _rate_hint(spec, base)
    if item.kind == "distinct":
        return None if all(part.aggregation == "count" for part in base) else "it takes counts"
    if item.kind == "mean":
        events = {(part.source, part.entity, part.filters, part.window_us) for part in base}
        fits = [part.aggregation for part in base] == ["sum", "count"] and len(events) == 1
        return None if fits else "it takes a sum and a count of the same events"
    return _trend_hint(base)


def _rate_hint(spec: FeatureSpec, base: Sequence[Feature]) -> str | None:
    events, since = base
    timed = since.measure == spec.source[since.source].time and since.aggregation == "first"
    counted, looked = events.window_us, since.window_us
    covers = looked is None or (counted is not None and counted <= looked)
    fits = events.empty_is_zero and timed and covers and (counted is None or counted >= DAY_US)
    hint = "it takes a count or sum over at least a day, then a first event time over no shorter window"
    return None if fits else hint


def _trend_hint(base: Sequence[Feature]) -> str | None:
    short, long = base
    same = {(part.source, part.aggregation, part.measure, part.filters) for part in base}
    whole = all(part.window_us is not None and part.window_us % DAY_US == 0 for part in base)
    fits = len(same) == 1 and whole and short.empty_is_zero and (short.window_us or 0) < (long.window_us or 0)
    return None if fits else "it takes one count or sum over a short window in days, then over a longer one"


def _cyclic(spec: FeatureSpec) -> dict[str, tuple[str, ...]]:
    """Give each derived feature that reaches a cycle, with the way it goes."""
    derived = {item.name: item for item in spec.derived}
    found: dict[str, tuple[str, ...]] = {}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path or name in found:
            way = (*path[path.index(name) :], name) if name in path else (*path, *found[name])
            for member in path:
                found.setdefault(member, way)
            return
        if name in done or name not in derived:
            return
        for part in derived[name].inputs:
            visit(part, (*path, name))
        done.add(name)

    for name in derived:
        visit(name, ())
    return found
