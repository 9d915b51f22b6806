"""Next best action over channels, and the expected margins of one customer that it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from models.recommend.actions import (
    CAP,
    COOL_DOWN,
    NO_CONSENT,
    NOT_WORTH,
    NOT_YOURS,
    NOTHING,
    OUTSIDE_HOURS,
    best_actions,
    product_margins,
)
from pricing.errors import RiskError, UnknownChannelError
from pricing.margin import expected_margin
from serving.errors import MemberError, MissingEntityError, StoreError
from serving.views import local
from serving.wire import ChannelRefusal, NextAction, QuoteRequest, RecommendationRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from models.recommend import Ranking
    from models.recommend.actions import ContactRules
    from models.recommend.task import Array
    from serving.access.caller import Caller
    from serving.contacts import ContactLog
    from serving.service import QuoteService
    from serving.wire import ActionRequest, RiskValue


def customer_margins(
    service: QuoteService,
    customer_id: int,
    risks: Mapping[str, Mapping[str, RiskValue]],
    channel: str,
    sub_channel: str | None = None,
    seller_id: int | None = None,
) -> dict[str, float]:
    """Give the expected margins of products whose risk is known, minor units; without a price there is none.

    Raises
    ------
    MemberError
        If a risk cannot be rated as described.
    """
    found = {}
    for code, risk in risks.items():
        request = QuoteRequest(
            product=code,
            channel=channel,
            sub_channel=sub_channel,
            customer_id=customer_id,
            seller_id=seller_id,
            risk=dict(risk),
        )
        try:
            answer = service.price(request, sign=False).answer
        except (RiskError, MissingEntityError) as error:
            raise MemberError(code, error, "risks") from error
        if answer.price is not None:
            steps = {step.step: step.minor for step in answer.ladder}
            terms = service.in_service(code).on(answer.created_at.date()).plan.terms(channel, sub_channel)
            found[code] = float(expected_margin(steps, answer.price.minor, terms))
    return found


def next_action(service: QuoteService, request: ActionRequest, caller: Caller) -> NextAction:
    """Choose the contact of the highest expected value, and log it; or nothing, with the reason.

    Raises
    ------
    UnknownCustomerError, MemberError, NeedsError
        If the customer is not known, or risks or answers cannot be used.
    """
    caller.need_licence("recommend")
    now, rules, log = service.clock(), service.contact_rules, service.contacts
    if rules is None or log is None:
        raise StoreError("this service contacts nobody. Hint: open it with contact rules and a contact log")
    refused = _refusals(service, rules, log, request.customer_id, caller, now)
    names = list(rules.channels)
    ranking, _ = service.rank_all(
        RecommendationRequest(customer_id=request.customer_id, k=50, scene=request.scene, needs=request.needs)
    )
    codes = [offer.product for offer in ranking.offers]
    p = np.array([[offer.rate for offer in ranking.offers]])
    margins = _margins(service, request, ranking, names)
    allowed = np.array([[name not in refused for name in names]])
    while True:
        found = best_actions(p, np.ones(p.shape, bool), margins, rules, allowed)
        at, through = int(found.product[0]), int(found.channel[0])
        if at < 0:
            return _nothing(request, refused, now, any_product=bool(codes), any_channel=bool(allowed.any()))
        channel, contact = names[through], str(uuid4())
        added = log.add(contact, request.customer_id, channel, codes[at], now, rules.channels[channel])
        if added:
            break
        refused[channel] = CAP  # another request was first
        allowed[0, through] = False
    offer = ranking.offers[at]
    return NextAction(
        customer_id=request.customer_id,
        as_of=now,
        action="contact",
        code=None,
        contact_id=contact,
        channel=channel,
        product=offer.product,
        name=local(offer.name),
        reasons=[local(reason) for reason in offer.reasons],
        expected_value_minor=round(float(found.value_minor[0])),
        refused=_listed(refused),
    )


def _refusals(
    service: QuoteService,
    rules: ContactRules,
    log: ContactLog,
    customer_id: int,
    caller: Caller,
    now: datetime,
) -> dict[str, str]:
    """Give the channels that may not be used for this customer now, each with its reason."""
    withdrawn = {
        purpose for purpose, granted in service.consents(customer_id).purposes.items() if not granted
    }
    cooling = log.cools_down(customer_id, now, rules.cool_down_days)
    found = {}
    for name, one in rules.channels.items():
        if caller.channel not in (None, name):
            found[name] = NOT_YOURS
        elif withdrawn & set(one.consents):
            found[name] = NO_CONSENT
        elif cooling:
            found[name] = COOL_DOWN
        elif not rules.in_hours(name, now):
            found[name] = OUTSIDE_HOURS
        elif log.is_full(customer_id, name, now, one):
            found[name] = CAP
    return found


def _margins(service: QuoteService, request: ActionRequest, ranking: Ranking, names: Sequence[str]) -> Array:
    """Give margins by product and channel, shape (1, m, c): of this risk where it is known."""
    model = service.snapshot.propensities
    known = {} if model is None else model.products
    averages = [
        known[offer.product].margin_minor if offer.product in known else None for offer in ranking.offers
    ]
    found = np.repeat(product_margins(averages)[None, :, None], len(names), axis=2)
    for place, name in enumerate(names):
        try:
            own = customer_margins(
                service, request.customer_id, request.risks, name, seller_id=request.seller_id
            )
        except UnknownChannelError:  # a plan that does not sell through it, or by sub-channels only
            continue
        for at, offer in enumerate(ranking.offers):
            if offer.product in request.risks:
                found[0, at, place] = own.get(offer.product, -np.inf)
    return found


def _nothing(
    request: ActionRequest, refused: Mapping[str, str], now: datetime, *, any_product: bool, any_channel: bool
) -> NextAction:
    reasons = set(refused.values()) - {NOT_YOURS}
    why = NOT_WORTH if any_channel else sorted(reasons or {NOT_YOURS})[0]
    return NextAction(
        customer_id=request.customer_id,
        as_of=now,
        action="nothing",
        code=why if any_product else NOTHING,
        refused=_listed(refused),
    )


def _listed(refused: Mapping[str, str]) -> list[ChannelRefusal]:
    return [ChannelRefusal(channel=channel, code=code) for channel, code in refused.items()]
