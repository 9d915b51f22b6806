r"""Experience rating in real time: what own claims or returns say of a unit, in O(1) an event.

Poisson-Gamma: :math:`N \mid \theta \sim` Poisson(:math:`\theta E`), :math:`\theta \sim` Gamma(a, a), where E
is what the model expected of the covers held so far, gives the relativity

.. math:: \hat\theta = (a + N) / (a + E) = Z \, N / E + (1 - Z), \quad Z = E / (a + E).

Buhlmann-Straub on amounts relative to what was expected, :math:`X = N / E` with weight E around the mean 1,
is :math:`Z X + (1 - Z)` with :math:`Z = E / (E + v / a)`: the same sums, with :math:`v / a` as the shape.

Memory fades: what lies :math:`\Delta` days back counts :math:`\rho^{\Delta / 365.25}`. Fading everything at
each event would round each time and depend on the order. Instead an event of day d is weighted once and for
all by :math:`w_d = \rho^{-d / 365.25}`, counted from a filed day on (forward decay), and the prior takes the
weight of the day it is asked on:

.. math:: \hat\theta_t = (a \, w_t + \sum_i w_{d_i} n_i) / (a \, w_t + \sum_i w_{d_i} e_i).

Weights, claims and expectations are integers. So a sum is exact, has no order, can be kept, added to and
taken back from, and the service, the batch and a notebook get the same relativity to the last millionth.

References
----------
Buhlmann and Gisler, A Course in Credibility Theory and its Applications (2005), ch. 2 and 4; Ahn, Jeong, Lu
and Wuthrich (2023), arXiv:2308.16058, for memory that fades; Cormode, Shkapenyuk, Srivastava and Xu, Forward
decay (ICDE 2009).
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from pricing.bonus_malus import BonusMalusScale
from pricing.errors import ExperienceError
from pricing.factors import Frozen, Name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

MILLION = 1_000_000
YEAR = 365.25
# One claim (or one minor unit of cost) in the units of the sums; a daily rate is a whole number of them.
UNITS = {"number": 100_000_000, "amount": 1_000}
WEIGHT_ONE = 1 << 12
# A weight beyond this would leave too little room in 64 bits: with memory 0.8 that is 37 years after `since`.
LARGEST_WEIGHT = 1 << 24
LONGEST_DAYS = 60 * 366
LARGEST_SUM = 1 << 62

Ratio = Annotated[str, Field(pattern=r"^\d{1,3}(\.\d{1,6})?$")]
Unit = Literal["customer", "seller"]
Term: TypeAlias = "tuple[int, int, int]"
"""First day, first day after, and what is expected of one day, in units."""


class Scale(Frozen):
    """A bonus-malus scale whose class comes with the quote.

    Attributes
    ----------
    factor
        Integer factor of the product, from 0 (best class) up: the customer's class.
    start, down, up
        Class of a newcomer, classes that a year without claims moves down, and that each claim moves up.
    """

    factor: Name
    start: Annotated[int, Field(ge=0)]
    down: Annotated[int, Field(ge=1)] = 1
    up: Annotated[int, Field(ge=1)] = 2

    def over(self, classes: int) -> BonusMalusScale:
        """Give the scale of so many classes."""
        return BonusMalusScale(classes, self.start, self.down, self.up)


class Experience(Frozen):
    """What own history does to the premium of a product.

    Attributes
    ----------
    method
        `poisson_gamma` (number of own claims or returns against what was expected), `buhlmann_straub` (their
        cost) or `bonus_malus` (Norberg's relativity of the class that the quote names).
    unit
        Whose history: the customer's or the seller's.
    counts
        `claims` of this product, or `returns` of orders in the categories of `expected`.
    since
        First day whose covers and claims count.
    memory
        Share of what is known that still counts after a year.
    lag_days
        Days from a claim to its report on average: exposure counts so much later, as claims do.
    shape
        The smaller, the more own history counts: a of the gamma distribution, or within over between
        variance in major units. Fitted by `premia train` when absent.
    lowest, highest
        Bounds of the relativity, as filed.
    expected
        Returns expected of one order, by category (`counts = "returns"`).
    scale
        Of `bonus_malus`.
    """

    method: Literal["poisson_gamma", "buhlmann_straub", "bonus_malus"]
    unit: Unit = "customer"
    counts: Literal["claims", "returns"] = "claims"
    since: dt.date | None = None
    memory: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    lag_days: Annotated[int, Field(ge=0, le=366)] = 0
    shape: Annotated[float, Field(gt=0, le=1e9)] | None = None
    lowest: Ratio
    highest: Ratio
    expected: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    scale: Scale | None = None

    @model_validator(mode="after")
    def _complete(self) -> Experience:
        if not 0 < Decimal(self.lowest) <= 1 <= Decimal(self.highest):
            raise ValueError(f"bounds {self.lowest} to {self.highest} must enclose 1, the average")
        if (self.method == "bonus_malus") != (self.scale is not None):
            raise ValueError("scale goes with method 'bonus_malus', and only with it")
        if (self.method == "bonus_malus") == (self.since is not None):
            raise ValueError("since goes with poisson_gamma and buhlmann_straub, and only with them")
        if (self.counts == "returns") != bool(self.expected):
            raise ValueError("expected, by category, goes with counts = 'returns', and only with it")
        if self.counts == "returns" and (self.method != "poisson_gamma" or self.shape is None):
            raise ValueError("counts = 'returns' goes with method 'poisson_gamma' and a filed shape")
        return self

    @property
    def key(self) -> str:
        """Column of the ids whose history counts."""
        return f"{self.unit}_id"


@dataclass(frozen=True)
class OwnHistory:
    """What counts of a unit's own history on a day.

    Attributes
    ----------
    claims, expected
        Number of own claims (or returns, or their cost in minor units) and what was expected, both faded.
    credibility
        Weight Z of the unit's own history, 0 to 1.
    relativity
        Millionths.
    """

    claims: float
    expected: float
    credibility: float
    relativity: int


@dataclass(frozen=True)
class ExperienceRating:
    """How sums of own history become a relativity.

    Attributes
    ----------
    since
        Day from which days are counted.
    memory, lag
        As filed (see `Experience`).
    shape
        In units: one claim, or one minor unit of cost, is `unit` of them.
    lowest, highest
        Bounds of the relativity, millionths.
    unit
        See `UNITS`.
    """

    since: dt.date
    shape: int
    lowest: int
    highest: int
    memory: float = 1.0
    lag: int = 0
    unit: int = UNITS["number"]

    def __post_init__(self) -> None:
        """Refuse parameters that cannot be.

        Raises
        ------
        ExperienceError
            Naming the parameter.
        """
        if not 0 < self.shape < LARGEST_SUM // LARGEST_WEIGHT:
            raise ExperienceError(
                f"shape is {self.shape / self.unit:g}; allowed: above 0 and at most "
                f"{LARGEST_SUM // LARGEST_WEIGHT // self.unit}"
            )
        if not 0.5 <= self.memory <= 1:
            raise ExperienceError(f"memory is {self.memory!r}; allowed: 0.5 to 1")
        if not 0 < self.lowest <= MILLION <= self.highest:
            raise ExperienceError(
                f"bounds are {self.lowest} to {self.highest} millionths; they must enclose 1"
            )

    @classmethod
    def of(cls, filed: Experience, shape: float) -> ExperienceRating:
        """Put what is filed and the shape (claims, or minor units of cost) together."""
        if filed.since is None:
            raise ExperienceError("a bonus-malus scale keeps no sums: its class comes with the quote")
        unit = UNITS["amount" if filed.method == "buhlmann_straub" else "number"]
        lowest, highest = int(Decimal(filed.lowest) * MILLION), int(Decimal(filed.highest) * MILLION)
        return cls(
            filed.since, max(round(shape * unit), 1), lowest, highest, filed.memory, filed.lag_days, unit
        )

    def day(self, moment: dt.date) -> int:
        """Count the days from `since` to a moment; below zero before it."""
        return moment.toordinal() - self.since.toordinal()

    def weight(self, day: int) -> int:
        """Give the weight of a day; a day before `since` has none.

        Raises
        ------
        ExperienceError
            If the day lies too long after `since` for exact sums.
        """
        self._check(day)
        return _weights(self.memory)[0][day] if day >= 0 else 0

    def accrued(self, first: int, last: int, day: int) -> int:
        """Give the sum of weights of the days of a term that have run by a day, less the lag."""
        self._check(day)
        before = _weights(self.memory)[1]
        until = min(last, day - self.lag)
        return before[max(until, 0)] - before[max(min(first, until), 0)]

    def expected(self, terms: Iterable[Term], day: int) -> int:
        """Give what was expected of some terms by a day."""
        return sum(rate * self.accrued(first, last, day) for first, last, rate in terms)

    def own(self, claims: int, expected: int, day: int) -> OwnHistory:
        """Give the relativity on a day.

        Parameters
        ----------
        claims, expected
            Weighted sums in units, as kept.
        day
            Days since `since`.
        """
        self._check_sums(max(claims, expected))
        weight = self.weight(max(day, 0))
        prior = self.shape * weight
        found = float(prior + claims) / float(prior + expected)
        scale = float(weight * self.unit)
        return OwnHistory(
            claims / scale,
            expected / scale,
            expected / (prior + expected),
            min(max(round(found * MILLION), self.lowest), self.highest),
        )

    def weights(self, days: Ints) -> Ints:
        """Give the weights of days, shape (n,); the same numbers as `weight`."""
        self._check(int(days.max(initial=0)))
        table = _arrays(self.memory)[0]
        return np.where(days >= 0, table[np.maximum(days, 0)], 0)

    def accrued_by(self, first: Ints, last: Ints, days: Ints) -> Ints:
        """Give the accrued weights of terms, each as of its own day, shape (n,); the same as `accrued`."""
        self._check(int(days.max(initial=0)))
        before = _arrays(self.memory)[1]
        until = np.minimum(last, days - self.lag)
        return np.asarray(
            before[np.maximum(until, 0)] - before[np.maximum(np.minimum(first, until), 0)], dtype=np.int64
        )

    def relativities(self, claims: Ints, expected: Ints, days: Ints) -> Ints:
        """Give the relativities of many in millionths, shape (n,); the same numbers as `own`."""
        self._check_sums(int(max(claims.max(initial=0), expected.max(initial=0))))
        prior = self.shape * self.weights(np.maximum(days, 0))
        found = (prior + claims).astype(np.float64) / (prior + expected).astype(np.float64)
        return np.clip(np.rint(found * MILLION).astype(np.int64), self.lowest, self.highest)

    def _check(self, day: int) -> None:
        if day >= len(_weights(self.memory)[0]):
            raise ExperienceError(
                f"day {day} lies too long after {self.since} for exact sums with memory {self.memory:g}. "
                "Hint: file a later `since`"
            )

    def _check_sums(self, largest: int) -> None:
        if largest >= LARGEST_SUM - self.shape * LARGEST_WEIGHT:
            raise ExperienceError(f"a sum of {largest} units leaves 64 bits. Hint: file a later `since`")


@lru_cache(maxsize=64)
def _weights(memory: float) -> tuple[list[int], list[int]]:
    """Weight of each day, and the sum of weights before it."""
    most = LONGEST_DAYS
    if memory < 1:
        most = min(most, int(YEAR * math.log(LARGEST_WEIGHT / WEIGHT_ONE) / -math.log(memory)))
    each = [round(WEIGHT_ONE * memory ** (-day / YEAR)) for day in range(most)]
    before = [0]
    for weight in each:
        before.append(before[-1] + weight)
    return each, before


@lru_cache(maxsize=64)
def _arrays(memory: float) -> tuple[Ints, Ints]:
    each, before = _weights(memory)
    return np.array(each, dtype=np.int64), np.array(before, dtype=np.int64)


@dataclass(frozen=True)
class BuhlmannStraub:
    """Mean of a unit's own observations, drawn to that of all.

    Attributes
    ----------
    mean
        Of all.
    within, between
        Variance of one observation of weight one, and variance between units.
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
