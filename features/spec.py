"""The feature language as values: entities, sources, features and what is derived from them.

A feature aggregates the events of one source that belong to one entity and lie in ``[as_of - W, as_of)``.
A derived feature is arithmetic on other features of the same entity. Nothing here reads files or runs
queries.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from features.errors import UnknownFeature

if TYPE_CHECKING:
    from collections.abc import Iterable

DAY_US = 86_400_000_000
"""Microseconds of a day. Days are UTC days of exactly this length."""

LANGUAGE = 1
"""Version of the semantics; part of every hash, so that a changed meaning is a changed hash."""

Aggregation = Literal["count", "sum", "min", "max", "first", "last"]
Kind = Literal[
    "ratio", "share", "mean", "rate", "recency", "span", "tenure", "trend", "seasonality", "distinct"
]
Privacy = Literal["public", "internal", "personal"]

PRIVACY_ORDER: tuple[Privacy, ...] = ("public", "internal", "personal")
RESERVED = frozenset(
    {"row_id", "as_of", "as_of_us", "event_us", "known_us", "seen_us", "age_us", "event_tile", "seen_tile"}
)
FLOAT_KINDS = frozenset({"ratio", "share", "mean", "rate", "trend", "seasonality"})


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence in the two languages of the product."""

    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Entity:
    """What a profile is about.

    Parameters
    ----------
    name
        Name in the definitions.
    keys
        Columns that identify it, the same in labels and in sources.
    grain_us
        Its as-of time is floored to a multiple of this; 1 means exact. A coarse grain lets events be tiled
        before the join, and a profile be kept until the next multiple.
    """

    name: str
    keys: tuple[str, ...]
    grain_us: int

    def floor(self, as_of_us: int) -> int:
        """Give the as-of time at which this entity is really looked at."""
        return as_of_us - as_of_us % self.grain_us


@dataclass(frozen=True, slots=True)
class Filter:
    """Keep the events whose column holds one of the values; a null is never one of them."""

    column: str
    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Events: rows of a table at the time at which they happened.

    Parameters
    ----------
    name, table
        Name in the definitions, and the table it reads.
    time
        Column of the event time, which windows are measured in. Rows where it is null are no events.
    known
        Column of the time at which the row became known, where that is not the event time. A row counts only
        when this too lies strictly before as-of; rows where it is null are not known yet.
    keys
        Entity key columns that the table has.
    measures
        Integer columns that may be aggregated.
    levels
        Text columns that may be filtered on.
    where
        Row filter of the source itself.
    owner, privacy, purpose
        Who answers for it, who may see it, and the purpose of use that the customer must have agreed to.
    """

    name: str
    table: str
    time: str
    known: str | None
    keys: tuple[str, ...]
    measures: tuple[str, ...]
    levels: tuple[str, ...]
    where: tuple[Filter, ...]
    owner: str
    privacy: Privacy
    purpose: str
    description: Text


@dataclass(frozen=True, slots=True)
class Feature:
    """One aggregate over one source within one window.

    Parameters
    ----------
    measure
        An integer column of the source or its event time; None for a count.
    window_us
        Length of the window in microseconds; None for the whole life.
    """

    name: str
    entity: str
    source: str
    aggregation: Aggregation
    measure: str | None
    filters: tuple[Filter, ...]
    window_us: int | None
    unit: str
    description: Text
    owner: str
    privacy: Privacy
    purpose: str

    @property
    def empty_is_zero(self) -> bool:
        """Counts and sums of nothing are 0, all other aggregates of nothing are null."""
        return self.aggregation in {"count", "sum"}


@dataclass(frozen=True, slots=True)
class Derived:
    """Arithmetic on other features of one entity; see `features.derive` for the kinds."""

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    unit: str
    description: Text


@dataclass(frozen=True)
class FeatureSpec:
    """All definitions, checked, in the order of the file."""

    entities: tuple[Entity, ...]
    sources: tuple[Source, ...]
    features: tuple[Feature, ...]
    derived: tuple[Derived, ...]

    @cached_property
    def entity(self) -> dict[str, Entity]:
        """Entities by name."""
        return {entity.name: entity for entity in self.entities}

    @cached_property
    def source(self) -> dict[str, Source]:
        """Sources by name."""
        return {source.name: source for source in self.sources}

    @cached_property
    def definition(self) -> dict[str, Feature | Derived]:
        """Features and derived features by name."""
        items: tuple[Feature | Derived, ...] = (*self.features, *self.derived)
        return {item.name: item for item in items}

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, in the order of the file."""
        return tuple(self.definition)

    def get(self, name: str) -> Feature | Derived:
        """Look one definition up, or refuse with the nearest name as a hint."""
        try:
            return self.definition[name]
        except KeyError:
            raise UnknownFeature(name, self.definition) from None

    def closure(self, names: Iterable[str]) -> tuple[Feature | Derived, ...]:
        """Give the definitions behind some names, inputs before what is derived from them."""
        ordered: dict[str, Feature | Derived] = {}

        def visit(name: str) -> None:
            if name in ordered:
                return
            item = self.get(name)
            if isinstance(item, Derived):
                for source in item.inputs:
                    visit(source)
            ordered[name] = item

        for name in names:
            visit(name)
        return tuple(ordered.values())

    def base(self, names: Iterable[str]) -> tuple[Feature, ...]:
        """Give the aggregates behind some names."""
        return tuple(item for item in self.closure(names) if isinstance(item, Feature))

    def entity_of(self, name: str) -> Entity:
        """Give the entity that a feature describes."""
        return self.entity[self.base([name])[0].entity]

    def entities_of(self, names: Iterable[str]) -> tuple[Entity, ...]:
        """Give the entities behind some names, in the order of the file."""
        used = {feature.entity for feature in self.base(names)}
        return tuple(entity for entity in self.entities if entity.name in used)

    def is_float(self, name: str) -> bool:
        """Tell whether values are floats; all others are integers."""
        item = self.get(name)
        return isinstance(item, Derived) and item.kind in FLOAT_KINDS

    def privacy_of(self, name: str) -> Privacy:
        """Give the strictest privacy class of all that a feature is made from."""
        return max((feature.privacy for feature in self.base([name])), key=PRIVACY_ORDER.index)

    def purposes_of(self, name: str) -> tuple[str, ...]:
        """Give every purpose that a customer must have agreed to before this feature may be evaluated."""
        return tuple(dict.fromkeys(feature.purpose for feature in self.base([name])))

    def owners_of(self, name: str) -> tuple[str, ...]:
        """Give those who answer for what a feature is made from."""
        return tuple(dict.fromkeys(feature.owner for feature in self.base([name])))

    def hash(self, names: Iterable[str]) -> str:
        """Fingerprint what the values of some features depend on.

        Descriptions, owners and privacy classes are left out: they change no number. The order of the names
        does not matter, neither does anything that the names do not reach.

        Returns
        -------
        str
            SHA-256 in hexadecimal, over canonical JSON.
        """
        text = json.dumps(
            self._meaning(tuple(names)), sort_keys=True, separators=(",", ":"), ensure_ascii=True
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def _meaning(self, names: tuple[str, ...]) -> dict[str, object]:
        items = self.closure(names)
        base = [item for item in items if isinstance(item, Feature)]
        return {
            "language": LANGUAGE,
            "names": sorted(set(names)),
            "entities": {name: _entity_meaning(self.entity[name]) for name in {item.entity for item in base}},
            "sources": {name: _source_meaning(self.source[name]) for name in {item.source for item in base}},
            "features": {item.name: _feature_meaning(item) for item in base},
            "derived": {
                item.name: {"kind": item.kind, "inputs": item.inputs, "unit": item.unit}
                for item in items
                if isinstance(item, Derived)
            },
        }


def _entity_meaning(entity: Entity) -> dict[str, object]:
    return {"keys": entity.keys, "grain_us": entity.grain_us}


def _source_meaning(source: Source) -> dict[str, object]:
    # The columns that a feature uses stand in the feature; those that none uses change nothing.
    clocks = {"time": source.time, **({} if source.known is None else {"known": source.known})}
    return {"table": source.table, **clocks, "where": _filter_meaning(source.where)}


def _feature_meaning(item: Feature) -> dict[str, object]:
    return {
        "entity": item.entity,
        "source": item.source,
        "aggregation": item.aggregation,
        "measure": item.measure,
        "filters": _filter_meaning(item.filters),
        "window_us": item.window_us,
        "unit": item.unit,
    }


def _filter_meaning(filters: tuple[Filter, ...]) -> dict[str, list[str | int]]:
    return {item.column: sorted(item.values, key=str) for item in filters}
