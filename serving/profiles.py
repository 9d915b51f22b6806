"""Risk profiles at the moment of a quote: the feature definitions over the events of the serving store."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from features.evaluate import Evaluator
from serving.clock import to_micros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from features.derive import Value
    from features.evaluate import EntityEvaluator
    from features.spec import FeatureSpec
    from serving.history import HistoryStore, Key

KEPT_SELLERS = 10_000


class ProfileReader:
    """Evaluate a fixed set of features for the customer and the seller of a quote.

    Parameters
    ----------
    spec, names
        Feature definitions, and the features wanted, in order.
    history
        The serving store.
    """

    def __init__(self, spec: FeatureSpec, names: Sequence[str], history: HistoryStore) -> None:
        self.names = tuple(names)
        self._evaluator = Evaluator(spec, names)
        self._history = history
        self._kept: OrderedDict[tuple[str, Key, int], Mapping[str, Value]] = OrderedDict()

    @property
    def keys(self) -> tuple[str, ...]:
        """Key columns of the entities whose history the features look at, for example `customer_id`."""
        entities = (evaluator.entity for evaluator in self._evaluator.entities.values())
        return tuple(dict.fromkeys(column for entity in entities for column in entity.keys))

    def read(self, keys: Mapping[str, int | str | None], as_of: datetime) -> dict[str, Value]:
        """Evaluate the features.

        Parameters
        ----------
        keys
            Value by key column (`customer_id`, ...); without one, the features of its entities are null.
        as_of
            UTC without zone; only what was known strictly before counts.
        """
        as_of_us = to_micros(as_of)
        found: dict[str, Value] = dict.fromkeys(self.names)
        for name, evaluator in self._evaluator.entities.items():
            key = tuple(value for column in evaluator.entity.keys if (value := keys.get(column)) is not None)
            if len(key) == len(evaluator.entity.keys):
                found.update(self._one(name, evaluator, key, as_of_us))
        return found

    def _one(self, name: str, evaluator: EntityEvaluator, key: Key, as_of_us: int) -> Mapping[str, Value]:
        floored = evaluator.entity.floor(as_of_us)
        if evaluator.entity.grain_us == 1:
            return evaluator.evaluate(self._history.events(evaluator, key, floored), floored)
        # With a coarse grain the profile holds until the next multiple: a giant seller is read once a day.
        place = (name, key, floored)
        if place not in self._kept:
            self._kept[place] = evaluator.evaluate(self._history.events(evaluator, key, floored), floored)
            if len(self._kept) > KEPT_SELLERS:
                self._kept.popitem(last=False)
        return self._kept[place]
