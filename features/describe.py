"""Say what features are: in a few lines, as a tree down to table columns, and as the page docs/features.md.

``python -m features.describe > docs/features.md`` writes the page anew.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from features.load import default_spec
from features.spec import DAY_US, Derived, Feature, FeatureSpec, Filter, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOUR_US = 3_600_000_000

FORMULAS = {
    "ratio": "{0} / {1}",
    "share": "{0} / ({all})",
    "mean": "{0} / {1}",
    "recency": "whole days from {0} to as-of",
    "tenure": "whole days from {0} to as-of",
    "span": "whole days from {0} to {1}",
    "rate": "{0} per day since {1}",
    "trend": "daily rate of {0} / daily rate of {1}",
    "seasonality": "daily rate of {1} before {0} / daily rate of {1}",
    "distinct": "how many are above 0 of {list}",
}


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a value comes from.

    Parameters
    ----------
    name
        Feature, or ``table.column`` at the leaves.
    formula
        How it is made from its inputs; empty at the leaves.
    inputs
        What it is made from.
    """

    name: str
    formula: str
    inputs: tuple[Lineage, ...]

    def lines(self, indent: str = "") -> Iterator[str]:
        """Write the tree, one line per node."""
        yield f"{indent}{self.name}" + (f" = {self.formula}" if self.formula else "")
        for part in self.inputs:
            yield from part.lines(indent + "  ")

    def columns(self) -> tuple[str, ...]:
        """Give the table columns at the leaves, each once, in alphabetical order."""
        if not self.inputs:
            return (self.name,)
        return tuple(sorted({column for part in self.inputs for column in part.columns()}))


def lineage(spec: FeatureSpec, name: str) -> Lineage:
    """Trace a feature down to the columns of tables."""
    item = spec.get(name)
    if isinstance(item, Derived):
        return Lineage(name, formula(spec, name), tuple(lineage(spec, part) for part in item.inputs))
    source = spec.source[item.source]
    clocks = [source.time] if source.known is None else [source.time, source.known]
    columns = [*clocks, *spec.entity[item.entity].keys, *([item.measure] if item.measure else [])]
    columns += [part.column for part in (*item.filters, *source.where)]
    leaves = tuple(Lineage(f"{source.table}.{column}", "", ()) for column in dict.fromkeys(columns))
    return Lineage(name, formula(spec, name), leaves)


def formula(spec: FeatureSpec, name: str) -> str:
    """Write how a feature is made from its inputs, or from the events of its source."""
    item = spec.get(name)
    if isinstance(item, Derived):
        joined, listed = " + ".join(item.inputs), ", ".join(item.inputs)
        return FORMULAS[item.kind].format(*item.inputs, all=joined, list=listed)
    measure = f"({item.measure})" if item.measure else ""
    kept = _filter_text(item.filters)
    return f"{item.aggregation}{measure} of {item.source}{kept}, {window_text(item.window_us)}"


def window_text(window_us: int | None) -> str:
    """Write a window as in the definitions."""
    if window_us is None:
        return "lifetime"
    return f"{window_us // DAY_US}d" if window_us % DAY_US == 0 else f"{window_us // HOUR_US}h"


def facts(spec: FeatureSpec, name: str) -> dict[str, str]:
    """Give what there is to know of one feature beside its meaning, by heading."""
    item = spec.get(name)
    return {
        "formula": formula(spec, name),
        "unit": item.unit,
        "entity": spec.entity_of(name).name,
        "type": "float" if spec.is_float(name) else "integer",
        "owner": ", ".join(spec.owners_of(name)),
        "privacy": spec.privacy_of(name),
        "purpose": ", ".join(spec.purposes_of(name)),
        "hash": spec.hash([name]),
    }


def describe(spec: FeatureSpec, name: str, *, language: str = "en") -> str:
    """Describe one feature in a few lines: meaning, formula, unit, entity, owner, privacy, purpose, hash."""
    item = spec.get(name)
    meaning = item.description.zh if language == "zh" else item.description.en
    return "\n".join(
        [f"{name}: {meaning}", *(f"  {key:8} {value}" for key, value in facts(spec, name).items())]
    )


def markdown(spec: FeatureSpec) -> str:
    """Write the page of all features."""
    parts = [HEAD, "## Sources\n", _table(_SOURCE_HEAD, (_source_row(source) for source in spec.sources))]
    for entity in spec.entities:
        grain = "exactly at as-of" if entity.grain_us == 1 else "at the last midnight UTC not after as-of"
        parts.append(f"## Features of {entity.name}\n")
        parts.append(f"Identified by {_code(entity.keys)}; looked at {grain}.\n")
        names = [name for name in spec.names if spec.entity_of(name) is entity]
        parts.append(_table(_FEATURE_HEAD, (_feature_row(spec, name) for name in names)))
    return "\n".join(parts).rstrip("\n") + "\n"


HEAD = """# Features

Made from data/reference/features.toml by `python -m features.describe > docs/features.md`; a test holds
it current.

A feature looks at the events in `[as-of - window, as-of)`: an event at as-of itself is never seen, one
exactly a window ago is. A day is 86,400 seconds UTC. Counts and sums of nothing are 0; every other
aggregate of nothing, a division by 0, and every feature of an unknown entity are null. Of several events
at one instant, `first` takes the least measure and `last` the greatest. Money is in minor units
(`minor`), event times are microseconds since 1970 (`us`). A source with a second clock counts an event only
when the time at which it became known lies strictly before as-of too; the window is measured in event time.
Rates are per day since the given time, of at most their window and at least one day.

The same definitions run as SQL in DuckDB (`features.build_profiles`, `features.write_profiles` for more
labels than memory holds), on Spark (`features.spark.build_profiles_spark`, extra `[spark]`) and per
customer in memory (`features.Evaluator`), with equal results to the last bit. `premia features list`,
`describe NAME` and `lineage NAME` print them.
"""
_SOURCE_HEAD = (
    "source",
    "table",
    "event time",
    "known",
    "rows",
    "owner",
    "privacy",
    "purpose",
    "description",
    "说明",
)
_FEATURE_HEAD = ("feature", "formula", "unit", "privacy", "description", "说明")


def _source_row(source: Source) -> tuple[str, ...]:
    rows = _filter_text(source.where).strip() or "all"
    facts = (source.owner, source.privacy, source.purpose, source.description.en, source.description.zh)
    return (source.name, source.table, source.time, source.known or "at once", rows, *facts)


def _feature_row(spec: FeatureSpec, name: str) -> tuple[str, ...]:
    item: Feature | Derived = spec.get(name)
    meaning = (item.description.en, item.description.zh)
    return (f"`{name}`", formula(spec, name), item.unit, spec.privacy_of(name), *meaning)


def _filter_text(filters: Sequence[Filter]) -> str:
    return "".join(
        f" with {part.column} in {', '.join(str(value) for value in part.values)}" for part in filters
    )


def _code(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown(default_spec()))
