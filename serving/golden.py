"""Golden quotes: what a product must price before it serves, and the same on every machine from then on.

Three risks of each product (lowest, middle and highest values of the factors) are priced in every outlet of
each plan when the product is loaded, so that the first customer meets no cold table and a model that gives
NaN never serves. The first loading keeps the quotes in the registry; each later one, on whichever machine and
library versions, must give them again.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from data.page import write_page
from models.errors import ArtifactError
from pricing.errors import NoPriceError
from pricing.factors import NumberFactor, read_risk
from pricing.ladder import build_ladder
from pricing.plan import MILLION
from serving.engine import Sale, price_inputs
from serving.experience import model_risk
from serving.offers import offer_one

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pricing.factors import Factor, FactorValue
    from pricing.product import Product
    from serving.engine import InService

PLACES = {"lowest": 0.0, "middle": 0.5, "highest": 1.0}


def check_golden(service: InService, folder: Path) -> None:
    """Price the golden risks of a product, and hold them against those on record.

    Parameters
    ----------
    service
        What is to price the product.
    folder
        Where golden quotes are kept, by hash of product, model and plan; made with the first.

    Raises
    ------
    ArtifactError
        If a risk premium is not a positive finite number, or a quote is not the one on record.
    """
    for plan in service.plans or (service.plan,):
        found = golden_quotes(replace(service, plan=plan))
        key = hashlib.sha256(f"{service.product.hash} {service.model_hash} {plan.hash}".encode()).hexdigest()
        path = folder / f"{key}.json"
        if not path.is_file():
            write_page(json.dumps(found, indent=1, ensure_ascii=False) + "\n", path)
            continue
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtifactError(f"golden quotes {path.name} cannot be read: {error}") from error
        if kept != found:
            name, was = next((n, kept.get(n)) for n in {**kept, **found} if kept.get(n) != found.get(n))
            raise ArtifactError(
                f"golden quote {name!r} is {found.get(name)}, on record is {was}. "
                "Hint: this machine or its libraries do not price as those that promoted the model"
            )


def golden_quotes(service: InService) -> dict[str, dict[str, Any]]:
    """Price the golden risks with the plan of a service.

    Returns
    -------
    dict
        By place and outlet: `risk_premium_micros` (millionths of a minor unit, as the ladder takes it in),
        and `price_minor`, or `refused` with the kind of a price that cannot be.

    Raises
    ------
    ArtifactError
        If a risk premium is not a positive finite number.
    """
    found: dict[str, dict[str, Any]] = {}
    for place, risk, profile in _risks(service.product):
        try:
            scored = service.bundle.score_one(model_risk(service.product, risk), profile)
        except (ArithmeticError, ValueError) as error:
            raise ArtifactError(
                f"the {place} risk of {service.product.code} has no score: {error}"
            ) from error
        premium = scored.risk_premium_minor
        if not (math.isfinite(premium) and premium > 0):
            raise ArtifactError(f"the {place} risk of {service.product.code} has the risk premium {premium}")
        for outlet in service.plan.outlets:
            name = " ".join(part for part in (place, *outlet) if part)
            inputs = price_inputs(service, risk, scored, Sale(*outlet))
            inputs, _ = offer_one(service.plan, service.policy, inputs, outlet, risk, None)
            found[name] = {"risk_premium_micros": round(premium * MILLION)}
            try:
                found[name]["price_minor"] = int(build_ladder(inputs, service.plan, *outlet).price_minor)
            except NoPriceError as error:
                found[name]["refused"] = error.kind
    return found


def _risks(product: Product) -> Iterator[tuple[str, dict[str, FactorValue], dict[str, float | None]]]:
    """Give place, rated risk and profile; without history, with zeros and with ones."""
    for (place, share), fact in zip(PLACES.items(), (None, 0.0, 1.0), strict=True):
        values = {factor.name: _value(factor, share) for factor in product.factors}
        yield place, read_risk(product.factors, values), dict.fromkeys(product.profile.inputs, fact)


def _value(factor: Factor, share: float) -> float | str:
    if not isinstance(factor, NumberFactor):
        return factor.levels[int(share * (len(factor.levels) - 1))]
    value = factor.minimum + share * (factor.maximum - factor.minimum)
    return math.floor(value) if factor.type == "integer" else value
