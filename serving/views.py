"""From domain values to wire types and to the stored record."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from models.fitted import FITTED
from pricing.errors import TechnicalPremiumError
from pricing.experience import MILLION
from pricing.factors import NumberFactor, Text
from pricing.ladder import CAPS, settle
from pricing.money import exponent, from_minor
from pricing.score import score
from serving.clock import utc_text
from serving.texts import (
    GENERAL_NOTICE,
    PERSONAL_NOTICE,
    STEP_LABELS,
    cap_text,
    class_text,
    own_text,
    reason_text,
    table_text,
)
from serving.wire import (
    BundleOffer,
    CustomerScore,
    CustomerSegment,
    Excluded,
    FactorInfo,
    LocalText,
    MoneyAmount,
    NeedAnswer,
    NeedInfo,
    Offer,
    ProductInfo,
    ProfileFeature,
    Quote,
    QuoteRequest,
    Recommendations,
    RiskProfile,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from features.derive import Value
    from features.spec import FeatureSpec
    from models.recommend import Ranking
    from models.segments import Segment
    from pricing.factors import Factor, FactorValue
    from pricing.ladder import Ladder, PriceInputs, Step
    from pricing.plan import ChannelTerms, RatingPlan
    from pricing.product import Product
    from pricing.rules import Fact, Outcome
    from pricing.suitability import Need
    from serving.engine import Decision, InService
    from serving.history import CustomerFacts
    from serving.scores import StoredScore

SHOWN_REASONS = 5


def local(text: Any) -> LocalText:  # noqa: ANN401 - features, models and pricing each have a text of this form
    """Turn a two-language text into its wire type."""
    return LocalText(en=text.en, zh=text.zh)


def texts(text: Any) -> dict[str, str]:  # noqa: ANN401 - as in `local`
    """Write a two-language text."""
    return {"en": text.en, "zh": text.zh}


def quote_view(
    *,
    quote_id: str,
    request: QuoteRequest,
    service: InService,
    decision: Decision,
    risk: Mapping[str, FactorValue],
    profile: Mapping[str, Value],
    withheld: Sequence[str],
    spec: FeatureSpec,
    created_at: datetime,
    expires_at: datetime,
    customer_known: bool,
    sandbox: bool,
    certificate: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Put a decision into the form in which it is answered and stored: a `wire.Quote` as JSON.

    It is written down at once, not as a model that is validated and dumped: a test holds the two equal.
    """
    ladder, indicated, product = decision.ladder, decision.indicated_minor, service.product
    currency = product.currency
    terms = service.plan.terms(request.channel, request.sub_channel)
    now = utc_text(created_at)
    return {
        "quote_id": quote_id,
        "bundle_id": None,
        "status": decision.status,
        "product": request.product,
        "channel": request.channel,
        "sub_channel": request.sub_channel,
        "expiring_premium_minor": request.expiring_premium_minor,
        "customer_id": request.customer_id,
        "seller_id": request.seller_id,
        "customer_known": customer_known,
        "sandbox": sandbox,
        "created_at": now,
        "expires_at": utc_text(expires_at),
        "as_of": now,
        "price": None if ladder is None else _money(ladder.price_minor, currency),
        "accepted_price_minor": None,
        "indication": None if indicated is None else _money(indicated, currency),
        "settlement": None if ladder is None else settled(ladder.price_minor, terms, currency),
        "score": _score(product, decision),
        "outcomes": [_outcome(outcome) for outcome in decision.outcomes],
        "risk": {name: _finite(value) for name, value in risk.items()},
        "profile": dict(profile),
        "withheld": list(withheld),
        "missing": [],
        "supersedes": request.supersedes,
        "certificate": None if certificate is None else dict(certificate),
        "ladder": []
        if ladder is None
        else [ladder_step(step, currency, terms.payee) for step in ladder.steps],
        "reasons": [
            *_reasons(product, decision, spec, {**profile, **risk}),
            *_own_history(product, decision, risk),
            *([] if ladder is None else table_reasons(service.plan, product, risk)),
            *_caps(ladder),
        ],
        "versions": _versions(service),
    }


def money(minor: int, currency: str) -> MoneyAmount:
    """Write an amount for people and for sums."""
    return MoneyAmount(**_money(minor, currency))


def _money(minor: int, currency: str) -> dict[str, Any]:
    return {"amount": from_minor(minor, currency), "minor": minor, "currency": currency}


def ladder_step(step: Step, currency: str, payee: str) -> dict[str, Any]:
    """Write a step of a ladder."""
    return {
        "step": step.name,
        "label": texts(STEP_LABELS[step.name]),
        "amount": from_minor(step.minor, currency),
        "minor": step.minor,
        "payee": payee if step.name == "commission" else None,
    }


def settled(price_minor: int, terms: ChannelTerms, currency: str) -> dict[str, Any]:
    """Say what is owed of a price."""
    owed = settle(price_minor, terms)
    return {
        "payee": terms.payee,
        "tax": _money(int(owed.tax_minor), currency),
        "commission": _money(int(owed.commission_minor), currency),
        "kept": _money(int(owed.kept_minor), currency),
    }


def _reason(name: str, value: float | str | None, relativity: float, text: Text) -> dict[str, Any]:
    return {"input": name, "value": value, "relativity": relativity, "text": texts(text)}


def _own_history(
    product: Product, decision: Decision, risk: Mapping[str, FactorValue]
) -> list[dict[str, Any]]:
    """Say what own claims, or the class of the scale, do to the premium."""
    inputs, own = decision.inputs, decision.own
    if inputs is None or not isinstance(inputs.experience, int) or product.experience is None:
        return []
    relativity = inputs.experience / MILLION
    scale = product.experience.scale
    if scale is not None:
        place = int(risk[scale.factor])
        return [_reason(scale.factor, place, relativity, class_text(place, relativity))]
    if own is None:
        return []
    text = own_text(product.experience, own, exponent(product.currency), relativity)
    return [_reason("experience", own.claims, relativity, text)]


def table_reasons(
    plan: RatingPlan, product: Product, risk: Mapping[str, FactorValue]
) -> list[dict[str, Any]]:
    """Name what the plan's own tables make of a rated risk, but for those that leave it as it is."""
    factors = {factor.name: factor for factor in product.factors}
    found = []
    for name, table in (plan.relativities or {}).items():
        factor, value = factors[name], risk[name]
        relativity = table.relativity(value) / MILLION
        if relativity != 1.0:
            unit = factor.unit if isinstance(factor, NumberFactor) else ""
            text = table_text(factor.label, value, unit, relativity)
            found.append(_reason(name, _finite(value), relativity, text))
    return found


def _caps(ladder: Ladder | None) -> list[dict[str, Any]]:
    """Name the caps that bind."""
    found, total = [], 0
    for step in () if ladder is None else ladder.steps:
        before, total = total, total + step.minor
        if step.name in CAPS and step.minor:
            found.append(_reason(step.name, None, total / max(before, 1), cap_text(step.name, before, total)))
    return found


def _score(product: Product, decision: Decision) -> dict[str, Any] | None:
    """Score a risk that the model could score; a product without a scale has none."""
    if product.score is None or decision.scored is None:
        return None
    try:
        found = score(decision.scored.risk_premium_minor, product)
    except TechnicalPremiumError:
        return None
    return {"points": found.points, "band": found.band.code, "name": texts(found.band.name)}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {"code": outcome.code, "effect": outcome.effect, "message": texts(outcome.message)}


def _finite(value: FactorValue) -> float | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _reasons(
    product: Product, decision: Decision, spec: FeatureSpec, values: Mapping[str, Value | str]
) -> list[dict[str, Any]]:
    if decision.scored is None:
        return []
    shown = []
    for reason in decision.scored.reasons[:SHOWN_REASONS]:
        label, unit = input_label(product, spec, reason.input)
        value, relativity = values[reason.input], reason.relativity
        text = reason_text(label, value, unit, relativity)
        shown.append(_reason(reason.input, None if value is None else _finite(value), relativity, text))
    return shown


def input_label(product: Product, spec: FeatureSpec, name: str) -> tuple[Text, str]:
    """Give what people read for a model input, and its unit."""
    for factor in product.factors:
        if factor.name == name:
            return factor.label, factor.unit if isinstance(factor, NumberFactor) else ""
    if name in FITTED:
        return FITTED[name].description, FITTED[name].unit
    item = spec.get(name)
    return Text(en=item.description.en, zh=item.description.zh), item.unit


def _versions(service: InService) -> dict[str, Any]:
    return {
        "product_version": service.product.version,
        "product_hash": service.product.hash,
        "plan": service.plan.code,
        "plan_version": service.plan.version,
        "plan_hash": service.plan.hash,
        "filing": service.plan.filing,
        "model": service.bundle.model.family,
        "model_version": service.model_version,
        "model_hash": service.model_hash,
        "feature_spec_hash": service.bundle.spec_hash,
    }


def quote_record(
    answer: Mapping[str, Any], request: QuoteRequest, decision: Decision, facts: Mapping[str, Fact]
) -> dict[str, Any]:
    """Give what is stored: the answer, the request as it came, and what a replay needs beside them."""
    scored, inputs, indicated = decision.scored, decision.inputs, decision.indicated
    return {
        "answer": answer,
        "request": request.model_dump(mode="json"),
        "risk_premium_minor": None if scored is None else _finite(scored.risk_premium_minor),
        "own": None if decision.own is None else asdict(decision.own),
        "components": {} if scored is None else {k: _finite(v) for k, v in scored.components.items()},
        "facts": dict(facts),
        "price_inputs": None if inputs is None else _recorded(inputs),
        "indicated": [] if indicated is None else [[step.name, step.minor] for step in indicated.steps],
    }


def _recorded(inputs: PriceInputs) -> dict[str, Any]:
    """Give the inputs of one price, all integers; the risk premium is stored unrounded beside them."""
    return {item.name: getattr(inputs, item.name) for item in fields(inputs)[1:]}


def stored_quote(answer: Mapping[str, Any]) -> Quote:
    """Read an answer back into its wire type."""
    return Quote.model_validate(answer, strict=False)


def profile_view(
    facts: CustomerFacts,
    values: Mapping[str, Value],
    withheld: Sequence[str],
    segment: Segment | None,
    scores: Sequence[StoredScore],
    spec: FeatureSpec,
    as_of: datetime,
) -> RiskProfile:
    """Show features with their units and descriptions."""
    shown = []
    for name, value in values.items():
        item = spec.get(name)
        shown.append(
            ProfileFeature(name=name, value=value, unit=item.unit, description=local(item.description))
        )
    return RiskProfile(
        customer_id=facts.customer_id,
        as_of=as_of,
        features=shown,
        withheld=list(withheld),
        segment=None
        if segment is None
        else CustomerSegment(code=segment.code, name=local(segment.name), portrait=local(segment.portrait)),
        scores=[
            CustomerScore(
                product=item.product,
                points=item.points,
                band=item.band,
                reasons=list(item.reasons),
                as_of=item.as_of,
            )
            for item in scores
        ],
        held=sorted(facts.held),
        feature_spec_hash=spec.hash(tuple(values)),
    )


def recommendations_view(
    customer_id: int,
    ranking: Ranking,
    as_of: datetime,
    *,
    personal: bool,
    model: str | None,
    bundles: Sequence[BundleOffer] = (),
    exposure_id: str | None = None,
) -> Recommendations:
    """Show ranked offers and what was left out."""
    return Recommendations(
        customer_id=customer_id,
        as_of=as_of,
        mode="personal" if personal else "general",
        model=model,
        exposure_id=exposure_id,
        notice=local(PERSONAL_NOTICE if personal else GENERAL_NOTICE),
        offers=[
            Offer(
                product=offer.product,
                name=local(offer.name),
                rate=offer.rate,
                reasons=[local(reason) for reason in offer.reasons],
                margin_basis=offer.margin_basis,
            )
            for offer in ranking.offers
        ],
        bundles=list(bundles),
        excluded=[Excluded(product=item.product, codes=list(item.codes)) for item in ranking.excluded],
    )


def product_view(service: InService, needs: Iterable[str]) -> ProductInfo:
    """Describe a product as a channel must know it."""
    product = service.product
    factors = {factor.name for factor in product.factors}
    return ProductInfo(
        code=product.code,
        version=product.version,
        name=local(product.name),
        currency=product.currency,
        cover=product.cover.model_dump(mode="json", exclude_none=True),
        needs=[name for name in needs if name not in factors],
        factors=[_factor(factor) for factor in product.factors],
        questions=[_question(need) for need in product.needs],
        channels=sorted(service.plan.commission),
        sub_channels={
            channel: sorted(own)
            for channel, own in sorted(service.plan.commission.items())
            if isinstance(own, dict)
        },
        plan=service.plan.code,
        model_version=service.model_version,
    )


def _question(need: Need) -> NeedInfo:
    return NeedInfo(
        code=need.code,
        text=local(need.text),
        type=need.type,
        answers=[NeedAnswer(code=answer.code, text=local(answer.text)) for answer in need.answers],
        minimum=need.minimum,
        maximum=need.maximum,
        required=need.required,
    )


def _factor(factor: Factor) -> FactorInfo:
    required = factor.missing == "refuse"
    if isinstance(factor, NumberFactor):
        return FactorInfo(
            name=factor.name,
            label=local(factor.label),
            type=factor.type,
            unit=factor.unit,
            minimum=factor.minimum,
            maximum=factor.maximum,
            levels=None,
            required=required,
        )
    return FactorInfo(
        name=factor.name,
        label=local(factor.label),
        type=factor.type,
        unit=None,
        minimum=None,
        maximum=None,
        levels=list(factor.levels),
        required=required,
    )
