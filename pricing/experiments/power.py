r"""How many quotes a price test needs, before it starts.

Demand is :math:`P(x) = 1/(1 + e^{-(a + b x)})` in the logarithm x of the multiplier. The information of n
quotes spread over cells with shares s is :math:`I = n \sum_c s_c P_c (1 - P_c) (1, x_c)^T (1, x_c)`.
Inverting the two-by-two matrix, with :math:`w_c = s_c P_c (1 - P_c)` and :math:`\bar x = \sum w x / \sum w`:

.. math:: se(b) = 1 / \sqrt{n \sum_c w_c (x_c - \bar x)^2} \approx 1 / (sd(x) \sqrt{n P (1 - P)}).

The mean slope :math:`dP/dx = b P (1 - P)` therefore has about :math:`\sqrt{P (1 - P)} / (sd(x) \sqrt n)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from pricing.errors import ExperimentError
from pricing.plan import MILLION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.experiments.experiment import Experiment

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """A test and the demand that is expected.

    Attributes
    ----------
    test
        Cells and shares.
    conversion
        Expected at the plan's price, between 0 and 1.
    slope
        Expected b, change of the logit per unit of the logarithm of the price.
    """

    test: Experiment
    conversion: float
    slope: float

    def __post_init__(self) -> None:
        """Refuse a demand that cannot be.

        Raises
        ------
        ExperimentError
            Naming the figure.
        """
        if not 0.0 < self.conversion < 1.0:
            raise ExperimentError(f"conversion is {self.conversion!r}; allowed: between 0 and 1")
        if not math.isfinite(self.slope):
            raise ExperimentError(f"slope is {self.slope!r}; allowed: finite")

    @classmethod
    def planned(cls, test: Experiment) -> Design:
        """Give the design that the test's file expects."""
        return cls(test, test.power.conversion, test.power.slope)

    def check_power(self) -> float:
        """Give the standard error of the slope after the planned quotes.

        Raises
        ------
        ExperimentError
            If it is larger than the file asks, with the quotes that would do.
        """
        found = self.slope_error(self.test.stop.quotes)
        wanted = self.test.power.slope_error
        if found > wanted:
            raise ExperimentError(
                f"{self.test.name} is too weak: after {self.test.stop.quotes:,} quotes the slope has a "
                f"standard error of {found:.3g}, asked is {wanted:g}. Hint: "
                f"{self.quotes_for_slope(wanted):,} quotes, or cells further apart"
            )
        return found

    @property
    def _log_multipliers(self) -> Array:
        return np.log(np.array(self.test.multipliers) / MILLION)

    @property
    def _conversions(self) -> Array:
        found: Array = expit(float(logit(self.conversion)) + self.slope * self._log_multipliers)
        return found

    @property
    def _information(self) -> float:
        """Information on b of one quote."""
        x, p = self._log_multipliers, self._conversions
        w = np.array(self.test.shares) / MILLION * p * (1.0 - p)
        return float(w @ (x - (w @ x) / w.sum()) ** 2)

    def slope_error(self, quotes: int) -> float:
        """Give the standard error of b after so many quotes."""
        return 1.0 / math.sqrt(_positive("quotes", quotes) * self._information)

    def quotes_for_slope(self, standard_error: float) -> int:
        """Give how many quotes bring the standard error of b down to a wanted one."""
        return math.ceil(1.0 / (_positive("standard_error", standard_error) ** 2 * self._information))

    def detectable_difference(self, cell: int, quotes: int, alpha: float, power: float) -> float:
        r"""Give the smallest difference of conversion to the holdout that is found with the wanted power.

        :math:`(z_{1-\alpha/2} + z_{power}) \sqrt{P (1 - P) (1/n_c + 1/n_0)}` with P at the plan's price, of
        one look at the end. The interval of `ConfidenceSequence`, which may be looked at always, is wider.

        Parameters
        ----------
        cell
            Place of the cell.
        quotes
            Of the whole test.
        alpha, power
            Error of the first kind, and one less that of the second.
        """
        share = [self.test.shares[i] / MILLION for i in (cell, self.test.holdout)]
        per_quote = self.conversion * (1.0 - self.conversion) * sum(1.0 / one for one in share)
        return quantiles(alpha, power) * math.sqrt(per_quote / _positive("quotes", quotes))

    def quotes_for_difference(self, cell: int, difference: float, alpha: float, power: float) -> int:
        """Give how many quotes of the whole test find a difference to the holdout with the wanted power."""
        one = self.detectable_difference(cell, 1, alpha, power)
        return math.ceil((one / _positive("difference", difference)) ** 2)


def quantiles(alpha: float, power: float) -> float:
    """Give the sum of the normal quantiles of one less half of alpha, and of the power."""
    if not (0.0 < alpha < 1.0 and 0.0 < power < 1.0):
        raise ExperimentError(f"alpha is {alpha!r}, power {power!r}; allowed: between 0 and 1")
    return float(norm.ppf(1.0 - alpha / 2.0) + norm.ppf(power))


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ExperimentError(f"{name} is {value!r}; allowed: above 0")
    return value
