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

CORE = 300
# Steps that a policy of the core may take, the best by score; all of them when these do not suffice.
CHOICES = 3
# Relative room that sums in 64 bits need; constraints are held to a target that is tighter by this.
ROUNDING = 1e-12
SECONDS = 2.0
# Share of the profit of the book that the choice of the core may leave.
GAP = 2e-8


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
    for size, choices in ((CORE, CHOICES), (CORE, dual.book.steps), (10 * CORE, dual.book.steps)):
        size = min(size, dual.book.size)
        core = np.sort(np.argpartition(found.margins, size - 1)[:size])
        steps = _choose(dual, prices, found, core, min(choices, dual.book.steps))
        if steps is not None and (dual.weights.slack(dual.book.totals(steps)) >= 0).all():
            return steps
        if size == dual.book.size and choices >= dual.book.steps:
            break
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
    profit, use = _effects(part, dual.weights, policy, step)
    fixed = found.slack - _slack_of(part, dual.weights, found.steps[core])
    chosen = _solve(profit, use, policy, -fixed + ROUNDING * _size(dual), len(core), abs(found.bound))
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


def _effects(
    part: Book, weights: Weights, policy: NDArray[np.int64], step: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Give profit, shape (pairs,), and part of each constraint, shape (constraints, pairs)."""
    accept = part.accept[step, policy].astype(np.float64)
    price = part.base[policy] * part.multipliers[step]
    cost, segment = part.cost[policy], part.segment[policy]
    profit = accept * (part.kept[policy] * price - cost)
    use = (
        weights.volume[:, segment] * accept
        + weights.cost[:, segment] * (accept * cost)
        + weights.premium[:, segment] * (accept * price)
        + weights.quoted[:, segment] * price
    )
    return profit, use


def _slack_of(part: Book, weights: Weights, steps: NDArray[np.int8]) -> Array:
    """Give what some policies add to each constraint."""
    use = _effects(part, weights, np.arange(part.size), steps.astype(np.int64))[1]
    return np.asarray(use.sum(axis=1))


def _solve(
    profit: Array, use: Array, policy: NDArray[np.int64], least: Array, size: int, bound: float
) -> NDArray[np.int64] | None:
    """Choose one pair per policy: most profit, each constraint at least `least`; give the chosen pairs."""
    one = coo_array((np.ones(len(policy)), (policy, np.arange(len(policy)))), shape=(size, len(policy)))
    scale = np.maximum(np.abs(use).max(axis=1), 1e-300)
    best = np.zeros(size)
    np.maximum.at(best, policy, profit)
    worth = max(float(best.sum()), 1e-300)
    done = milp(
        -profit,
        integrality=np.ones(len(policy)),
        bounds=Bounds(0.0, 1.0),
        constraints=[
            LinearConstraint(one.tocsr(), 1.0, 1.0),
            LinearConstraint(use / scale[:, None], least / scale, np.inf),
        ],
        options={"time_limit": SECONDS, "mip_rel_gap": min(GAP * bound / worth, 1e-2)},
    )
    if done.x is None:
        return None
    return np.flatnonzero(done.x > 0.5)
