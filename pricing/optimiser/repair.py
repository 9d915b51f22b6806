"""From the dual to whole prices: the undecided policies are chosen exactly, by a small integer programme.

At the best prices of the constraints all but a few policies prefer one step clearly. Those that hardly care
(the core) make up for what the others leave of the constraints; HiGHS chooses their steps exactly
(Kellerer, Pferschy and Pisinger 2004, Knapsack Problems, ch. 11: the core of a multiple-choice knapsack).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.optimiser.book import Book
    from pricing.optimiser.constraints import Weights
    from pricing.optimiser.dual import Dual, Evaluation

    Array = NDArray[np.float64]

# Policies of the core, and steps that each may take, the best by score: more only when these do not suffice.
# A core that is larger than need be costs the search time and gains nothing.
STAGES = ((100, 3), (300, 3), (300, 127), (3000, 127))
# Relative room that sums in 64 bits need; constraints are held to a target that is tighter by this.
ROUNDING = 1e-12
SECONDS = 2.0
# The bound in units of the objective: HiGHS takes differences below 1e-7 or so for none.
SCALE = 1e4
# Share of the bound that the choice may leave; a small book cannot come so near, and takes the time.
GAP = 5e-8


def repair(dual: Dual, prices: Array, found: Evaluation) -> NDArray[np.int8] | None:
    """Choose the steps of the core so that every constraint is met; None when no choice does.

    Parameters
    ----------
    dual
        The problem.
    prices
        Prices of the constraints at the minimum of the dual.
    found
        Evaluation there.
    """
    stages = [(min(size, dual.book.size), min(choices, dual.book.steps)) for size, choices in STAGES]
    for size, choices in dict.fromkeys(stages):
        core = np.sort(np.argpartition(found.margins, size - 1)[:size])
        steps = _choose(dual, prices, found, core, choices)
        if steps is not None and (dual.weights.slack(dual.book.totals(steps)) >= 0).all():
            return steps
    return None


def _choose(
    dual: Dual, prices: Array, found: Evaluation, core: NDArray[np.int64], choices: int
) -> NDArray[np.int8] | None:
    part = dual.book.rows(core)
    scores = dual.scores(prices, core)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :choices]
    policy = np.repeat(np.arange(len(core)), choices)
    step = best.ravel()
    lawful = np.isfinite(scores[policy, step])
    policy, step = policy[lawful], step[lawful]
    use = _effects(part, dual.weights, policy, step)
    fixed = found.slack - _slack_of(part, dual.weights, found.steps[core])
    # What a choice leaves of the bound: the score that each policy forgoes, and the price of unused slack.
    left = scores.max(axis=1)[policy] - scores[policy, step] + prices @ use
    size = max(abs(found.bound), 1e-300)
    chosen = _solve(
        left / size, float(prices @ fixed) / size, use, policy, -fixed + ROUNDING * _size(dual), len(core)
    )
    if chosen is None:
        return None
    steps = found.steps.copy()
    steps[core[policy[chosen]]] = step[chosen].astype(np.int8)
    return steps


def _size(dual: Dual) -> Array:
    """Give the size of the sums behind each constraint."""
    totals, weights = dual.book.totals(dual.book.neutral), dual.weights
    return np.asarray(
        np.abs(weights.volume) @ totals.volume
        + np.abs(weights.cost) @ totals.cost
        + np.abs(weights.premium) @ totals.premium
        + np.abs(weights.quoted) @ totals.quoted
        + np.abs(weights.target)
    )


def _effects(part: Book, weights: Weights, policy: NDArray[np.int64], step: NDArray[np.int64]) -> Array:
    """Give what each pair of policy and step adds to each constraint, shape (constraints, pairs)."""
    accept = part.accept[step, policy].astype(np.float64)
    price = part.base[policy] * part.multipliers[step]
    cost, segment = part.cost[policy], part.segment[policy]
    return np.asarray(
        weights.volume[:, segment] * accept
        + weights.cost[:, segment] * (accept * cost)
        + weights.premium[:, segment] * (accept * price)
        + weights.quoted[:, segment] * price
    )


def _slack_of(part: Book, weights: Weights, steps: NDArray[np.int8]) -> Array:
    """Give what some policies add to each constraint."""
    return np.asarray(_effects(part, weights, np.arange(part.size), steps.astype(np.int64)).sum(axis=1))


def _solve(
    left: Array, fixed: float, use: Array, policy: NDArray[np.int64], least: Array, size: int
) -> NDArray[np.int64] | None:
    """Choose one pair per policy: least left of the bound, each constraint at least `least`.

    The last column is a constant (`fixed` less the bound itself): so the objective is the profit of the whole
    book, and the relative gap at which the search ends is the gap of the certificate.

    Parameters
    ----------
    left
        Share of the bound that each pair leaves, shape (pairs,).
    fixed
        Share of the bound that the policies outside the core leave.
    use
        What each pair adds to each constraint, shape (constraints, pairs).
    policy
        Policy of each pair, shape (pairs,).
    least
        Least sum of each constraint, shape (constraints,).
    size
        Policies of the core.

    Returns
    -------
    ndarray or None
        The chosen pairs, shape (size,).
    """
    pairs = len(policy)
    one = coo_array((np.ones(pairs), (policy, np.arange(pairs))), shape=(size, pairs + 1))
    scale = np.maximum(np.abs(use).max(axis=1), 1e-300)
    lowest = np.append(np.zeros(pairs), 1.0)
    done = milp(
        SCALE * np.append(left, fixed - 1.0),
        integrality=np.append(np.ones(pairs), 0.0),
        bounds=Bounds(lowest, 1.0),
        constraints=[
            LinearConstraint(one.tocsr(), 1.0, 1.0),
            LinearConstraint(np.pad(use / scale[:, None], ((0, 0), (0, 1))), least / scale, np.inf),
        ],
        options={"time_limit": SECONDS, "mip_rel_gap": GAP},
    )
    if done.x is None:
        return None
    return np.flatnonzero(done.x[:-1] > 0.5)
