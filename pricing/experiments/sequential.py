r"""Watching a running test: intervals that hold at every moment, so that one may look and stop at any time.

The difference :math:`\hat\delta` of the means of two cells has variance :math:`V = s_1^2/n_1 + s_0^2/n_0`.
A normal mixture :math:`\delta \sim N(\delta_0, \tau^2)` over the alternatives makes the likelihood ratio

.. math:: \Lambda = \sqrt{\frac{V}{V + \tau^2}} \exp\frac{\tau^2 (\hat\delta - \delta_0)^2}{2 V (V + \tau^2)}

a martingale if :math:`\delta_0` is true, so by Ville's inequality it ever exceeds :math:`1/\alpha` with
probability at most alpha. The interval at each moment holds all :math:`\delta_0` that are not rejected; the
running intersection of all intervals so far covers as well.

References
----------
Johari, Koomen, Pekelis and Walsh (2022), Operations Research 70(3), mixture sequential probability ratio
test; Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), Annals of Statistics 52(6), its validity with
estimated variances and the choice of the mixture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pricing.errors import ExperimentError
from pricing.experiments.experiment import mean_effect
from pricing.plan import MILLION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pricing.experiments.experiment import Experiment

# The normal approximation of a mean; before, no interval is given.
FEWEST_QUOTES = 100


@dataclass(frozen=True)
class CellTotals:
    """What came of the quotes of one cell.

    Attributes
    ----------
    quotes
        Number of quotes; of units, where one unit asks often.
    total, squares
        Sum of the measure and of its square over quotes (for conversion both are the number sold).
    """

    quotes: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __post_init__(self) -> None:
        """Refuse sums that no quotes can have.

        Raises
        ------
        ExperimentError
            Naming the sums.
        """
        if not (self.quotes >= 0 and math.isfinite(self.total) and math.isfinite(self.squares)) or (
            self.total**2 > self.squares * self.quotes * (1.0 + 1e-9)
        ):
            raise ExperimentError(
                f"{self.quotes} quotes cannot have sum {self.total!r} and sum of squares {self.squares!r}"
            )

    def __add__(self, other: CellTotals) -> CellTotals:
        return CellTotals(self.quotes + other.quotes, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """Mean of the measure."""
        return self.total / self.quotes

    @property
    def variance(self) -> float:
        """Variance of the measure over quotes."""
        return max(self.squares / self.quotes - self.mean**2, 0.0)


@dataclass(frozen=True)
class ConfidenceSequence:
    """Interval of the difference of a cell to the holdout, true at all moments at once.

    Attributes
    ----------
    alpha
        Probability that it ever misses the difference.
    mixture
        Variance of the mixture, fixed before the start.
    lower, upper
        Running intersection of the intervals so far.
    """

    alpha: float
    mixture: float
    lower: float = -math.inf
    upper: float = math.inf

    @classmethod
    def planned(
        cls, alpha: float, spread: float, cell_quotes: float, holdout_quotes: float
    ) -> ConfidenceSequence:
        """Make one that is tightest after the planned numbers of quotes.

        Parameters
        ----------
        alpha
            Probability that it ever misses.
        spread
            Expected standard deviation of the measure over quotes.
        cell_quotes, holdout_quotes
            Planned numbers.
        """
        variance = spread**2 * (1.0 / cell_quotes + 1.0 / holdout_quotes)
        hard = -2.0 * math.log(alpha)
        return cls(alpha, variance * (hard + math.log(hard) + 1.0))

    def update(self, cell: CellTotals, holdout: CellTotals) -> ConfidenceSequence:
        """Narrow the interval by what is known now (all quotes so far, not those since the last update)."""
        if min(cell.quotes, holdout.quotes) < FEWEST_QUOTES or not (cell.variance and holdout.variance):
            return self
        v = cell.variance / cell.quotes + holdout.variance / holdout.quotes
        both = v + self.mixture
        half = math.sqrt(v * both / self.mixture * (2.0 * -math.log(self.alpha) + math.log(both / v)))
        found = cell.mean - holdout.mean
        return replace(self, lower=max(self.lower, found - half), upper=min(self.upper, found + half))

    @property
    def contradicts(self) -> bool:
        """Whether no difference fits all moments: the cells do not differ by the same amount all the time."""
        return self.lower > self.upper

    @property
    def differs(self) -> bool:
        """Whether the cell is proven to differ from the holdout."""
        return self.lower > 0.0 or self.upper < 0.0


@dataclass(frozen=True)
class Monitor:
    """A running test with the shares of its file.

    Attributes
    ----------
    test
        The test.
    totals, sequences
        By cell; the holdout's sequence stays open.
    """

    test: Experiment
    totals: tuple[CellTotals, ...]
    sequences: tuple[ConfidenceSequence, ...]

    @classmethod
    def start(cls, test: Experiment) -> Monitor:
        """Make the monitor of a test before its first quote; alpha is divided among the cells."""
        stop = test.stop
        holdout = stop.quotes * test.shares[test.holdout] / MILLION
        alpha = stop.alpha / (len(test.cells) - 1)
        sequences = tuple(
            ConfidenceSequence.planned(alpha, stop.spread, stop.quotes * share / MILLION, holdout)
            for share in test.shares
        )
        return cls(test, tuple(CellTotals() for _ in test.cells), sequences)

    def add(self, batch: Sequence[CellTotals]) -> Monitor:
        """Take in what came of the quotes since the last look, by cell.

        Raises
        ------
        ExperimentError
            If there is not one total a cell.
        """
        if len(batch) != len(self.totals):
            raise ExperimentError(f"{len(batch)} totals for {len(self.totals)} cells")
        totals = tuple(known + new for known, new in zip(self.totals, batch, strict=True))
        holdout = self.test.holdout
        sequences = tuple(
            one if i == holdout else one.update(totals[i], totals[holdout])
            for i, one in enumerate(self.sequences)
        )
        return Monitor(self.test, totals, sequences)

    def stops(self) -> tuple[str, ...]:
        """Say why the test must stop now; empty while it may run on."""
        stop = self.test.stop
        reasons = []
        for cell, one in zip(self.test.cells, self.sequences, strict=True):
            if one.contradicts:
                reasons.append(
                    f"the difference of cell {cell.multiplier} to the holdout is not the same all the time"
                )
            elif one.upper < -stop.largest_loss:
                reasons.append(
                    f"cell {cell.multiplier} loses at least {-one.upper:.4g} of {stop.measure}, "
                    f"more than {stop.largest_loss:g}"
                )
        quotes = tuple(one.quotes for one in self.totals)
        if sum(quotes) >= stop.quotes:
            reasons.append(f"the planned {stop.quotes} quotes are reached")
        return tuple(reasons)

    def premium_effect(self) -> float:
        """Give how far the mean multiplier of the quotes so far lies from 1."""
        quotes = tuple(one.quotes for one in self.totals)
        total = sum(quotes)
        return float(mean_effect(self.test.multipliers, quotes)) * MILLION / total if total else 0.0
