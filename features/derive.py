"""The kinds of derived features, each once as Python and once as SQL, side by side.

=========  ================================  =================================================
kind       inputs                            value
=========  ================================  =================================================
ratio      a, b                              a / b; null when b is 0
share      a, b, ...                         a / (a + b + ...); null when all are 0
mean       sum, count of the same events     sum / count; null when there were none
recency    last event time                   whole days from it to as-of
tenure     first event time                  whole days from it to as-of
span       first, last event time            whole days between them
trend      short, long window of one count   daily rate of the short window / of the long window
distinct   counts, one per level             number of counts above 0
=========  ================================  =================================================

A null input gives null. Both forms convert to double before they divide: results are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from features.spec import DAY_US, Derived, Feature, FeatureSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value: TypeAlias = int | float | None
Step: TypeAlias = Callable[[list[Value], int], Value]


def python_step(spec: FeatureSpec, item: Derived, slot: Mapping[str, int]) -> Step:
    """Compile a derived feature to a function of (values by slot, as-of in microseconds)."""
    at = [slot[name] for name in item.inputs]
    if item.kind in {"ratio", "mean"}:
        return _ratio(at[0], at[1])
    if item.kind == "share":
        return _share(at)
    if item.kind in {"recency", "tenure"}:
        return _age(at[0])
    if item.kind == "span":
        return _span(at[0], at[1])
    if item.kind == "trend":
        return _trend(at[0], at[1], *trend_days(spec, item))
    return _distinct(at)


def sql_expression(spec: FeatureSpec, item: Derived, inputs: Sequence[str], as_of: str) -> str:
    """Compile a derived feature to SQL over the expressions of its inputs.

    Parameters
    ----------
    spec, item
        The definitions and the one to compile.
    inputs
        SQL of each input, in order.
    as_of
        SQL of the entity's as-of time in microseconds.
    """
    if item.kind in {"ratio", "mean"}:
        return _sql_quotient(_double(inputs[0]), _double(inputs[1]))
    if item.kind == "share":
        return _sql_quotient(_double(inputs[0]), " + ".join(_double(text) for text in inputs))
    if item.kind in {"recency", "tenure"}:
        return _sql_days(as_of, inputs[0])
    if item.kind == "span":
        return _sql_days(inputs[1], inputs[0])
    if item.kind == "trend":
        short, long = trend_days(spec, item)
        return _sql_quotient(f"{_double(inputs[0])} * {long}.0", f"{_double(inputs[1])} * {short}.0")
    return (
        "("
        + " + ".join(f"CASE WHEN {x} > 0 THEN 1 WHEN {x} IS NULL THEN NULL ELSE 0 END" for x in inputs)
        + ")"
    )


def trend_days(spec: FeatureSpec, item: Derived) -> tuple[int, int]:
    """Give the two windows of a trend in whole days, the short one first."""
    short, long = (spec.get(name) for name in item.inputs)
    if not isinstance(short, Feature) or not isinstance(long, Feature):  # load refuses this
        raise TypeError(f"trend {item.name!r} needs two aggregates")
    return (short.window_us or 0) // DAY_US, (long.window_us or 0) // DAY_US


def _ratio(a: int, b: int) -> Step:
    def step(values: list[Value], _as_of: int) -> Value:
        top, below = values[a], values[b]
        return float(top) / float(below) if below and top is not None else None

    return step


def _share(at: list[int]) -> Step:
    def step(values: list[Value], _as_of: int) -> Value:
        total = 0.0
        for index in at:
            value = values[index]
            if value is None:
                return None
            total += float(value)
        return float(values[at[0]] or 0) / total if total else None

    return step


def _age(at: int) -> Step:
    def step(values: list[Value], as_of: int) -> Value:
        since = values[at]
        return None if since is None else (as_of - int(since)) // DAY_US

    return step


def _span(first: int, last: int) -> Step:
    def step(values: list[Value], _as_of: int) -> Value:
        start, end = values[first], values[last]
        return None if start is None or end is None else (int(end) - int(start)) // DAY_US

    return step


def _trend(a: int, b: int, short: int, long: int) -> Step:
    up, down = float(long), float(short)

    def step(values: list[Value], _as_of: int) -> Value:
        recent, usual = values[a], values[b]
        return (float(recent) * up) / (float(usual) * down) if usual and recent is not None else None

    return step


def _distinct(at: list[int]) -> Step:
    def step(values: list[Value], _as_of: int) -> Value:
        found = 0
        for index in at:
            value = values[index]
            if value is None:
                return None
            found += value > 0
        return found

    return step


def _double(text: str) -> str:
    return f"CAST({text} AS DOUBLE)"


def _sql_quotient(top: str, below: str) -> str:
    return f"CASE WHEN {below} = 0 THEN NULL ELSE ({top}) / ({below}) END"


def _sql_days(later: str, earlier: str) -> str:
    # Times are integers below 2**53, so the double quotient never rounds up to the next whole day.
    return f"CAST(FLOOR(CAST({later} - {earlier} AS DOUBLE) / {DAY_US}.0) AS BIGINT)"
