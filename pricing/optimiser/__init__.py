"""Prices of a whole book under the constraints of its portfolio, by policy, by group, or by cost alone."""

from pricing.optimiser.book import Book, Totals, steps_between
from pricing.optimiser.constraints import (
    Constraint,
    loss_ratio_cap,
    premium_floor,
    rate_change_cap,
    volume_floor,
)
from pricing.optimiser.frontier import FrontierPoint, frontier
from pricing.optimiser.offer import policy_multiplier
from pricing.optimiser.policy import PricePolicy
from pricing.optimiser.solve import Mode, Solution, optimise

__all__ = [
    "Book",
    "Constraint",
    "FrontierPoint",
    "Mode",
    "PricePolicy",
    "Solution",
    "Totals",
    "frontier",
    "loss_ratio_cap",
    "optimise",
    "policy_multiplier",
    "premium_floor",
    "rate_change_cap",
    "steps_between",
    "volume_floor",
]
