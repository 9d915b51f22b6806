"""What a price policy makes of one risk or of a column of them: one argmax, the same lines for both.

Every price of the policy's ladder is built exactly as the customer would pay it, and only those count that
corridor, minimum premium and caps leave as they are. A renewal may not be dearer than new business of the
same risk: the step of new business is found first, and no renewal goes above it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pricing.integers import choose
from pricing.plan import MILLION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pricing.integers import Integers
    from pricing.ladder import OfferBasis
    from pricing.optimiser.policy import PricePolicy

# One float or bool, or a column of them.
Floats: TypeAlias = Any
Flags: TypeAlias = Any

NO_STEP = -1


def policy_multiplier(
    policy: PricePolicy,
    basis: OfferBasis,
    segment: Integers,
    accept: Sequence[Floats] = (),
    known: Flags = True,
) -> Integers:
    """Give the multiplier of a price, millionths.

    Parameters
    ----------
    policy
        Group or individual.
    basis
        Price before the policy, its cost and bounds.
    segment
        Place of the segment among the policy's.
    accept
        Probability of acceptance by step of the ladder, for individual prices.
    known
        Whether demand is known; where it is not, the price by cost alone stands.

    Returns
    -------
    int or ndarray
        1,000,000 where no step of the ladder lies within the bounds, and where demand is not known.
    """
    steps = range(len(policy.micros))
    if policy.mode == "group":
        target = _of(policy.group_steps, segment)
        scores = [-abs(target - step) for step in steps]
    else:
        scores = _scores(policy, basis, segment, accept)
    last: Integers = len(steps) - 1
    new = _best(policy, basis, scores, last, new_business=True)
    best = _best(policy, basis, scores, choose(new != NO_STEP, new, last), new_business=False)
    # Where the filed change at renewal lies above new business the plan's own cap decides, and says so.
    best = choose(best != NO_STEP, best, new)
    chosen = _of((*policy.micros, MILLION), best)  # NO_STEP is the last of them
    return choose(known, chosen, MILLION) if isinstance(known, bool) else np.where(known, chosen, MILLION)


def _scores(
    policy: PricePolicy, basis: OfferBasis, segment: Integers, accept: Sequence[Floats]
) -> list[Floats]:
    net, cost, terms = basis.net_micros / MILLION, basis.cost_micros / MILLION, basis.terms
    kept = (MILLION - terms.variable - terms.commission) / MILLION
    a = _of(policy.volume, segment) + _of(policy.cost, segment) * cost - cost
    b = _of(policy.premium, segment) * net + kept * net
    c = _of(policy.quoted, segment) * net
    return [
        probability * (a + b * multiplier) + c * multiplier
        for probability, multiplier in zip(accept, policy.multipliers, strict=True)
    ]


def _best(
    policy: PricePolicy, basis: OfferBasis, scores: Sequence[Floats], most: Integers, *, new_business: bool
) -> Integers:
    """Give the allowed step of the best score, the first of equals, at most `most`; `NO_STEP` if none is."""
    best: Integers = NO_STEP
    top: Floats = -np.inf
    for step, (multiplier, score) in enumerate(zip(policy.micros, scores, strict=True)):
        better = basis.allows(multiplier, new_business=new_business) & (step <= most) & (score > top)
        best, top = choose(better, step, best), choose(better, score, top)
    return best


def _of(values: Sequence[float], place: Integers) -> Floats:
    """Look up one place, or a column of places."""
    return np.array(values)[place] if isinstance(place, np.ndarray) else values[place]
