"""What the change of each policy is due to: the columns that a batch of an impact gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from models.attribution import (
    BASE,
    BENEFIT,
    LOAD,
    Steps,
    apportion,
    comparable,
    premiums,
    split_premium,
    split_steps,
)
from serving.batch_engine import PRICE_SCHEMA
from serving.errors import ImpactError
from serving.reprice import decide_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from features.spec import FeatureSpec
    from models.bundle import Bundle
    from serving.engine import InService
    from serving.reprice import PricedBatch
    from serving.sides import Side

    Minor = NDArray[np.int64]

RISK = "risk_premium"
STEPS = tuple(
    name.removeprefix("step_").removesuffix("_minor")
    for name in PRICE_SCHEMA.names
    if name.startswith("step_")
)
FACTOR, FOLLOWS, PLAN = "factor_", "follows_", "plan_"
PARTS = {BASE: "base_level", BENEFIT: "benefit", LOAD: "large_loss_load"}


@dataclass(frozen=True)
class Splitter:
    """Splits changes of price by cause.

    Attributes
    ----------
    old, new
        The two ways of pricing.
    spec
        Feature definitions, to price between them.
    """

    old: Side
    new: Side
    spec: FeatureSpec

    def __post_init__(self) -> None:
        """Refuse sides that do not differ."""
        if self.same_model and self.same_plan:
            raise ImpactError(f"old and new are the same: {self.new.label}")

    @property
    def same_model(self) -> bool:
        """Whether both sides have one risk premium for every policy."""
        return self.old.model_key == self.new.model_key

    @property
    def same_plan(self) -> bool:
        """Whether both sides have one plan."""
        return self.old.plan_key == self.new.plan_key

    @property
    def bundles(self) -> tuple[Bundle, Bundle] | None:
        """Both models, where the change from one to the other can be split by input."""
        if self.old.service is None or self.new.service is None:
            return None
        old, new = self.old.service.bundle, self.new.service.bundle
        return (old, new) if comparable(old.model, new.model) else None

    @property
    def why_whole(self) -> str:
        """Why the change of the risk premium is not split by input; empty where it is, or does not change."""
        if self.same_model or self.bundles is not None:
            return ""
        if self.old.service is None or self.new.service is None:
            return "Stored prices do not say which factors the change of the risk premium is due to."
        return (
            "The risk premium is not split by factor: that needs two models that are sums of tables "
            "(GLM, GA2M, tariff) with one link. Hint: premia tariff distil"
        )

    @property
    def columns(self) -> list[str]:
        """Names of the columns, minor units; the causes of every policy add up to its change."""
        names: list[str] = []
        if not self.same_model:
            names += [FACTOR + name for name in self._inputs()]
            names += [FOLLOWS + step for step in STEPS if step != RISK]
        if not self.same_plan:
            names += [PLAN + step for step in STEPS]
        return [f"{name}_minor" for name in names]

    @property
    def schema(self) -> pa.Schema:
        """Arrow fields of the columns."""
        return pa.schema([pa.field(name, pa.int64()) for name in self.columns])

    def _inputs(self) -> list[str]:
        if self.bundles is None:
            return [RISK]
        old, new = self.bundles
        inputs = dict.fromkeys([*old.encoding.inputs, *new.encoding.inputs])
        return [*inputs, *PARTS.values()]

    def split(self, old: PricedBatch, new: PricedBatch, both: NDArray[np.int64]) -> dict[str, Minor]:
        """Split the changes of some rows of a batch.

        Parameters
        ----------
        old, new
            One batch priced both ways.
        both
            Rows that have a price both ways, shape (n,).

        Returns
        -------
        dict
            Column -> part of each change, shape (n,), in the order of `columns`.
        """
        before, after = steps_of(old.decided, both), steps_of(new.decided, both)
        by_model, by_plan = split_steps(before, after, *self._between(old, new, both), RISK)
        found: dict[str, Minor] = {}
        if not self.same_model:
            found |= self._factors(old, new, both, by_model[RISK])
            found |= {FOLLOWS + step: by_model[step] for step in STEPS if step != RISK}
        if not self.same_plan:
            found |= {PLAN + step: by_plan[step] for step in STEPS}
        return {f"{name}_minor": part for name, part in found.items()}

    def _between(self, old: PricedBatch, new: PricedBatch, both: NDArray[np.int64]) -> tuple[Steps, Steps]:
        """Give the ladders of the new model under the old plan, and of the old model under the new plan."""
        before, after = steps_of(old.decided, both), steps_of(new.decided, both)
        if self.same_model:
            return before, after
        if self.same_plan:
            return after, before
        if self.old.service is None or self.new.service is None:
            nothing = replace(before, priced=np.zeros(len(both), dtype=bool))
            return nothing, nothing
        policies = {**self.old.service.policies, **self.new.service.policies}
        model_first = replace(self.new.service, plan=self.old.service.plan, policies=policies)
        plan_first = replace(self.old.service, plan=self.new.service.plan, policies=policies)
        return self._priced(model_first, new, both), self._priced(plan_first, old, both)

    def _priced(self, service: InService, batch: PricedBatch, both: NDArray[np.int64]) -> Steps:
        if service.plan.product_problems(service.product):  # a table of a factor that only one side has
            return replace(steps_of(batch.decided, both), priced=np.zeros(len(both), dtype=bool))
        rows = pa.array(both)
        decided = decide_rows(service, self.spec, batch.own.take(rows), batch.risks.take(rows))
        return steps_of(decided, np.arange(len(both)))

    def _factors(
        self, old: PricedBatch, new: PricedBatch, both: NDArray[np.int64], total: Minor
    ) -> Mapping[str, Minor]:
        if self.bundles is None:
            return {FACTOR + RISK: total}
        scored = [
            premiums(bundle.model, bundle.encoding.encode(batch.risks).matrix[both])
            for bundle, batch in zip(self.bundles, (old, new), strict=True)
        ]
        parts = split_premium(*scored)
        names = [PARTS.get(name, name) for name in parts]
        whole = dict(zip(names, apportion(np.stack(list(parts.values()), axis=1), total).T, strict=True))
        return {FACTOR + name: whole[name] for name in self._inputs()}


def steps_of(decided: pa.RecordBatch, rows: NDArray[np.int64]) -> Steps:
    """Read the ladders of some rows."""
    amounts = {
        step: decided.column(f"step_{step}_minor").fill_null(0).to_numpy(zero_copy_only=False)[rows]
        for step in STEPS
    }
    priced = decided.column("price_minor").is_valid().to_numpy(zero_copy_only=False)[rows]
    return Steps(amounts, priced)
