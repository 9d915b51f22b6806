"""Which constraints cannot be met together, when no prices meet them all.

By Farkas: no choice meets the constraints if some prices of them, at least zero, make the dual without profit
negative. The constraints with such a price are to blame; leaving out one after the other makes the set
minimal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

from pricing.optimiser.dual import Dual

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.optimiser.book import Book
    from pricing.optimiser.constraints import Weights

    Array = NDArray[np.float64]

# Slack relative to the size of a constraint that is taken for zero.
TOLERANCE = 1e-9
RESTARTS = 3


def best_alone(book: Book, weights: Weights, threads: int = 2) -> dict[str, float]:
    """Give what each constraint could have to spare at most, if only it mattered."""
    dual = Dual(book, weights, earns=False, threads=threads)
    found = {}
    for i, name in enumerate(weights.names):
        price = np.zeros(len(weights.names))
        price[i] = 1.0
        found[name] = float(dual.evaluate(price, exact=True).slack[i])
    return found


def conflicting(book: Book, weights: Weights, threads: int = 2) -> list[int]:
    """Give a smallest set of constraints that cannot be met together; empty when none is proved."""
    alone = best_alone(book, weights, threads)
    hopeless = [i for i, name in enumerate(weights.names) if alone[name] < 0]
    if hopeless:
        return hopeless[:1]
    kept = list(range(len(weights.names)))
    if not _impossible(book, weights.only(kept), threads):
        return []
    for i in list(kept):
        fewer = [j for j in kept if j != i]
        if fewer and _impossible(book, weights.only(fewer), threads):
            kept = fewer
    return kept


def _impossible(book: Book, weights: Weights, threads: int) -> bool:
    """Look for prices that prove that the constraints cannot be met."""
    dual = Dual(book, weights, earns=False, threads=threads)
    count = len(weights.names)
    neutral = np.abs(weights.slack(book.totals(book.neutral))) + np.abs(weights.target)
    scale = 1.0 / np.where(neutral > 0, neutral, 1.0)
    proved = False

    def value(scaled: Array) -> tuple[float, Array]:
        """Dual at prices brought to a sum of one: negative is a proof."""
        nonlocal proved
        total = float(scaled.sum())
        found = dual.evaluate(scaled / total * scale)
        proved |= found.bound < -TOLERANCE
        slope = found.slack * scale
        return found.bound, (slope - float(slope @ scaled) / total) / total

    for restart in range(RESTARTS):
        start = (
            np.random.default_rng(restart).dirichlet(np.ones(count)) if restart else np.full(count, 1 / count)
        )
        minimize(
            value,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(1e-9, None)] * count,
            options={"maxiter": 100},
            callback=lambda _: proved,
        )
        if proved:
            return True
    return False
