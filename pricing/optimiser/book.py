"""The book to be priced: per policy a ladder of prices, what each earns, and how far each may go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pricing.errors import BookError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Totals:
    """What a choice of prices adds up to, by segment, each shape (segments,).

    Attributes
    ----------
    volume
        Expected number of policies sold or kept.
    cost
        Expected claims and fixed expense of those.
    premium
        Expected premium of those, minor units.
    quoted
        Premium quoted to all, minor units.
    """

    volume: Array
    cost: Array
    premium: Array
    quoted: Array


@dataclass(frozen=True, eq=False)
class Book:
    """Policies with a common ladder of price multipliers.

    Attributes
    ----------
    multipliers
        Ladder, ascending, shape (k,); the price of step j is `base` x `multipliers[j]`.
    base
        Price at multiplier 1 (technical premium with filed loadings), minor units, shape (n,).
    cost
        Expected claims and fixed expense when sold, minor units, shape (n,).
    kept
        Share of the price that is left after variable expense and commission, shape (n,).
    accept
        Probability of acceptance at each step, shape (k, n), float32: one row a step, so that a step is read
        in one sweep.
    low, high
        First and last step allowed for each policy, shape (n,), int8 (see `steps_between`).
    segment
        Segment of each policy, shape (n,), 0..s-1; all zero when there is one.
    segments
        Names of the segments.
    """

    multipliers: Array
    base: Array
    cost: Array
    kept: Array
    accept: NDArray[np.float32]
    low: NDArray[np.int8]
    high: NDArray[np.int8]
    segment: NDArray[np.int64]
    segments: tuple[str, ...] = ("all",)

    def __post_init__(self) -> None:
        """Refuse a book whose figures cannot be.

        Raises
        ------
        BookError
            One sentence per fault, with the number of policies.
        """
        problems = [*self._shapes(), *self._values()]
        if problems:
            raise BookError(problems)

    def _shapes(self) -> list[str]:
        size, steps = len(self.base), len(self.multipliers)
        problems = [] if size else ["the book holds no policy"]
        if not 2 <= steps <= 127 or not (np.diff(self.multipliers) > 0).all() or not self.multipliers[0] > 0:
            problems.append(f"the ladder needs 2 to 127 ascending positive multipliers; found {steps}")
        problems += [
            f"{name} has shape {getattr(self, name).shape}; one value a policy is ({size},)"
            for name in ("cost", "kept", "low", "high", "segment")
            if getattr(self, name).shape != (size,)
        ]
        if self.accept.shape != (steps, size) or self.accept.dtype != np.float32:
            problems.append(
                f"accept is {self.accept.dtype} of shape {self.accept.shape}; "
                f"float32 of ({steps}, {size}) is needed"
            )
        return problems

    def _values(self) -> list[str]:
        if self._shapes():
            return []
        limits = {
            "base is not positive and finite": ~(np.isfinite(self.base) & (self.base > 0)),
            "cost is negative or not finite": ~(np.isfinite(self.cost) & (self.cost >= 0)),
            "kept lies outside 0 to 1": ~((self.kept > 0) & (self.kept <= 1)),
            "no price of the ladder is allowed": self.low > self.high,
            "a step lies outside the ladder": (self.low < 0) | (self.high >= len(self.multipliers)),
            "the segment is unknown": (self.segment < 0) | (self.segment >= len(self.segments)),
        }
        wrong = np.zeros(self.size, dtype=bool)
        for row in self.accept:
            wrong |= ~((row >= 0) & (row <= 1))
        limits["a probability of acceptance lies outside 0 to 1"] = wrong
        return [f"{int(rows.sum())} policies: {text}" for text, rows in limits.items() if rows.any()]

    @property
    def size(self) -> int:
        """Number of policies."""
        return len(self.base)

    @property
    def steps(self) -> int:
        """Number of steps of the ladder."""
        return len(self.multipliers)

    @cached_property
    def neutral(self) -> NDArray[np.int8]:
        """Step nearest to multiplier 1 that each policy may take, shape (n,)."""
        return self.held(int(np.argmin(np.abs(self.multipliers - 1.0))))

    def held(self, step: int) -> NDArray[np.int8]:
        """Give one step for all, or the nearest that each policy may take, shape (n,)."""
        return np.asarray(np.clip(np.int8(step), self.low, self.high), dtype=np.int8)

    def chosen(self, steps: NDArray[np.int8]) -> tuple[Array, Array]:
        """Give the probability and the price of one step per policy, each shape (n,), float64."""
        accept = self.accept[steps, np.arange(self.size)].astype(np.float64)
        return accept, self.base * self.multipliers[steps]

    def totals(self, steps: NDArray[np.int8]) -> Totals:
        """Add up a choice of one step per policy."""
        accept, price = self.chosen(steps)

        def summed(values: Array) -> Array:
            return np.bincount(self.segment, values, len(self.segments)).astype(np.float64)

        return Totals(summed(accept), summed(accept * self.cost), summed(accept * price), summed(price))

    def profit(self, steps: NDArray[np.int8]) -> float:
        """Give the expected profit of a choice: probability x (kept x price - cost), minor units."""
        accept, price = self.chosen(steps)
        return float(np.sum(accept * (self.kept * price - self.cost)))

    def rows(self, chosen: NDArray[np.int64]) -> Book:
        """Give some of the policies as a book of their own."""
        return Book(
            self.multipliers,
            self.base[chosen],
            self.cost[chosen],
            self.kept[chosen],
            np.ascontiguousarray(self.accept[:, chosen]),
            self.low[chosen],
            self.high[chosen],
            self.segment[chosen],
            self.segments,
        )


def steps_between(
    multipliers: Array, base: Array, lowest: Array, highest: Array
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Turn bounds of the price into first and last allowed step of each policy.

    Every cap of a price is a bound: the filed corridor, the change cap at renewal, and the equivalent new
    business price that a renewal may not pass. The tightest counts.

    Parameters
    ----------
    multipliers
        Ladder, shape (k,).
    base, lowest, highest
        Base price and bounds, minor units, shape (n,); a bound may be infinite.

    Returns
    -------
    tuple of ndarray
        `low` and `high`, int8, shape (n,); `low > high` where no step fits.
    """
    # A bound that is meant to be met exactly must not fail by the last bit of a division.
    slack = 1e-12
    low = np.searchsorted(multipliers, lowest / base * (1.0 - slack), side="left")
    high = np.searchsorted(multipliers, highest / base * (1.0 + slack), side="right") - 1
    return np.minimum(low, 127).astype(np.int8), high.astype(np.int8)
