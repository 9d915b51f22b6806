"""Champion, challenger and shadow: who is priced by which version, and what a shadow would have said.

A customer's arm is a keyed hash of the customer and the product, under a name of its own, so that it stays
what it is over time and does not depend on the cell of a price test. A quote without customer has the
champion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pricing.errors import NoPriceError
from pricing.experiments.assignment import place
from pricing.ladder import build_ladder
from pricing.plan import MILLION
from serving.engine import price_inputs
from serving.experience import model_risk

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from numpy.typing import NDArray

    from features.derive import Value
    from models.challenge_log import Kind
    from pricing.factors import FactorValue
    from pricing.ladder import PriceInputs
    from serving.engine import InService, Sale

SPAN = 2**53
CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True, eq=False)
class Rival:
    """A version that is tried beside the champion.

    Attributes
    ----------
    kind
        `challenger` or `shadow`.
    share
        Of the customers whom a challenger prices, millionths.
    service
        What prices with it: the champion's product file, plans and policies.
    """

    kind: Kind
    share: int
    service: InService

    def on(self, day: date) -> Rival:
        """Give the rival with the plan of a day."""
        return replace(self, service=self.service.on(day))


def in_challenger_arm(product: str, share: int, customer: int | None) -> bool:
    """Say whether a challenger of a share, millionths, prices a customer."""
    return customer is not None and int(place(customer, f"challenge {product}")) * MILLION < share * SPAN


def challenger_arm(product: str, share: int, customers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say it of many customers, shape (n,); equal to `in_challenger_arm` one by one."""
    edge = np.uint64(-(-share * SPAN // MILLION))  # the least place that is not below the share
    return np.asarray(place(customers, f"challenge {product}"), dtype=np.uint64) < edge


def choose_arm(service: InService, customer: int | None) -> tuple[str, InService]:
    """Give the arm of a customer, and what prices it."""
    rival = service.rival
    if rival is None or rival.kind != CHALLENGER:
        return CHAMPION, service
    if in_challenger_arm(service.product.code, rival.share, customer):
        return CHALLENGER, rival.service
    return CHAMPION, service


def record_arm(
    service: InService,
    arm: str,
    risk: Mapping[str, FactorValue],
    profile: Mapping[str, Value],
    sale: Sale,
    inputs: PriceInputs | None,
) -> dict[str, Any]:
    """Give what is stored of the arm with a quote, and what a shadow says; nothing where no rival runs.

    Parameters
    ----------
    service
        Champion, with the rival that runs.
    arm
        Of the customer.
    risk, profile, sale
        What is priced.
    inputs
        What the answered price was built from; None for a declined risk, which has no shadow.
    """
    rival = service.rival
    if rival is None:
        return {}
    found: dict[str, Any] = {
        "arm": arm,
        "kind": rival.kind,
        "share": rival.share,
        "champion": service.model_version,
        "rival": rival.service.model_version,
    }
    if rival.kind == "shadow" and inputs is not None:
        found["shadow"] = cast_shadow(rival.service, risk, profile, sale, inputs)
    return {"challenge": found}


def cast_shadow(
    service: InService,
    risk: Mapping[str, FactorValue],
    profile: Mapping[str, Value],
    sale: Sale,
    answered: PriceInputs,
) -> dict[str, Any]:
    """Score and price a risk as a shadow would, without reasons; a failure is an answer, too.

    The choices of price policy and price test are those of the price that was answered.
    """
    found: dict[str, Any] = {
        "family": service.bundle.model.family,
        "version": service.model_version,
        "model_hash": service.model_hash,
    }
    try:
        scored = service.bundle.score_one(model_risk(service.product, risk), profile, explained=False)
        inputs = replace(
            price_inputs(service, risk, scored, sale),
            price_policy=answered.price_policy,
            price_test=answered.price_test,
        )
        found["risk_premium_micros"] = round(scored.risk_premium_minor * MILLION)
        found["price_minor"] = int(
            build_ladder(inputs, service.plan, sale.channel, sale.sub_channel).price_minor
        )
    except NoPriceError as error:
        found["refused"] = error.kind
    except Exception as error:  # noqa: BLE001 - whatever becomes of a shadow, the quote goes out
        found["failed"] = f"{type(error).__name__}: {error}"
    return found
