r"""Experience rating in real time: what a customer's own claims say of the risk, in O(1) an event.

Two sums are kept of each customer or shop: claims, and the claims that the tariff expected. With memory
:math:`\rho` per year both fade before something is added, so that old years count less:

.. math:: S \leftarrow S \rho^{\Delta t} + s

Poisson-Gamma: :math:`N \mid \theta \sim` Poisson(:math:`\theta E`), :math:`\theta \sim` Gamma(a, a), so

.. math:: \hat\theta = (a + N) / (a + E), \quad Z = E / (a + E), \quad \hat\theta = Z \, N / E + (1 - Z).

Buhlmann-Straub: :math:`\hat\mu = Z \bar X + (1 - Z) \mu`, :math:`Z = w / (w + v / a)`.

References
----------
Buhlmann and Gisler, A Course in Credibility Theory and its Applications (2005), ch. 2 and 4; Ahn, Jeong, Lu
and Wuthrich (2023), arXiv:2308.16058, for memory that fades.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pricing.errors import ExperienceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

DAYS = 365.25


@dataclass(frozen=True)
class Experience:
    """What is known of one customer or shop.

    Attributes
    ----------
    claims
        Faded number of claims (or sum of weighted observations).
    expected
        Faded number that the tariff expected (or sum of weights).
    day
        Day up to which both have faded, counted from any fixed day.
    """

    claims: float = 0.0
    expected: float = 0.0
    day: float = 0.0


@dataclass(frozen=True)
class PoissonGamma:
    """Relativity of a customer's own claims.

    Attributes
    ----------
    shape
        Parameter a of the gamma distribution of risks: the smaller, the more they differ.
    memory
        Share of what is known that still counts after a year, above 0 and at most 1.
    lowest, highest
        Bounds of the relativity, as filed.
    """

    shape: float
    memory: float = 1.0
    lowest: float = 0.5
    highest: float = 3.0

    def __post_init__(self) -> None:
        """Refuse parameters that cannot be.

        Raises
        ------
        ExperienceError
            Naming the parameter.
        """
        if not (math.isfinite(self.shape) and self.shape > 0):
            raise ExperienceError(f"shape is {self.shape!r}; allowed: above 0")
        if not 0 < self.memory <= 1:
            raise ExperienceError(f"memory is {self.memory!r}; allowed: above 0 and at most 1")
        if not 0 < self.lowest <= 1 <= self.highest:
            raise ExperienceError(
                f"bounds are {self.lowest!r} to {self.highest!r}; they must enclose 1, the average"
            )

    def add(self, known: Experience, day: float, *, claims: float = 0.0, expected: float = 0.0) -> Experience:
        """Take in an event: a claim, a return, or exposure that has run off. The order of events is free.

        Parameters
        ----------
        known
            What was known.
        day
            Day of the event.
        claims, expected
            What it adds.

        Raises
        ------
        ExperienceError
            If a figure is negative or not finite.
        """
        if not (
            math.isfinite(day)
            and math.isfinite(claims)
            and claims >= 0
            and math.isfinite(expected)
            and expected >= 0
        ):
            raise ExperienceError(
                f"event on day {day!r} with {claims!r} claims of {expected!r} expected; "
                "allowed: finite, at least 0"
            )
        if day >= known.day:
            faded = self.faded(known, day)
            return Experience(faded.claims + claims, faded.expected + expected, day)
        # An event that comes late has faded as if it had come in time.
        weight = self.memory ** ((known.day - day) / DAYS)
        return Experience(known.claims + weight * claims, known.expected + weight * expected, known.day)

    def faded(self, known: Experience, day: float) -> Experience:
        """Let what is known fade until a day; an earlier day changes nothing."""
        if day <= known.day:
            return known
        weight = self.memory ** ((day - known.day) / DAYS)
        return Experience(known.claims * weight, known.expected * weight, day)

    def relativity(self, known: Experience, day: float) -> float:
        """Give the relativity as of a day, within its bounds."""
        faded = self.faded(known, day)
        found = (self.shape + faded.claims) / (self.shape + faded.expected)
        return min(max(found, self.lowest), self.highest)

    def credibility(self, known: Experience, day: float) -> float:
        """Give the weight Z of the customer's own claims as of a day, 0 to 1."""
        expected = self.faded(known, day).expected
        return expected / (self.shape + expected)

    def relativities(self, claims: Array, expected: Array) -> Array:
        """Give the relativities of many, whose sums have faded to the day; bit-equal to `relativity`.

        Parameters
        ----------
        claims, expected
            Shape (n,).
        """
        found = (self.shape + claims) / (self.shape + expected)
        return np.minimum(np.maximum(found, self.lowest), self.highest)


@dataclass(frozen=True)
class BuhlmannStraub:
    """Mean of a customer's own observations, drawn to that of all.

    Attributes
    ----------
    mean
        Of all.
    within, between
        Variance of one observation of weight one, and variance between risks.
    """

    mean: float
    within: float
    between: float

    def __post_init__(self) -> None:
        """Refuse parameters that cannot be.

        Raises
        ------
        ExperienceError
            Naming the parameter.
        """
        for name in ("mean", "within", "between"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (name == "within" and value == 0):
                raise ExperienceError(f"{name} is {value!r}; allowed: finite, at least 0 (within: above 0)")

    def credibility(self, weight: float) -> float:
        """Give Z of a total weight."""
        return weight * self.between / (weight * self.between + self.within)

    def estimate(self, total: float, weight: float) -> float:
        """Give the estimate from the weighted sum of observations and the sum of weights."""
        if weight == 0:
            return self.mean
        share = self.credibility(weight)
        return share * total / weight + (1.0 - share) * self.mean
