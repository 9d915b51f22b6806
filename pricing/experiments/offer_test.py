r"""A test of offers is data: one TOML file declares arms, measure and stop rule before the first customer.

Customers are assigned by the hash of price tests (`pricing.experiments.assignment`) under the name of the
test, so that the arms do not depend on the cells of any price test. A customer counts once, from the first
time of being asked for in the test, with all that is bought within the horizon.

Of a difference d between two arms with shares :math:`s_1, s_0` of n customers and the standard deviation
sigma of the measure, one look at the end finds it with power :math:`1 - \beta` if
:math:`d \ge (z_{1-\alpha/2} + z_{1-\beta})\, \sigma \sqrt{(1/s_1 + 1/s_0) / n}`.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from datetime import date
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.stats import chi2

from pricing.definitions import parse_definition
from pricing.errors import DefinitionError, ExperimentError
from pricing.experiments.assignment import place
from pricing.experiments.power import quantiles
from pricing.factors import Frozen, Name
from pricing.plan import MILLION, Share, millionths

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

RANKER, POPULARITY, NOTHING = ARMS = ("ranker", "popularity", "nothing")
# Below, arms that differ in size from their shares are no chance: something loses customers of an arm.
MISMATCH = 0.001


class OfferStop(Frozen):
    """What is measured, and when a running test ends early.

    Attributes
    ----------
    measure
        `bought`: whether anything was bought within the horizon; `margin`: what it earned, minor units.
    alpha
        Probability, over all comparisons and the whole run, of a false statement.
    spread
        Standard deviation of the measure over customers as expected before the start.
    effect
        Difference between ranker and popularity that is worth finding.
    power
        Probability of finding it with the planned customers.
    largest_loss
        How far the ranker may fall short of popularity; proven to lose more, it stops the test.
    customers
        Planned number whose horizon has passed, after which the test has ended.
    """

    measure: Literal["bought", "margin"]
    alpha: Annotated[float, Field(gt=0.0, le=0.2)]
    spread: Annotated[float, Field(gt=0.0)]
    effect: Annotated[float, Field(gt=0.0)]
    power: Annotated[float, Field(ge=0.5, lt=1.0)]
    largest_loss: Annotated[float, Field(gt=0.0)]
    customers: Annotated[int, Field(ge=100)]


class OfferTest(Frozen):
    """A test of the ranker against popularity, and of both against offering nothing.

    Attributes
    ----------
    name, version, author
        Identity, the key of the assignment; and who declared it: somebody else approves.
    unit
        Who keeps an arm for the whole test.
    start, end
        First day and first day after (UTC) on which customers enter and arms are shown.
    horizon_days
        Days after entering in which purchases count.
    arms
        Share of the customers by arm.
    stop
        Measure and rule.
    """

    name: Name
    version: Annotated[int, Field(ge=1)]
    author: Annotated[str, Field(min_length=1)]
    unit: Literal["customer"]
    start: date
    end: date
    horizon_days: Annotated[int, Field(ge=1, le=366)]
    arms: dict[Literal["ranker", "popularity", "nothing"], Share]
    stop: OfferStop

    @model_validator(mode="after")
    def _consistent(self) -> OfferTest:
        problems = []
        if not self.start < self.end:
            problems.append(f"end {self.end} must come after start {self.start}")
        if missing := [arm for arm in (RANKER, POPULARITY) if not self.millionths.get(arm)]:
            problems.append(f"arms: {' and '.join(missing)} need a share above 0")
        if sum(self.millionths.values()) != MILLION:
            problems.append(f"arms: shares add up to {sum(self.millionths.values()) / MILLION}, not to 1")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @cached_property
    def millionths(self) -> dict[str, int]:
        """Share of each arm, in the order of `ARMS`, arms without one left out."""
        found = {arm: millionths(self.arms[arm]) for arm in ARMS if arm in self.arms}
        return {arm: share for arm, share in found.items() if share}

    @cached_property
    def shares(self) -> dict[str, float]:
        """Share of each arm."""
        return {arm: share / MILLION for arm, share in self.millionths.items()}

    @cached_property
    def hash(self) -> str:
        """Sha256 over the canonical content of the file, for exposures."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @cached_property
    def _edges(self) -> tuple[int, ...]:
        """First place, of the 2^53 places of customers, behind each arm but the last."""
        return tuple(-(-(end << 53) // MILLION) for end in accumulate(self.millionths.values()))[:-1]

    def runs_on(self, day: date) -> bool:
        """Say whether the test runs on a day."""
        return self.start <= day < self.end

    def arm_of(self, customer: int) -> str:
        """Give the arm of a customer."""
        return list(self.millionths)[bisect_right(self._edges, int(place(customer, self.name)))]

    def arms_of(self, customers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the places of the arms of many customers, shape (n,); equal to `arm_of` one by one."""
        places = np.asarray(place(customers, self.name), dtype=np.uint64)
        edges = np.array(self._edges, dtype=np.uint64)
        return np.searchsorted(edges, places, side="right").astype(np.int64)

    def detectable(self, customers: int) -> float:
        """Give the difference between ranker and popularity that is found with the file's power."""
        ends = sum(1.0 / self.shares[arm] for arm in (RANKER, POPULARITY))
        both = quantiles(self.stop.alpha / self.comparisons, self.stop.power)
        return both * self.stop.spread * math.sqrt(ends / customers)

    @property
    def comparisons(self) -> int:
        """Pairs of arms among which alpha is divided."""
        return len(self.shares) * (len(self.shares) - 1) // 2

    def check_power(self) -> float:
        """Give the smallest difference that the planned customers find.

        Raises
        ------
        ExperimentError
            If it is larger than the file asks, with the customers that would do.
        """
        found = self.detectable(self.stop.customers)
        if found > self.stop.effect:
            enough = math.ceil(self.detectable(1) ** 2 / self.stop.effect**2)
            raise ExperimentError(
                f"{self.name} is too weak: with {self.stop.customers:,} customers it finds a difference of "
                f"{found:.3g}, asked is {self.stop.effect:g}. Hint: {enough:,} customers, or larger arms"
            )
        return found


def sample_ratio(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Give the p-value of sizes of arms under their shares (chi-squared test of goodness of fit)."""
    seen, expected = np.asarray(counts, dtype=np.float64), np.sum(counts) * np.asarray(shares)
    if not expected.sum():
        return 1.0
    return float(chi2.sf(((seen - expected) ** 2 / expected).sum(), len(seen) - 1))


def parse_offer_test(text: str, source: str) -> OfferTest:
    """Read a test from the text of its file (see `parse_definition` for what is refused)."""
    return parse_definition(OfferTest, text, source)


def read_offer_tests(folder: Path) -> dict[str, OfferTest]:
    """Read all offer tests of a folder, by name.

    Raises
    ------
    DefinitionError
        If a file is faulty, two tests have one name, or two run at the same time.
    """
    found: dict[str, OfferTest] = {}
    for path in sorted(folder.glob("*.toml")):
        test = parse_offer_test(path.read_text(encoding="utf-8"), path.name)
        problems = [f"name {test.name!r} is taken by another file"] if test.name in found else []
        problems += [
            f"runs at the same time as {other.name!r}; allowed: one"
            for other in found.values()
            if test.start < other.end and other.start < test.end
        ]
        if problems:
            raise DefinitionError(path.name, problems)
        found[test.name] = test
    return found
