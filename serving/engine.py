"""One price: a product in service, its model and its plan, for one risk or for a batch of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pricing.errors import CorridorError, TechnicalPremiumError
from pricing.ladder import build_ladder
from pricing.rules import Outcome, failed_rules
from serving.texts import REFERRAL_TEXTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from features.derive import Value
    from models.bundle import Bundle, Scored
    from pricing.factors import FactorValue
    from pricing.ladder import Ladder
    from pricing.plan import RatingPlan
    from pricing.product import Product
    from pricing.rules import Fact

Status = Literal["quoted", "referred", "declined"]


@dataclass(frozen=True)
class InService:
    """What prices one product: nothing of it changes while it serves.

    Attributes
    ----------
    product, plan, bundle
        Product file, rating plan and promoted model.
    model_version, model_hash
        Version of the model in the registry, and sha256 of its artifact.
    """

    product: Product
    plan: RatingPlan
    bundle: Bundle
    model_version: str
    model_hash: str


@dataclass(frozen=True)
class Decision:
    """What comes of one risk.

    Attributes
    ----------
    status
        `quoted`, `referred` (a person decides) or `declined`.
    outcomes
        Rules that were not met, and why no price was given.
    scored, ladder
        Model result and price; None where there is none.
    """

    status: Status
    outcomes: tuple[Outcome, ...]
    scored: Scored | None
    ladder: Ladder | None


def decide(
    service: InService,
    risk: Mapping[str, FactorValue],
    profile: Mapping[str, Value],
    facts: Mapping[str, Fact],
    channel: str,
) -> Decision:
    """Apply the rules, score the risk and build its price.

    Parameters
    ----------
    service
        What prices the product.
    risk
        Rated values of the factors (`pricing.factors.read_risk`).
    profile
        Values of the product's profile features.
    facts
        What is known of the customer, for the rules.
    channel
        Sales channel, one of the plan's.

    Raises
    ------
    UnknownChannelError
        If the plan has no commission for the channel.
    """
    service.plan.terms(channel)
    outcomes = rule_outcomes(service.product, risk, profile, facts)
    if any(outcome.effect == "decline" for outcome in outcomes):
        return Decision("declined", outcomes, None, None)
    scored = service.bundle.score_one(risk, profile)
    try:
        ladder = build_ladder(scored.risk_premium_minor, service.plan, channel)
    except CorridorError:
        return Decision("referred", (*outcomes, refusal("corridor")), scored, None)
    except TechnicalPremiumError:
        return Decision("referred", (*outcomes, refusal("technical_premium")), scored, None)
    if outcomes:
        return Decision("referred", outcomes, scored, None)
    return Decision("quoted", (), scored, ladder)


def rule_outcomes(
    product: Product, risk: Mapping[str, FactorValue], profile: Mapping[str, Value], facts: Mapping[str, Fact]
) -> tuple[Outcome, ...]:
    """Apply eligibility and underwriting rules to everything that is known."""
    known: dict[str, Fact] = {**facts, **profile, **risk}
    return failed_rules((*product.eligibility, *product.underwriting), known)


def refusal(kind: str) -> Outcome:
    """Give the outcome of a price that cannot be right (`corridor` or `technical_premium`)."""
    code = {"corridor": "price_outside_corridor", "technical_premium": "risk_premium_unusable"}[kind]
    return Outcome(code, "refer", REFERRAL_TEXTS[code])
