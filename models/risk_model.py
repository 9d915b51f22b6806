"""The risk premium of a product, put together from its components, with the reasons for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.links import exp_one, respond, respond_one

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from models.families import Objective, Scorer

Kind = Literal["event", "claim_count", "frequency_severity", "claim_amount"]
ComponentName = Literal["probability", "frequency", "severity", "pure_premium"]

COMPONENTS: dict[Kind, dict[ComponentName, Objective]] = {
    "event": {"probability": "binary"},
    "claim_count": {"frequency": "poisson"},
    "frequency_severity": {"frequency": "poisson", "severity": "gamma"},
    "claim_amount": {"pure_premium": "tweedie"},
}


@dataclass(frozen=True)
class Reason:
    """What one input does to the risk premium.

    Attributes
    ----------
    input
        Rating factor or profile feature.
    contribution
        Natural logarithm of the relativity; contributions of all inputs add up to the raw score.
    """

    input: str
    contribution: float

    @property
    def relativity(self) -> float:
        """Factor on the expected cost against the average risk; for an event, factor on its odds."""
        return exp_one(self.contribution)


@dataclass(frozen=True)
class Scored:
    """A risk with its risk premium.

    Attributes
    ----------
    risk_premium_minor
        Expected cost of the full cover (a year, an order, a trip), minor units, not rounded.
    components
        Predicted probability, frequency, severity (minor units) or pure premium.
    reasons
        One per input that matters, strongest first.
    """

    risk_premium_minor: float
    components: dict[str, float]
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, eq=False)
class RiskModel:
    """Components of a response and how they make the risk premium.

    Attributes
    ----------
    kind
        Kind of response.
    family
        Model family of all components.
    inputs
        Names of the inputs, in column order.
    components
        Fitted models by component.
    benefit_minor
        Fixed benefit, minor units; 1 where amounts are modelled.
    load_minor
        Pooled excess of large losses per unit of exposure, minor units.
    """

    kind: Kind
    family: str
    inputs: tuple[str, ...]
    components: Mapping[ComponentName, Scorer]
    benefit_minor: float
    load_minor: float

    def predict(self, values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Predict every component, each shape (n,), from encoded risks, shape (n, inputs)."""
        return {
            name: respond(scorer.predict_raw(values), scorer.link) for name, scorer in self.components.items()
        }

    def risk_premium(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the expected cost of one full cover, minor units, shape (n,)."""
        return self.combine(self.predict(values))

    def combine(self, predicted: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Put predicted components together, minor units, shape (n,)."""
        product = None
        for part in predicted.values():
            product = part if product is None else product * part
        assert product is not None  # noqa: S101 - a model without components cannot be built
        return product * self.benefit_minor + self.load_minor

    def score_one(self, row: Sequence[float], *, explained: bool = True) -> Scored:
        """Score one encoded risk, bit-equal to `risk_premium`; without reasons unless `explained`."""
        predicted: dict[str, float] = {}
        cost = 0.0
        for name, scorer in self.components.items():
            value = respond_one(scorer.predict_raw_one(row), scorer.link)
            cost = cost * value if predicted else value
            predicted[name] = value
        reasons = self.reasons(row) if explained else ()
        return Scored(cost * self.benefit_minor + self.load_minor, predicted, reasons)

    def reasons(self, row: Sequence[float]) -> tuple[Reason, ...]:
        """Say what each input does, strongest first; inputs without effect are left out.

        Contributions of frequency and severity are added, since their relativities multiply.
        """
        sums = [0.0] * len(self.inputs)
        for scorer in self.components.values():
            for i, part in enumerate(scorer.contributions_one(row)):
                sums[i] += part
        ranked = sorted(range(len(sums)), key=lambda i: (-abs(sums[i]), i))
        return tuple(Reason(self.inputs[i], sums[i]) for i in ranked if sums[i])

    def contributions(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Contributions of all inputs, shape (n, inputs); what `reasons` says, for a batch."""
        total = None
        for scorer in self.components.values():
            part = scorer.contributions(values)
            total = part if total is None else total + part
        assert total is not None  # noqa: S101 - a model without components cannot be built
        return total
