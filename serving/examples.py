"""Requests that the OpenAPI document shows; a test sends each of them."""

from __future__ import annotations

from typing import Any

FREIGHT: dict[str, Any] = {
    "product": "return_freight",
    "channel": "platform",
    "customer_id": 1,
    "seller_id": 2,
    "risk": {"order_amount": 129.0, "category": "apparel"},
}
MOTOR: dict[str, Any] = {
    "product": "motor",
    "channel": "direct",
    "customer_id": 1,
    "risk": {
        "driver_age": 35,
        "vehicle_age": 3,
        "vehicle_power": 6,
        "bonus_malus": 100,
        "annual_km": 12.5,
        "fuel": "petrol",
        "region": "CN-GD",
    },
}
CERTIFICATE = {
    "key_id": "0f1e2d3c4b5a6978",
    "quote_id": "fc4f1659-de4b-4931-b199-699ed9144c78",
    "product": "return_freight",
    "price_minor": 292,
    "currency": "CNY",
    "expires_at": "2026-01-01T00:30:00Z",
    "cover_hash": "0" * 64,
    "signature": "AAAA",
}


def _one(summary: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"example": {"summary": summary, "value": value}}


# Operation -> examples of its request, as OpenAPI writes them.
REQUESTS: dict[str, dict[str, Any]] = {
    "create_quote": {
        "order": {"summary": "A cover of one order", "value": FREIGHT},
        "annual": {"summary": "An annual cover", "value": MOTOR},
    },
    "create_bundle": _one(
        "Two products as one offer",
        {
            "bundle": "journey",
            "channel": "direct",
            "customer_id": 1,
            "members": {
                "motor": {"risk": MOTOR["risk"]},
                "flight_delay": {
                    "risk": {"month": 6, "departure_hour": 9, "airline": "A1", "distance_km": 900.0}
                },
            },
        },
    ),
    "draft_quote": _one("What is known so far", {**MOTOR, "risk": {"driver_age": 35}}),
    "preview_quote": _one("A premium to look at", MOTOR),
    "compare_quotes": _one(
        "The cover of an order beside an annual one",
        {"options": [{"label": "order", "request": FREIGHT}, {"label": "year", "request": MOTOR}]},
    ),
    "batch_quotes": _one("Two orders", {"requests": [FREIGHT, {**FREIGHT, "customer_id": 3}]}),
    "verify_quote": _one("The certificate of a quote", CERTIFICATE),
    "complete_quote": _one("What was missing", {"risk": MOTOR["risk"]}),
    "accept_quote": _one("The price that the customer saw", {"price_minor": 292}),
    "decline_quote": _one("Too dear", {"reason": "price", "text": "cheaper elsewhere"}),
    "review_quote": _one("What the customer says", {"text": "I sold that shop last year."}),
    "decide_quote": _one(
        "A price of its own",
        {"decision": "quote", "price_minor": 292, "reason": "history is of another shop"},
    ),
    "revoke_quote": _one("Why", {"reason": "the goods are not insurable"}),
}
