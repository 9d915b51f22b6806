"""Risk profiles at the moment of a quote: the feature definitions over the events of the serving store."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from features.evaluate import Evaluator
from models.fitted import history_keys, purposes_of
from pricing.product import Profile
from serving.clock import to_micros

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from features.derive import Value
    from features.evaluate import EntityEvaluator
    from features.spec import FeatureSpec
    from pricing.product import FittedName
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
    fitted
        Fitted features wanted beside them.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        names: Sequence[str],
        history: HistoryStore,
        fitted: Sequence[FittedName] = (),
    ) -> None:
        self.names = (*names, *fitted)
        self._features = tuple(names)
        self._fitted = tuple(fitted)
        self._spec = spec
        self._keys = history_keys(spec, Profile(features=self._features, fitted=self._fitted))
        self._history = history
        self._purposes = {name: frozenset(purposes_of(spec, name)) for name in self.names}
        self._evaluators: dict[tuple[str, ...], Evaluator] = {}
        self._kept: OrderedDict[tuple[str, Key, int, tuple[str, ...]], Mapping[str, Value]] = OrderedDict()

    @property
    def keys(self) -> tuple[str, ...]:
        """Key columns of the entities whose history the features look at, for example `customer_id`."""
        return self._keys

    def withheld(self, withdrawn: Collection[str]) -> tuple[str, ...]:
        """Name the features that may not be evaluated when the consent for some purposes is missing."""
        return tuple(name for name in self.names if not self._purposes[name].isdisjoint(withdrawn))

    def read(
        self, keys: Mapping[str, int | str | None], as_of: datetime, withdrawn: Collection[str] = ()
    ) -> dict[str, Value]:
        """Evaluate the features.

        Parameters
        ----------
        keys
            Value by key column (`customer_id`, ...); without one, the features of its entities are null.
        as_of
            UTC without zone; only what was known strictly before counts.
        withdrawn
            Purposes without the customer's consent: features that need one are null, and their sources are
            not read for them.
        """
        as_of_us = to_micros(as_of)
        found: dict[str, Value] = dict.fromkeys(self.names)
        for name, evaluator in self._evaluator(withdrawn).entities.items():
            columns = evaluator.entity.keys
            key = tuple(value for column in columns if (value := keys.get(column)) is not None)
            if len(key) == len(columns):
                found.update(self._one(name, evaluator, key, as_of_us))
        if self._fitted:
            dropped = self.withheld(withdrawn)
            allowed = [name for name in self._fitted if name not in dropped]
            found.update(self._history.fitted(allowed, keys, as_of))
        return found

    def forget(self, seller_id: int) -> None:
        """Drop what is kept of a seller, because an event of an earlier day came in late."""
        for place in [place for place in self._kept if place[1] == (seller_id,)]:
            del self._kept[place]

    def _evaluator(self, withdrawn: Collection[str]) -> Evaluator:
        dropped = self.withheld(withdrawn) if withdrawn else ()
        if dropped not in self._evaluators:
            kept = [name for name in self._features if name not in dropped]
            self._evaluators[dropped] = Evaluator(self._spec, kept)
        return self._evaluators[dropped]

    def _one(self, name: str, evaluator: EntityEvaluator, key: Key, as_of_us: int) -> Mapping[str, Value]:
        floored = evaluator.entity.floor(as_of_us)
        if evaluator.entity.grain_us == 1:
            return evaluator.evaluate(self._history.events(evaluator, key, floored), floored)
        # With a coarse grain the profile holds until the next multiple: a giant seller is read once a day.
        place = (name, key, floored, evaluator.names)
        if place not in self._kept:
            self._kept[place] = evaluator.evaluate(self._history.events(evaluator, key, floored), floored)
            if len(self._kept) > KEPT_SELLERS:
                self._kept.popitem(last=False)
        return self._kept[place]
