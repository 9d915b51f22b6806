"""Bundles: the quotes of several products as one offer, stored together, accepted together or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pricing.errors import NeedsError, RiskError, UnknownChannelError
from serving.clock import utc_text
from serving.errors import BundleMembersError, MemberError, MissingEntityError, UnknownBundleError
from serving.records import Write, encode_body
from serving.repeats import Deed
from serving.views import local, money
from serving.wire import BundleOffer, QuoteRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pricing.bundles import Bundle
    from pricing.product import Product
    from serving.access.caller import Caller
    from serving.service import Priced, QuoteService
    from serving.wire import BundleRequest

MEMBER_ERRORS = (RiskError, NeedsError, UnknownChannelError, MissingEntityError)


def price_bundle(service: QuoteService, request: BundleRequest, caller: Caller) -> Deed:
    """Price every member of a bundle with its discount; nothing is stored.

    Where a member has no price (it is declined, or a person decides), there is no bundle: the members are
    then quoted each by itself, without discount.

    Raises
    ------
    UnknownBundleError, BundleMembersError
        If there is no such bundle in service, or the request names other members.
    MemberError
        If a member cannot be priced as it stands; it holds the error.
    """
    bundles = service.bundles
    bundle = bundles.get(request.bundle)
    if bundle is None:
        raise UnknownBundleError(request.bundle, bundles, service.products)
    if set(request.members) != set(bundle.members):
        raise BundleMembersError(bundle.code, request.members, bundle.members)
    wanted = [_member(request, code) for code in bundle.members]
    for one in wanted:
        caller.need_sale(one.product, one.channel, one.sub_channel)
    priced = [_priced(service, one, caller, bundle.code) for one in wanted]
    bundle_id: str | None = str(uuid4())
    if all(one.answer.status == "quoted" for one in priced):
        priced = _joined(bundle, str(bundle_id), priced)
    else:
        bundle_id, priced = None, [_priced(service, one, caller, None) for one in wanted]
    records = [replace(one.record, sandbox=caller.sandbox) for one in priced]
    return Deed(_answer(bundle, bundle_id, priced), Write(quotes=tuple(records)), 201)


def together(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the quotes that are accepted only together with a stored one, which is among them; or none."""
    return tuple((body.get("bundle") or {}).get("quotes", ()))


def bundle_offers(
    bundles: Mapping[str, Bundle], products: Collection[Product], excluded: Collection[str]
) -> list[BundleOffer]:
    """Give the bundles all of whose members a customer may buy."""
    names = {product.code: product.name for product in products}
    return [
        BundleOffer(bundle=bundle.code, name=local(bundle.name), members=list(bundle.members))
        for bundle in bundles.values()
        if not set(bundle.members) & set(excluded) and set(bundle.members) <= set(names)
    ]


def _member(request: BundleRequest, code: str) -> QuoteRequest:
    member = request.members[code]
    return QuoteRequest(
        product=code,
        channel=request.channel,
        sub_channel=member.sub_channel,
        customer_id=request.customer_id,
        seller_id=request.seller_id,
        withdrawn_purposes=request.withdrawn_purposes,
        risk=member.risk,
        needs=member.needs,
        context=request.context,
    )


def _priced(service: QuoteService, request: QuoteRequest, caller: Caller, bundle: str | None) -> Priced:
    try:
        return service.price(request, caller, bundle=bundle)
    except MEMBER_ERRORS as error:
        raise MemberError(request.product, error) from error


def _joined(bundle: Bundle, bundle_id: str, priced: Sequence[Priced]) -> list[Priced]:
    """Let every quote and its record name the bundle and the others."""
    ids = [one.answer.quote_id for one in priced]
    joined = {"code": bundle.code, "version": bundle.version, "id": bundle_id, "quotes": ids}
    found = []
    for one in priced:
        shown = one.shown | {"bundle_id": bundle_id}
        record = replace(one.record, text=encode_body(one.record.body | {"answer": shown, "bundle": joined}))
        found.append(replace(one, record=record, shown=shown))
    return found


def _answer(bundle: Bundle, bundle_id: str | None, priced: Sequence[Priced]) -> dict[str, Any]:
    statuses = {one.answer.status for one in priced}
    prices = [one.answer.price for one in priced if one.answer.price is not None]
    total = None if bundle_id is None else money(sum(one.minor for one in prices), prices[0].currency)
    return {
        "bundle": bundle.code,
        "bundle_id": bundle_id,
        "name": bundle.name.model_dump(),
        "status": next(one for one in ("declined", "referred", "quoted") if one in statuses),
        "price": None if total is None else total.model_dump(),
        "expires_at": utc_text(min(one.record.expires_at for one in priced)),
        "quotes": [one.shown for one in priced],
    }
