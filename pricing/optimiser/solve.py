"""Prices for a whole book: cost-only, by group, or by policy, with a certificate of how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from pricing.errors import InfeasibleError
from pricing.optimiser.conflicts import best_alone, conflicting
from pricing.optimiser.constraints import Weights
from pricing.optimiser.dual import Dual, minimise
from pricing.optimiser.repair import repair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pricing.optimiser.book import Book, Totals
    from pricing.optimiser.constraints import Constraint

    Array = NDArray[np.float64]

Mode = Literal["cost_only", "group", "individual"]
GROUP_SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class Solution:
    """Chosen prices, and what they reach.

    Attributes
    ----------
    mode
        How they were chosen.
    steps
        Step of each policy, shape (n,), int8.
    profit
        Expected profit, minor units.
    bound
        No lawful choice of this mode earns more; `profit` for cost-only prices, which are not chosen.
    slack
        Constraint -> what it has to spare; negative where cost-only prices miss it.
    shadow_prices
        Constraint -> profit that one unit less of its target would add; none for cost-only and group prices.
    totals
        Volume, cost, premium by segment.
    evaluations
        Of the dual on the whole book.
    group_steps
        Step of each segment, for group prices.
    """

    mode: Mode
    steps: NDArray[np.int8]
    profit: float
    bound: float
    slack: dict[str, float]
    shadow_prices: dict[str, float]
    totals: Totals
    evaluations: int = 0
    group_steps: tuple[int, ...] = ()

    @property
    def gap(self) -> float:
        """Share of the bound that may have been left: the certificate."""
        return (self.bound - self.profit) / max(abs(self.bound), 1e-300)

    @property
    def violations(self) -> int:
        """Number of constraints that are missed."""
        return sum(value < 0 for value in self.slack.values())


def optimise(
    book: Book,
    constraints: Sequence[Constraint] = (),
    mode: Mode = "cost_only",
    *,
    start: dict[str, float] | None = None,
    threads: int = 2,
) -> Solution:
    """Choose a price for every policy.

    `cost_only` takes the base price of each policy, inside its bounds: demand plays no part. `group` chooses
    one multiplier per segment by an exact integer programme; a policy whose bounds exclude it takes its
    nearest. `individual` chooses by policy through the Lagrangian dual with exact repair.

    Parameters
    ----------
    book
        Policies, ladder, bounds.
    constraints
        Of the portfolio.
    mode
        How prices are chosen.
    start
        Shadow prices of a neighbouring problem, to start from.
    threads
        Threads of the dual.

    Raises
    ------
    BookError
        If a constraint cannot be read.
    InfeasibleError
        If no prices meet all constraints, with those that conflict.
    """
    weights = Weights.of(constraints, book.segments)
    if mode == "cost_only":
        return _solution(mode, book, weights, book.neutral)
    if mode == "group":
        return _by_group(book, weights)
    return _by_policy(book, weights, start, threads)


def _solution(
    mode: Mode,
    book: Book,
    weights: Weights,
    steps: NDArray[np.int8],
    bound: float | None = None,
    prices: Array | None = None,
    evaluations: int = 0,
    group_steps: tuple[int, ...] = (),
) -> Solution:
    totals, profit = book.totals(steps), book.profit(steps)
    shadow = {} if prices is None else dict(zip(weights.names, prices.tolist(), strict=True))
    return Solution(
        mode,
        steps,
        profit,
        profit if bound is None else bound,
        dict(zip(weights.names, weights.slack(totals).tolist(), strict=True)),
        shadow,
        totals,
        evaluations,
        group_steps,
    )


def _by_policy(book: Book, weights: Weights, start: dict[str, float] | None, threads: int) -> Solution:
    dual = Dual(book, weights, threads=threads)
    if not weights.names:
        found = dual.evaluate(np.empty(0), exact=True)
        return _solution("individual", book, weights, found.steps, found.bound, np.empty(0), 1)
    first = None if start is None else np.array([start.get(name, 0.0) for name in weights.names])
    prices, evaluations = minimise(dual, first)
    found = dual.evaluate(prices, exact=True)
    _check_possible(book, weights, found.bound, threads)
    if (found.slack >= 0).all() and float(prices @ found.slack) <= 1e-12 * abs(found.bound):
        return _solution("individual", book, weights, found.steps, found.bound, prices, evaluations + 1)
    steps = repair(dual, prices, found)
    if steps is None:
        guilty = conflicting(book, weights, threads) or [int(np.argmin(found.slack))]
        raise InfeasibleError([weights.names[i] for i in guilty], best_alone(book, weights, threads))
    return _solution("individual", book, weights, steps, found.bound, prices, evaluations + 1)


def _check_possible(book: Book, weights: Weights, bound: float, threads: int) -> None:
    """Refuse when the dual lies below the least profit that any choice could have."""
    if bound >= book.profit(book.neutral):
        return
    least = np.zeros(book.size)
    for step in range(book.steps):
        earned = book.accept[step].astype(np.float64) * (
            book.kept * book.base * book.multipliers[step] - book.cost
        )
        least = np.minimum(least, earned)
    if bound < float(np.sum(least)):
        guilty = conflicting(book, weights, threads) or list(range(len(weights.names)))
        raise InfeasibleError([weights.names[i] for i in guilty], best_alone(book, weights, threads))


def _by_group(book: Book, weights: Weights) -> Solution:
    """Choose one step per segment exactly: HiGHS over (segment, step) with the totals of each."""
    count, size = len(book.segments), book.steps
    clipped = [book.held(step) for step in range(size)]
    totals = [book.totals(steps) for steps in clipped]
    earned = []
    for steps in clipped:
        accept, price = book.chosen(steps)
        earned.append(np.bincount(book.segment, accept * (book.kept * price - book.cost), count))
    profit = np.stack(earned, axis=1).ravel()  # pair (segment, step) stands at segment x size + step
    use = np.stack(
        [
            weights.volume * t.volume
            + weights.cost * t.cost
            + weights.premium * t.premium
            + weights.quoted * t.quoted
            for t in totals
        ],
        axis=2,
    ).reshape(len(weights.names), count * size)
    one = coo_array(
        (np.ones(count * size), (np.repeat(np.arange(count), size), np.arange(count * size))),
        shape=(count, count * size),
    )
    limits = [LinearConstraint(one.tocsr(), 1.0, 1.0)]
    if weights.names:
        scale = np.maximum(np.abs(use).max(axis=1), 1e-300)
        limits.append(LinearConstraint(use / scale[:, None], weights.target / scale * (1 + 1e-12), np.inf))
    done = milp(
        -profit / max(float(np.abs(profit).max()), 1e-300),
        integrality=np.ones(count * size),
        bounds=Bounds(0.0, 1.0),
        constraints=limits,
        options={"time_limit": GROUP_SECONDS, "mip_rel_gap": 1e-9},
    )
    if done.x is None:
        best = {
            name: float(_reach(use[i], count, size) - weights.target[i])
            for i, name in enumerate(weights.names)
        }
        hopeless = [name for name, value in best.items() if value < 0]
        raise InfeasibleError(hopeless[:1] or list(weights.names), best)
    chosen = np.argmax(done.x.reshape(count, size), axis=1)
    steps = np.clip(chosen[book.segment].astype(np.int8), book.low, book.high)
    bound = float(-done.mip_dual_bound * max(float(np.abs(profit).max()), 1e-300))
    return _solution("group", book, weights, steps, bound, group_steps=tuple(int(step) for step in chosen))


def _reach(use: Array, count: int, size: int) -> float:
    return float(use.reshape(count, size).max(axis=1).sum())
