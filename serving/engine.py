"""One price: a product in service, its model and its plan, for one risk or for a batch of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from pricing.errors import CorridorError, NoPriceError
from pricing.ladder import PriceInputs, build_ladder
from pricing.plan import plan_on
from pricing.rules import Outcome, failed_rules
from serving.experience import model_risk, relativity_of
from serving.http.exchange import mark
from serving.offers import offer_one
from serving.texts import REFERRAL_TEXTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from features.derive import Value
    from models.bundle import Bundle, Scored
    from pricing.experience import OwnHistory
    from pricing.factors import FactorValue
    from pricing.ladder import Ladder
    from pricing.plan import RatingPlan
    from pricing.product import Product
    from pricing.rules import Fact
    from serving.challenge import Rival
    from serving.offers import Asking, LivePolicy, Offer

REFERRALS = {
    "technical_premium": "risk_premium_unusable",
    "limits": "limits_contradict",
    "below_expenses": "price_below_expenses",
    "corridor": "price_outside_corridor",
}
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
    plans
        All active plans of the product, each of which prices in its time; `plan` alone when empty.
    policies
        Price policies that its plans name, by checksum of the file.
    rival
        Challenger or shadow; None when none runs, and where none is asked for.
    """

    product: Product
    plan: RatingPlan
    bundle: Bundle
    model_version: str
    model_hash: str
    plans: tuple[RatingPlan, ...] = ()
    policies: Mapping[str, LivePolicy] = field(default_factory=dict)
    rival: Rival | None = None

    def on(self, day: date) -> InService:
        """Give what prices on a day.

        Raises
        ------
        PlanNotEffectiveError
            If no plan is in force on it.
        """
        plan = plan_on(self.plans or (self.plan,), day)
        if plan is self.plan:
            return self
        return replace(self, plan=plan, rival=None if self.rival is None else self.rival.on(day))

    @property
    def policy(self) -> LivePolicy | None:
        """Price policy of the plan; None where it names none."""
        named = self.plan.price_policy
        return None if named is None else self.policies[named.sha256]


@dataclass(frozen=True)
class Sale:
    """How a cover is sold.

    Attributes
    ----------
    channel, sub_channel
        Through whom, as the plan names them.
    expiring_minor
        Price of the cover that is renewed, minor units; 0 for new business.
    bundle
        Bundle in which it is sold; such a sale takes no part in price tests.
    """

    channel: str
    sub_channel: str | None = None
    expiring_minor: int = 0
    bundle: str | None = None


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
    inputs
        What the price was built from; None for a declined risk.
    own
        Own history that counted; None where the product keeps none, or it was not looked at.
    offer
        What price policy and price test did; None for a declined risk.
    indicated, indicated_minor
        Ladder and price of a referred risk, for the person who decides: nobody has offered them, and the
        price may lie outside what is filed. None where there is none.
    """

    status: Status
    outcomes: tuple[Outcome, ...]
    scored: Scored | None
    ladder: Ladder | None
    inputs: PriceInputs | None = None
    own: OwnHistory | None = None
    offer: Offer | None = None
    indicated: Ladder | None = None
    indicated_minor: int | None = None


def decide(
    service: InService,
    risk: Mapping[str, FactorValue],
    profile: Mapping[str, Value],
    facts: Mapping[str, Fact],
    sale: Sale,
    own: OwnHistory | None = None,
    tested: Asking | None = None,
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
    sale
        Through whom it is sold, and what it renews.
    own
        Own history of the customer or the seller, where the product keeps it; absent, it counts as the
        average.
    tested
        Price test of the product that runs, and who asks; None when none runs.

    Raises
    ------
    UnknownChannelError
        If the plan has no commission for the channel.
    """
    service.plan.terms(sale.channel, sale.sub_channel)
    outcomes = rule_outcomes(service.product, risk, profile, facts)
    if any(outcome.effect == "decline" for outcome in outcomes):
        return Decision("declined", outcomes, None, None)
    scored = service.bundle.score_one(model_risk(service.product, risk), profile)
    mark("score")
    inputs = price_inputs(service, risk, scored, sale, own)
    outlet = (sale.channel, sale.sub_channel)
    inputs, offer = offer_one(
        service.plan, service.policy, inputs, outlet, risk, None if sale.bundle else tested
    )
    try:
        ladder = build_ladder(inputs, service.plan, sale.channel, sale.sub_channel)
        mark("ladder")
    except NoPriceError as error:
        outside = error.price_minor if isinstance(error, CorridorError) else None
        outcomes = (*outcomes, refusal(error.kind))
        return Decision("referred", outcomes, scored, None, inputs, own, offer, indicated_minor=outside)
    if outcomes:
        price = ladder.price_minor
        return Decision("referred", outcomes, scored, None, inputs, own, offer, ladder, price)
    return Decision("quoted", (), scored, ladder, inputs, own, offer)


def price_inputs(
    service: InService,
    risk: Mapping[str, FactorValue],
    scored: Scored,
    sale: Sale,
    own: OwnHistory | None = None,
) -> PriceInputs:
    """Gather what the ladder of one risk is built from; `batch_inputs` does the same for columns."""
    plan = service.plan
    return PriceInputs(
        risk_premium_minor=scored.risk_premium_minor,
        relativities=plan.relativities_of(risk),
        experience=relativity_of(service, risk, own, scored),
        cover_minor=plan.cover_of(service.product, risk),
        expiring_minor=sale.expiring_minor,
        bundle=plan.bundle_multiplier(sale.bundle),
    )


def rule_outcomes(
    product: Product, risk: Mapping[str, FactorValue], profile: Mapping[str, Value], facts: Mapping[str, Fact]
) -> tuple[Outcome, ...]:
    """Apply the rules of who may buy, then underwriting, to everything that is known."""
    known: dict[str, Fact] = {**facts, **profile, **risk}
    return failed_rules(product.quote_rules, known)


def refusal(kind: str) -> Outcome:
    """Give the outcome of a price that cannot be (`kind` of a `NoPriceError`)."""
    code = REFERRALS[kind]
    return Outcome(code, "refer", REFERRAL_TEXTS[code])
