"""The Lagrangian dual: for given prices of the constraints, every policy takes its best step by itself.

A policy scores `P_k (A + B m_k) + C m_k` at step k, where P_k is its probability of acceptance and m_k the
multiplier; A, B and C hold cost, price and the prices of all constraints together. So an evaluation costs
n x k whatever the number of constraints, and only P is stored. The dual bounds the profit of every lawful
choice from above; it is convex and piecewise linear in the multipliers.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq, minimize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.optimiser.book import Book
    from pricing.optimiser.constraints import Weights

    Array = NDArray[np.float64]

CHUNK = 8_192
SAMPLE, LEAST_SAMPLE = 16, 20_000
ROUNDS = 200
# A constraint that is worth so many times the whole profit cannot be met: the dual has no minimum.
DEAREST = 1e5
# The slack that a millionth of the price leaves is a policy in a million: the repair of the core takes it.
PRECISION = 1e-6


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The dual at one point.

    Attributes
    ----------
    bound
        Value of the dual: no lawful choice earns more.
    slack
        Of each constraint under the best steps, shape (constraints,): the gradient.
    steps
        Best step of each policy, shape (n,), int8.
    margins
        By how much each policy prefers it to its second best, shape (n,); empty unless exact.
    """

    bound: float
    slack: Array
    steps: NDArray[np.int8]
    margins: Array


class Dual:
    """The dual of a book under constraints.

    Parameters
    ----------
    book, weights
        Policies and constraints.
    earns
        Whether profit counts; without it the dual asks only whether the constraints can be met.
    threads
        Threads over blocks of policies.
    """

    def __init__(self, book: Book, weights: Weights, *, earns: bool = True, threads: int = 2) -> None:
        self.book, self.weights, self.threads = book, weights, threads
        self._earns = earns
        self._bounded = bool((book.low > 0).any() or (book.high < book.steps - 1).any())

    def evaluate(self, prices: Array, *, exact: bool = False) -> Evaluation:
        """Let every policy take its best step.

        Parameters
        ----------
        prices
            Multipliers of the constraints, at least zero, shape (constraints,).
        exact
            Score in 64 bits, with margins: for what is reported. The search is as good, and faster, in 32.
        """
        steps = np.empty(self.book.size, dtype=np.int8)
        margins = np.empty(self.book.size if exact else 0)
        blocks = [
            slice(start, min(start + CHUNK, self.book.size)) for start in range(0, self.book.size, CHUNK)
        ]
        work = np.array_split(np.arange(len(blocks)), min(self.threads, len(blocks)))

        def run(numbers: NDArray[np.int64]) -> None:
            scratch = _Scratch(np.float64 if exact else np.float32)
            for number in numbers:
                self._best(prices, blocks[number], scratch, steps, margins)

        if len(work) == 1:
            run(work[0])
        else:
            with ThreadPoolExecutor(len(work)) as pool:
                list(pool.map(run, work))
        slack = self.weights.slack(self.book.totals(steps))
        profit = self.book.profit(steps) if self._earns else 0.0
        return Evaluation(profit + float(prices @ slack), slack, steps, margins)

    def _coefficients(self, prices: Array, rows: slice) -> tuple[Array, Array, Array]:
        """Give A, B and C of some policies."""
        book, weights = self.book, self.weights
        segment = book.segment[rows]
        base, cost = book.base[rows], book.cost[rows]
        a = (prices @ weights.volume)[segment] + (prices @ weights.cost)[segment] * cost
        b = (prices @ weights.premium)[segment] * base
        c = (prices @ weights.quoted)[segment] * base
        return (a - cost, b + book.kept[rows] * base, c) if self._earns else (a, b, c)

    def _best(
        self, prices: Array, rows: slice, scratch: _Scratch, out: NDArray[np.int8], margins: Array
    ) -> None:
        a, b, c = self._coefficients(prices, rows)
        score, best, second, moved, better, arg = scratch.views(len(a))
        a, b, c = (part.astype(scratch.kind) for part in (a, b, c))
        moves = bool(c.any())
        low, high = self.book.low[rows], self.book.high[rows]
        first_free, last_free = (int(low.max()), int(high.min())) if self._bounded else (0, self.book.steps)
        best.fill(-np.inf)
        second.fill(-np.inf)
        arg.fill(0)
        for step, multiplier in enumerate(self.book.multipliers.astype(scratch.kind)):
            np.multiply(b, multiplier, out=score)
            score += a
            score *= self.book.accept[step, rows]
            if moves:
                score += np.multiply(c, multiplier, out=moved)
            if step < first_free:
                np.greater(low, step, out=better)
                np.copyto(score, -np.inf, where=better)
            if step > last_free:
                np.less(high, step, out=better)
                np.copyto(score, -np.inf, where=better)
            np.greater(score, best, out=better)
            if len(margins):
                np.maximum(second, np.minimum(score, best), out=second)
            np.copyto(best, score, where=better)
            np.copyto(arg, np.int8(step), where=better)
        out[rows] = arg
        if len(margins):
            margins[rows] = best - second

    def scores(self, prices: Array, rows: NDArray[np.int64]) -> Array:
        """Give the scores of some policies at every step, shape (rows, k); -inf where a step is barred."""
        part = self.book.rows(rows)
        a, b, c = Dual(part, self.weights, earns=self._earns)._coefficients(prices, slice(None))
        steps = np.arange(part.steps)
        multipliers = part.multipliers
        found = part.accept.T * (a[:, None] + b[:, None] * multipliers) + c[:, None] * multipliers
        allowed = (steps >= part.low[:, None]) & (steps <= part.high[:, None])
        return np.where(allowed, found, -np.inf)


class _Scratch:
    """Buffers of one thread."""

    def __init__(self, kind: Any) -> None:  # noqa: ANN401 - a numpy scalar type
        self.kind = kind
        self._floats = tuple(np.empty(CHUNK, kind) for _ in range(4))
        self._better, self._arg = np.empty(CHUNK, bool), np.empty(CHUNK, np.int8)

    def views(self, size: int) -> tuple[Any, Any, Any, Any, NDArray[np.bool_], NDArray[np.int8]]:
        score, best, second, moved = (buffer[:size] for buffer in self._floats)
        return score, best, second, moved, self._better[:size], self._arg[:size]


def minimise(dual: Dual, start: Array | None = None) -> tuple[Array, int]:
    """Find the prices of the constraints at which the dual is least.

    A sixteenth of the book gives the start. One constraint is solved by a bracketed search, several by
    L-BFGS-B on scaled prices.

    Parameters
    ----------
    dual
        The problem.
    start
        Prices to start from, for example of a neighbouring problem.

    Returns
    -------
    tuple
        Prices, shape (constraints,), and the number of evaluations on the whole book.
    """
    book = dual.book
    if start is None and book.size >= SAMPLE * LEAST_SAMPLE:
        rows = np.arange(0, book.size, SAMPLE)
        sample = Dual(book.rows(rows), dual.weights.scaled(len(rows) / book.size), threads=dual.threads)
        start, _ = minimise(sample)
    if len(dual.weights.names) == 1:
        return _bracketed(dual, None if start is None else float(start[0]))
    return _descend(dual, np.zeros(len(dual.weights.names)) if start is None else start)


def _descend(dual: Dual, start: Array) -> tuple[Array, int]:
    """Minimise by L-BFGS-B; each price is measured in profit per range of its constraint."""
    first = dual.evaluate(np.zeros(len(start)))
    reference = max(abs(first.bound), 1.0)
    neutral = dual.weights.slack(dual.book.totals(dual.book.neutral))
    span = np.maximum(np.maximum(np.abs(first.slack), np.abs(neutral)), 1e-9 * np.abs(dual.weights.target))
    scale = reference / np.where(span > 0, span, 1.0) * 0.1
    count = 1

    def value(scaled: Array) -> tuple[float, Array]:
        nonlocal count
        count += 1
        found = dual.evaluate(scaled * scale)
        return found.bound / reference, found.slack * scale / reference

    done = minimize(
        value,
        start / scale,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, DEAREST)] * len(start),
        options={"maxiter": ROUNDS, "maxfun": ROUNDS, "ftol": 1e-13, "gtol": 1e-9, "maxcor": 20},
    )
    return np.asarray(done.x * scale, dtype=np.float64), count


def _bracketed(dual: Dual, start: float | None) -> tuple[Array, int]:
    """Find the price at which one constraint is just met; its slack grows with its price."""
    points: dict[float, float] = {}

    def slack(price: float) -> float:
        if price not in points:
            points[price] = float(dual.evaluate(np.array([price])).slack[0])
        return points[price]

    if start is None and slack(0.0) >= 0:
        return np.zeros(1), len(points)
    guess = start if start else 1e-6
    low, high = (guess * 0.99, guess * 1.01) if start else (0.0, guess)
    while slack(low) >= 0 and low > 0:
        high, low = low, low * 0.8 if low > 1e-9 else 0.0
    if slack(low) >= 0:
        return np.zeros(1), len(points)
    while slack(high) < 0:
        low, high = high, high * (1.1 if start else 4.0)
        if high > 1e12:
            return np.array([high]), len(points)
    if slack(high) > 0:
        high = float(brentq(slack, low, high, xtol=1e-300, rtol=PRECISION))
    return np.array([high]), len(points)
