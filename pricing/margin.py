"""What a price is expected to leave the insurer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pricing.integers import multiply_divide
from pricing.ladder import settle
from pricing.plan import MILLION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pricing.plan import ChannelTerms

COSTS = (
    "risk_premium",
    "experience",
    "relativities",
    "claims_inflation",
    "reinsurance",
    "fixed_expense",
)


def expected_margin(steps: Mapping[str, int], price_minor: int, terms: ChannelTerms) -> int:
    """Give price - tax - commission - expected claims - expenses, minor units.

    Parameters
    ----------
    steps
        Of the ladder, by name: expected claims are the risk premium as it was rated, reinsurance included.
    price_minor
        As it was charged.
    terms
        Of the channel.
    """
    owed = settle(price_minor, terms)
    variable = multiply_divide(price_minor - owed.tax_minor, terms.variable, MILLION)
    return int(owed.kept_minor - variable - sum(steps.get(name, 0) for name in COSTS))
