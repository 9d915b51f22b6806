"""The bare endpoint: what FastAPI does for the same request when nothing is stored and nothing is explained.

The same request model, the same profile read from the same store, the same rules, the same tables and the
same ladder of the same product; the answer is a pydantic model with the price. It takes no key, sets no
limits, keeps no record, names no reason and no step of the ladder. `/score` is the model alone: inputs
in, risk premium out, what the peers do.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta  # noqa: TC003 - pydantic reads it at run time
from uuid import uuid4

import uvicorn
from fastapi import FastAPI

from benchmarks.http.scoring import premium_of
from models.risk_model import Scored
from pricing.factors import read_risk
from pricing.ladder import build_ladder
from serving import views
from serving.compose import open_service
from serving.engine import Sale, model_risk, price_inputs, rule_outcomes
from serving.service import _facts
from serving.settings import Settings
from serving.wire import MoneyAmount, QuoteRequest, RiskValue, Wire


class BareQuote(Wire):
    """A price."""

    quote_id: str
    status: str
    product: str
    channel: str
    created_at: datetime
    expires_at: datetime
    price: MoneyAmount | None


class ScoreRequest(Wire):
    """Inputs of the model."""

    risk: dict[str, RiskValue]
    profile: dict[str, float | int | None]


class Score(Wire):
    """Expected cost, minor units."""

    risk_premium_minor: float


def create_app(settings: Settings, product: str) -> FastAPI:
    """Build the bare application over the stores of a settings."""
    service = open_service(settings)
    app = FastAPI(title="bare")
    inside = service.products[product]
    premium = premium_of(inside.bundle)

    @app.post("/v1/quotes", status_code=201)
    async def quote(body: QuoteRequest) -> BareQuote:
        now, generation = service.clock(), service.generation
        priced = inside.on(now.date())
        risk = read_risk(priced.product.factors, body.risk)
        keys = {"customer_id": body.customer_id, "seller_id": body.seller_id}
        levels = {name: value for name, value in risk.items() if isinstance(value, str)}
        profile = generation.snapshot.readers[product].read({**levels, **keys}, now)
        facts, _ = _facts(generation, body, priced.product, now)
        outcomes = rule_outcomes(priced.product, risk, profile, facts)
        price = None
        if not outcomes:
            scored = Scored(premium(model_risk(priced.product, risk), profile), {}, ())
            inputs = price_inputs(priced, risk, scored, Sale(body.channel, body.sub_channel))
            price = build_ladder(inputs, priced.plan, body.channel, body.sub_channel).price_minor
        return BareQuote(
            quote_id=str(uuid4()),
            status="referred" if outcomes else "quoted",
            product=product,
            channel=body.channel,
            created_at=now,
            expires_at=now + timedelta(minutes=priced.product.quote_valid_minutes),
            price=None if price is None else views.money(price, priced.product.currency),
        )

    @app.post("/score")
    async def score(body: ScoreRequest) -> Score:
        return Score(risk_premium_minor=premium(body.risk, body.profile))

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(Settings(), sys.argv[1]),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        log_level="warning",
        access_log=False,
    )
