"""Prices of a million policies: seconds, memory, gap to the bound, and general solvers beside it."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array, csr_array

from pricing.optimiser import (
    Book,
    loss_ratio_cap,
    optimise,
    rate_change_cap,
    steps_between,
    volume_floor,
)
from pricing.optimiser.constraints import Weights
from pricing.optimiser.dual import Dual, minimise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pricing.optimiser import Constraint

POLICIES, LARGE, SMALL = 1_000_000, 5_000_000, 10_000
SEGMENTS = 20
BLOCK = 100_000
REPEATS = 3
UNIT = 1e4  # minor units of the general solvers' objective

T = TypeVar("T")


def renewal_book(size: int, seed: int = 1) -> Book:
    """Make a book of renewals (elasticity about 3) and new business (about 6) in twenty segments.

    Renewals may move by 15 % and never above the equivalent new business price; half the segments are filed
    with a corridor of 0.86 to 1.14.
    """
    rng = np.random.default_rng(seed)
    multipliers = np.linspace(0.80, 1.20, 21)
    renewal = rng.random(size) < 0.6
    segment = rng.integers(0, SEGMENTS, size)
    cost = rng.lognormal(np.log(30_000.0), 0.5, size)
    base = cost / 0.72 * rng.lognormal(0.0, 0.2, size)
    slope = np.where(renewal, 3.0, 6.0) * rng.lognormal(0.0, 0.3, size)
    level = np.where(renewal, 1.6, -0.8) + rng.normal(0.0, 0.5, size)
    accept = np.empty((len(multipliers), size), dtype=np.float32)
    for start in range(0, size, BLOCK):
        rows = slice(start, start + BLOCK)
        moved = level[rows] - slope[rows] * np.log(multipliers)[:, None]
        accept[:, rows] = 1.0 / (1.0 + np.exp(-moved))
    filed = segment % 2 == 0
    last = base * rng.lognormal(0.0, 0.03, size)
    lowest = np.where(renewal, np.minimum(0.85 * last, base), np.where(filed, 0.86 * base, 0.0))
    highest = np.where(filed, 1.14, np.inf) * base
    new_business = base * rng.uniform(1.0, 1.2, size)
    highest = np.where(renewal, np.minimum(np.minimum(1.15 * last, new_business), highest), highest)
    low, high = steps_between(
        multipliers, base, np.maximum(lowest, np.where(filed, 0.86, 0.0) * base), highest
    )
    kept = np.full(size, 0.90)
    names = tuple(f"segment {i}" for i in range(SEGMENTS))
    return Book(multipliers, base, cost, kept, accept, low, high, segment, names)


def demands(book: Book, kind: str) -> list[Constraint]:
    """Give the constraints `volume`, `three` or `seg` (three and a floor of volume in each segment).

    What two of them reach is solved first, so that the third can be set where it binds and can still be met.
    """
    free = book.totals(book.neutral)
    if kind == "volume":
        return [volume_floor(1.02 * float(free.volume.sum()))]
    two = [volume_floor(1.02 * float(free.volume.sum())), rate_change_cap(book, 0.02)]
    reached = optimise(book, two, "individual").totals
    three = [*two, loss_ratio_cap(0.9997 * float(reached.cost.sum() / reached.premium.sum()))]
    if kind == "three":
        return three
    floors = [
        volume_floor((1.002 if i % 2 else 0.99) * float(volume), book.segments[i])
        for i, volume in enumerate(reached.volume)
    ]
    return three + floors


def run() -> dict[str, float]:
    """Solve a book under one and 23 constraints, at 1 and 5 million policies, and by others at 10,000."""
    figures: dict[str, float] = {}
    book = renewal_book(POLICIES)
    for name, kind in (("one", "volume"), ("seg", "seg")):
        wanted = demands(book, kind)
        start = time.perf_counter()
        found = optimise(book, wanted, "individual")
        figures[f"{name}_s"] = time.perf_counter() - start
        figures[f"{name}_evaluations"] = float(found.evaluations)
        figures["gap"] = max(figures.get("gap", 0.0), found.gap)
        figures["violations"] = figures.get("violations", 0.0) + found.violations
    figures["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    figures |= _against_general_solvers()
    del book
    large = renewal_book(LARGE)
    wanted = demands(large, "seg")
    start = time.perf_counter()
    found = optimise(large, wanted, "individual")
    figures["large_s"] = time.perf_counter() - start
    figures["large_gap"] = found.gap
    return figures


def _against_general_solvers() -> dict[str, float]:
    """Solve the relaxation of 10,000 policies under three constraints: our dual, HiGHS and cvxpy.

    `highs_ratio` and `cvxpy_ratio` compare the same problem, the linear programme: its bound by the dual
    against its bound by an interior point. The `whole` ratios count our exact repair too, which goes on to
    whole prices; the others stop at fractions.
    """
    book = renewal_book(SMALL)
    wanted = demands(book, "three")
    weights = Weights.of(wanted, book.segments)
    dual_s, bound = _timed(lambda: _dual_bound(book, weights), REPEATS)
    small_s, ours = _timed(lambda: optimise(book, wanted, "individual"), REPEATS)
    highs_s, highs = _timed(lambda: _linear_programme(book, wanted))
    cvxpy_s, clarabel = _timed(lambda: _by_cvxpy(book, wanted))
    return {
        "dual_s": dual_s,
        "small_s": small_s,
        "small_gap": ours.gap,
        "highs_s": highs_s,
        "cvxpy_s": cvxpy_s,
        "highs_ratio": highs_s / dual_s,
        "cvxpy_ratio": cvxpy_s / dual_s,
        "highs_whole_ratio": highs_s / small_s,
        "cvxpy_whole_ratio": cvxpy_s / small_s,
        "bound_difference": max(abs(bound / other - 1) for other in (highs, clarabel)),
    }


def _timed(work: Callable[[], T], repeats: int = 1) -> tuple[float, T]:
    """Give the least seconds of some runs, and the last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def _dual_bound(book: Book, weights: Weights) -> float:
    dual = Dual(book, weights)
    return dual.evaluate(minimise(dual)[0], exact=True).bound


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Choose shares x of pairs (policy, step), each policy's adding up to 1: profit @ x, use @ x >= least."""

    profit: NDArray[np.float64]
    use: NDArray[np.float64]
    least: NDArray[np.float64]
    policies: csr_array


def _relaxation(book: Book, wanted: Sequence[Constraint]) -> Relaxation:
    weights = Weights.of(wanted, book.segments)
    policy = np.repeat(np.arange(book.size), book.steps)
    step = np.tile(np.arange(book.steps), book.size)
    allowed = (step >= book.low[policy]) & (step <= book.high[policy])
    policy, step = policy[allowed], step[allowed]
    accept = book.accept[step, policy].astype(np.float64)
    price, cost, segment = book.base[policy] * book.multipliers[step], book.cost[policy], book.segment[policy]
    use = (
        weights.volume[:, segment] * accept
        + weights.cost[:, segment] * accept * cost
        + weights.premium[:, segment] * accept * price
        + weights.quoted[:, segment] * price
    )
    one = coo_array((np.ones(len(policy)), (policy, np.arange(len(policy)))), shape=(book.size, len(policy)))
    profit = accept * (book.kept[policy] * price - cost)
    scale = np.abs(use).max(axis=1)
    return Relaxation(profit / UNIT, use / scale[:, None], weights.target / scale, one.tocsr())


def _linear_programme(book: Book, wanted: Sequence[Constraint]) -> float:
    """Solve by HiGHS' interior point, as scipy offers it."""
    lp = _relaxation(book, wanted)
    done = linprog(
        -lp.profit,
        A_ub=csr_array(-lp.use),
        b_ub=-lp.least,
        A_eq=lp.policies,
        b_eq=np.ones(book.size),
        bounds=(0.0, 1.0),
        method="highs-ipm",
        options={"time_limit": 120.0},
    )
    return float(-done.fun * UNIT)


def _by_cvxpy(book: Book, wanted: Sequence[Constraint]) -> float:
    """Solve by cvxpy with Clarabel, an interior point for cones."""
    import cvxpy  # takes a second that no other benchmark owes

    lp = _relaxation(book, wanted)
    x = cvxpy.Variable(len(lp.profit), nonneg=True)
    limits = [lp.policies @ x == 1.0, lp.use @ x >= lp.least]
    return float(cvxpy.Problem(cvxpy.Maximize(lp.profit @ x), limits).solve(solver="CLARABEL") * UNIT)
