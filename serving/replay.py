"""Replay: recompute a stored quote from what is on record, step by step beside what was answered.

Nothing that can have changed since is read: the risk, the profile, the facts and the multipliers come from
the record, product file and rating plan from the archive, the model from the registry, each by its hash.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models.errors import ArtifactError
from pricing.errors import NoPriceError
from pricing.experience import OwnHistory
from pricing.factors import NumberFactor
from pricing.ladder import build_ladder, settle
from pricing.plan import MILLION
from pricing.rules import Outcome
from serving.challenge import CHALLENGER, CHAMPION, cast_shadow, in_challenger_arm
from serving.engine import InService, Sale, price_inputs, refusal, rule_outcomes
from serving.errors import UnknownQuoteError
from serving.experience import model_risk
from serving.views import stored_quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.bundle import Scored
    from models.registry import Registry
    from pricing.factors import FactorValue
    from pricing.ladder import Ladder, PriceInputs
    from pricing.plan import RatingPlan
    from pricing.product import Product
    from serving.records import SyncRecords
    from serving.records.chain import Seal
    from serving.wire import Quote


@dataclass(frozen=True)
class Line:
    """One figure of a quote.

    Attributes
    ----------
    name
        What it is.
    stored, recomputed
        As it was answered, and as it comes out now; None where there is none.
    """

    name: str
    stored: object
    recomputed: object


@dataclass(frozen=True)
class Replay:
    """A quote beside its recomputation.

    Attributes
    ----------
    quote
        As it was answered.
    seal
        Whether the record is what was stored.
    lines
        Figures in the order in which they come about.
    """

    quote: Quote
    seal: Seal
    lines: tuple[Line, ...]

    @property
    def first_difference(self) -> Line | None:
        """The first figure that comes out otherwise; None when all are equal."""
        return next((line for line in self.lines if line.stored != line.recomputed), None)


def replay(quote_id: str, store: SyncRecords, registry: Registry) -> Replay:
    """Recompute a stored quote.

    Parameters
    ----------
    quote_id
        Of a stored quote.
    store, registry
        Where quotes, and where models, plans and product files are kept.

    Raises
    ------
    UnknownQuoteError
        If no quote has this id.
    ArtifactError, RegistryError
        If the product file, the plan or the model is missing, or is not what priced.
    """
    record = store.get(quote_id)
    if record.status == "draft":
        raise UnknownQuoteError(f"{quote_id!r} is a draft: there is no price to recompute")
    body = record.body
    quote = stored_quote(body["answer"])
    versions = quote.versions
    plan = registry.archive.plan(versions.plan_hash)
    product = registry.archive.product(versions.product_hash)
    bundle, found = registry.stored(quote.product, versions.model_version, versions.model)
    if found != versions.model_hash:
        raise ArtifactError(
            f"model version {versions.model_version} of {quote.product} has the hash {found[:12]}; "
            f"the quote was priced by {versions.model_hash[:12]}. Hint: restore the registry from a backup"
        )
    service = InService(product, plan, bundle, versions.model_version, found)
    lines = [*_compare(body, quote, service), *_challenge_lines(body, quote, service, registry)]
    return Replay(quote, store.check_seal(quote_id), tuple(lines))


def _compare(body: Mapping[str, Any], quote: Quote, service: InService) -> list[Line]:
    product, plan = service.product, service.plan
    risk = _risk(product, quote.risk)
    outcomes = _rules(body, quote, product, risk)
    lines = []
    scored, ladder = None, None
    if not any(outcome.effect == "decline" for outcome in outcomes):
        scored = service.bundle.score_one(model_risk(product, risk), quote.profile)
        inputs = _inputs(body, quote, service, risk, scored)
        try:
            ladder = build_ladder(inputs, plan, quote.channel, quote.sub_channel)
        except NoPriceError as error:
            outcomes = (*outcomes, refusal(error.kind))
        lines += _input_lines(body, inputs)
    if outcomes:
        ladder = None
    lines.insert(0, Line("risk premium, millionths", _micros(body["risk_premium_minor"]), _premium(scored)))
    lines += _ladder_lines(quote, plan, ladder)
    status = "quoted" if not outcomes else "declined" if scored is None else "referred"
    given = "quoted" if quote.status == "expired" else quote.status
    codes = [[outcome.code for outcome in each] for each in (quote.outcomes, outcomes)]
    return [*lines, Line("outcomes", ", ".join(codes[0]), ", ".join(codes[1])), Line("status", given, status)]


def _challenge_lines(
    body: Mapping[str, Any], quote: Quote, service: InService, registry: Registry
) -> list[Line]:
    """Put the arm of the customer, and what a shadow said, side by side."""
    stored = body.get("challenge")
    if stored is None:
        return []
    challenged = stored["kind"] == CHALLENGER and in_challenger_arm(
        quote.product, stored["share"], quote.customer_id
    )
    arm = CHALLENGER if challenged else CHAMPION
    lines = [
        Line("arm", stored["arm"], arm),
        Line("version of the arm", stored["rival" if challenged else "champion"], service.model_version),
    ]
    shadow = stored.get("shadow")
    if shadow is None:
        return lines
    name = f"shadow v{shadow['version']}"
    if "failed" in shadow:  # what failed then need not fail now
        return [*lines, Line(name, shadow["failed"], shadow["failed"])]
    bundle, found = registry.stored(quote.product, shadow["version"], shadow["family"])
    cast = replace(service, bundle=bundle, model_version=shadow["version"], model_hash=found)
    sale = _sale(body, quote)
    risk = _risk(service.product, quote.risk)
    scored = service.bundle.score_one(model_risk(service.product, risk), quote.profile)
    again = cast_shadow(cast, risk, quote.profile, sale, _inputs(body, quote, service, risk, scored))
    keys = {"model_hash": "model", "risk_premium_micros": "risk premium, millionths"}
    keys |= {"price_minor": "price", "refused": "refused"}
    return lines + [
        Line(f"{name} {text}", shadow.get(key), again.get(key))
        for key, text in keys.items()
        if key in shadow or key in again
    ]


def _risk(product: Product, stored: Mapping[str, float | str | None]) -> dict[str, FactorValue]:
    """Read the rated values back; a number that was not known is stored as null."""
    numbers = {factor.name for factor in product.factors if isinstance(factor, NumberFactor)}
    return {
        name: math.nan if value is None else float(value) if name in numbers else str(value)
        for name, value in stored.items()
    }


def _rules(
    body: Mapping[str, Any], quote: Quote, product: Product, risk: Mapping[str, FactorValue]
) -> tuple[Outcome, ...]:
    """Apply the rules anew; of quotes that were stored without facts the outcomes are taken as they are."""
    if "facts" in body:
        return rule_outcomes(product, risk, quote.profile, body["facts"])
    given = {outcome.code for outcome in quote.outcomes}
    rules = product.quote_rules
    return tuple(Outcome(rule.code, rule.effect, rule.message) for rule in rules if rule.code in given)


def _inputs(
    body: Mapping[str, Any],
    quote: Quote,
    service: InService,
    risk: Mapping[str, FactorValue],
    scored: Scored,
) -> PriceInputs:
    """Gather the inputs of the price: worked out anew, but for multipliers that were chosen at the time."""
    chosen = body.get("price_inputs") or {}
    own = OwnHistory(**body["own"]) if body.get("own") else None
    return replace(
        price_inputs(service, risk, scored, _sale(body, quote), own),
        price_policy=chosen.get("price_policy"),
        price_test=chosen.get("price_test"),
    )


def _sale(body: Mapping[str, Any], quote: Quote) -> Sale:
    bundle = (body.get("bundle") or {}).get("code")
    return Sale(quote.channel, quote.sub_channel, quote.expiring_premium_minor or 0, bundle)


def _input_lines(body: Mapping[str, Any], inputs: PriceInputs) -> list[Line]:
    stored = body.get("price_inputs")
    if stored is None:
        return []
    names = {
        "experience": "own claims, millionths",
        "relativities": "relativities, millionths",
        "price_policy": "price policy, millionths",
        "price_test": "price test, millionths",
        "bundle": "bundle, millionths",
        "cover_minor": "cover amount",
        "expiring_minor": "expiring premium",
    }
    lines = []
    for key, name in names.items():
        value = getattr(inputs, key)
        found = list(value) if isinstance(value, tuple) else value
        if found or stored.get(key):  # older quotes lack later keys
            lines.append(Line(name, stored.get(key), found))
    return lines


def _ladder_lines(quote: Quote, plan: RatingPlan, ladder: Ladder | None) -> list[Line]:
    """Put the steps, the price and what is owed of it side by side."""
    stored = {step.step: step.minor for step in quote.ladder}
    found = {} if ladder is None else {str(step.name): step.minor for step in ladder.steps}
    lines = [Line(name, stored.get(name), found.get(name)) for name in dict.fromkeys([*stored, *found])]
    price = None if quote.price is None else quote.price.minor
    lines.append(Line("price", price, None if ladder is None else ladder.price_minor))
    if quote.settlement is not None and ladder is not None:
        owed = settle(ladder.price_minor, plan.terms(quote.channel, quote.sub_channel))
        lines += [
            Line("tax due", quote.settlement.tax.minor, owed.tax_minor),
            Line("commission due", quote.settlement.commission.minor, owed.commission_minor),
            Line("kept", quote.settlement.kept.minor, owed.kept_minor),
        ]
    return lines


def _premium(scored: Scored | None) -> int | None:
    return None if scored is None else _micros(scored.risk_premium_minor)


def _micros(premium: float | None) -> int | None:
    """Give a premium as the ladder takes it in: what differs less cannot move a price."""
    return None if premium is None or not math.isfinite(premium) else round(premium * MILLION)
