"""Pay as you use: kilometres, trips or hours as exposure, with a true-up when the use is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from pricing.errors import ExperienceError


@dataclass(frozen=True)
class UsageCurve:
    r"""How the risk grows with use (kilometres a year, trips, hours): :math:`f(d) = (d / d_0)^\gamma`.

    Attributes
    ----------
    reference
        Use at which the tariff's frequency holds.
    exponent
        Above 0 and at most 1: each further unit adds less.
    lowest, highest
        Use outside is rated at the nearest bound.
    """

    reference: float
    exponent: float
    lowest: float
    highest: float

    def __post_init__(self) -> None:
        """Refuse a curve that cannot be.

        Raises
        ------
        ExperienceError
            If a figure is out of range.
        """
        if not 0 < self.exponent <= 1 or not 0 < self.lowest <= self.reference <= self.highest < math.inf:
            raise ExperienceError(
                f"curve of exponent {self.exponent!r} from {self.lowest!r} to {self.highest!r} around "
                f"{self.reference!r}; allowed: exponent above 0 and at most 1, lowest <= reference <= highest"
            )

    def relativity(self, use: float) -> float:
        """Give the factor on the frequency at a use."""
        if not (math.isfinite(use) and use >= 0):
            raise ExperienceError(f"use is {use!r}; allowed: finite, at least 0")
        held = min(max(use, self.lowest), self.highest)
        return float((held / self.reference) ** self.exponent)


@dataclass(frozen=True)
class DistanceCharge:
    """A fixed part and a price per kilometre, in minor units.

    Attributes
    ----------
    fixed_minor
        Per month.
    rate_millionths
        Millionths of a minor unit per metre, so that every amount is an exact integer.
    """

    fixed_minor: int
    rate_millionths: int

    def month(self, metres: int) -> int:
        """Give the charge of a month with so many metres, minor units, rounded once."""
        if metres < 0:
            raise ExperienceError(f"{metres} m were driven; allowed: at least 0")
        exact = Decimal(self.fixed_minor) + Decimal(metres) * self.rate_millionths / 1_000_000
        return int(exact.to_integral_value(ROUND_HALF_EVEN))

    def true_up(self, paid_minor: int, metres: int) -> int:
        """Give what is still owed (negative: paid back) once the metres of the month are known."""
        return self.month(metres) - paid_minor


def pro_rata(price_minor: int, used: int, whole: int) -> int:
    """Give the price of part of a cover (hours of a day, days of a year), minor units, half to even.

    Parameters
    ----------
    price_minor
        Price of the whole.
    used, whole
        Units used and units of the whole.
    """
    if not 0 <= used <= whole or whole < 1:
        raise ExperienceError(f"{used} of {whole} units are used; allowed: 0 to all of at least 1")
    return int((Decimal(price_minor) * used / whole).to_integral_value(ROUND_HALF_EVEN))
