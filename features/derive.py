"""The kinds of derived features, each once as Python and once as SQL, side by side.

===========  ===============================  =========================================================
kind         inputs                           value
===========  ===============================  =========================================================
ratio        a, b                             a / b; null when b is 0
share        a, b, ...                        a / (a + b + ...); null when all are 0
mean         sum, count of the same events    sum / count; null when there were none
rate         a, first event time              a per day since then, at most its window, at least one day
recency      last event time                  whole days from it to as-of
tenure       first event time                 whole days from it to as-of
span         first, last event time           whole days between them
trend        short, long window of one count  daily rate of the short window / of the long window
seasonality  short, long window of one count  daily rate of the long window before the short one / of all
distinct     counts, one per level            number of counts above 0
===========  ===============================  =========================================================

With windows of 335 and 365 days, seasonality is what the 30 days that begin now brought a year ago, against
the year's average: plain differences of counts, so that no calendar can disagree between engines.

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
    if item.kind == "rate":
        return _rate(at[0], at[1], rate_window(spec, item))
    if item.kind == "trend":
        return _trend(at[0], at[1], *window_days(spec, item))
    if item.kind == "seasonality":
        return _seasonality(at[0], at[1], *window_days(spec, item))
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
    if item.kind == "rate":
        return _sql_rate(inputs[0], f"({as_of} - {inputs[1]})", rate_window(spec, item))
    if item.kind == "trend":
        short, long = window_days(spec, item)
        return _sql_quotient(f"{_double(inputs[0])} * {long}.0", f"{_double(inputs[1])} * {short}.0")
    if item.kind == "seasonality":
        short, long = window_days(spec, item)
        before = _double(f"{inputs[1]} - {inputs[0]}")
        return _sql_quotient(f"{before} * {long}.0", f"{_double(inputs[1])} * {long - short}.0")
    counted = (f"CASE WHEN {x} > 0 THEN 1 WHEN {x} IS NULL THEN NULL ELSE 0 END" for x in inputs)
    return f"({' + '.join(counted)})"


def window_days(spec: FeatureSpec, item: Derived) -> tuple[int, int]:
    """Give the windows of the two aggregates of a derived feature in whole days, the short one first."""
    short, long = (_aggregate(spec, name).window_us or 0 for name in item.inputs)
    return short // DAY_US, long // DAY_US


def rate_window(spec: FeatureSpec, item: Derived) -> int | None:
    """Give the length in microseconds of the window that a rate counts in; None for the whole life."""
    return _aggregate(spec, item.inputs[0]).window_us


def _aggregate(spec: FeatureSpec, name: str) -> Feature:
    found = spec.get(name)
    if not isinstance(found, Feature):  # load refuses this
        raise TypeError(f"{name!r} is no aggregate")
    return found


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


def _rate(a: int, since: int, window_us: int | None) -> Step:
    day = float(DAY_US)

    def step(values: list[Value], as_of: int) -> Value:
        count, begin = values[a], values[since]
        if count is None or begin is None:
            return None
        exposed = max(as_of - int(begin), DAY_US)
        if window_us is not None and exposed > window_us:
            exposed = window_us
        return float(count) * day / float(exposed)

    return step


def _seasonality(a: int, b: int, short: int, long: int) -> Step:
    up, down = float(long), float(long - short)

    def step(values: list[Value], _as_of: int) -> Value:
        recent, usual = values[a], values[b]
        return (float(usual - recent) * up) / (float(usual) * down) if usual and recent is not None else None

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


def _sql_rate(count: str, exposed: str, window_us: int | None) -> str:
    above = "" if window_us is None else f" WHEN {exposed} > {window_us} THEN {window_us}"
    bounded = f"CASE WHEN {exposed} < {DAY_US} THEN {DAY_US}{above} ELSE {exposed} END"
    return f"({_double(count)} * {DAY_US}.0 / {_double(bounded)})"


def _sql_days(later: str, earlier: str) -> str:
    # Times are integers below 2**53, so the double quotient never rounds up to the next whole day.
    return f"CAST(FLOOR(CAST({later} - {earlier} AS DOUBLE) / {DAY_US}.0) AS BIGINT)"
