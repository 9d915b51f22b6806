"""What a shop asks for: covers of orders that were really placed, as bodies of requests."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pricing.factors import NumberFactor
from serving.compose import open_service
from serving.wire import QuoteRequest

if TYPE_CHECKING:
    from pricing.factors import Factor
    from serving.service import QuoteService
    from serving.settings import Settings

PRODUCT, CHANNEL = "return_freight", "platform"
ORDERS, COMPARED = 400, 5


@dataclass(frozen=True)
class Shop:
    """Requests for quotes that all end with a price.

    Attributes
    ----------
    asked
        Bodies of `POST /v1/quotes`.
    compared
        Body of `POST /v1/quotes:compare`: five products.
    inputs
        What the model is given for each: rating factors and profile.
    """

    asked: list[bytes]
    compared: bytes
    inputs: list[dict[str, Any]]


def shop(settings: Settings) -> Shop:
    """Ask for a cover of the last orders of the snapshot; those that a rule refers are left out."""
    query = (
        "SELECT customer_id, seller_id, category, amount_minor FROM events_orders "
        "ORDER BY time_us DESC LIMIT ?"
    )
    with closing(sqlite3.connect(settings.history)) as store:
        orders = store.execute(query, (ORDERS,)).fetchall()
    service = open_service(settings)
    found = Shop([], _compared(service, orders[0][0], orders[0][1]), [])
    for customer, seller, category, amount in orders:
        request = QuoteRequest(
            product=PRODUCT,
            channel=CHANNEL,
            customer_id=customer,
            seller_id=seller,
            risk={"order_amount": amount / 100, "category": category},
        )
        answer = service.price(request).shown
        if answer["status"] == "quoted":
            found.asked.append(request.model_dump_json(exclude_defaults=True).encode())
            found.inputs.append({"risk": answer["risk"], "profile": answer["profile"]})
    service.close()
    return found


def _compared(service: QuoteService, customer: int, seller: int) -> bytes:
    options = []
    for code, inside in sorted(service.products.items())[:COMPARED]:
        channel = sorted(inside.plan.commission)[0]
        owed = inside.plan.commission[channel]
        request = {
            "product": code,
            "channel": channel,
            "sub_channel": sorted(owed)[0] if isinstance(owed, dict) else None,
            "customer_id": customer,
            "seller_id": seller,
            "risk": {factor.name: _usual(factor) for factor in inside.product.factors},
        }
        service.price(QuoteRequest.model_validate(request))  # refuses what cannot be priced
        options.append({"request": request})
    return json.dumps({"options": options}).encode()


def _usual(factor: Factor) -> float | str:
    if not isinstance(factor, NumberFactor):
        return factor.levels[0]
    value = factor.minimum + (factor.maximum - factor.minimum) / 4
    return int(value) if factor.type == "integer" else value
