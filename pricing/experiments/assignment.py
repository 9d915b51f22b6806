r"""Who gets which price: a keyed hash, the same for one quote and for a column, kept for the whole version.

The place of a unit is :math:`u = (h(h(id) \oplus k) \gg 11) \, 2^{-53}` with h splitmix64 (Steele, Lea and
Flood 2014) and k the blake2b hash of the test's name; two rounds with the key between them, because a
multiplicative hash with an additive salt makes the cells of two tests depend on each other. It is the hash
of `data.hashing.unit_share`, which this room may not import; a test holds the two together to the last bit.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pricing.integers import ROUNDING, Integers
from pricing.plan import MILLION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.experiments.shares import CellShares
    from pricing.plan import RatingPlan

# A Python int, or an array of uint64: the same lines run on both.
Words: TypeAlias = Any

MASK = 2**64 - 1


@dataclass(frozen=True)
class Assignment:
    """The cell of one unit.

    Attributes
    ----------
    experiment, experiment_hash, shares_version
        Which test, which content of its file, which version of its shares.
    unit
        Id of the unit.
    cell
        Place of the cell in the file.
    multiplier
        Millionths.
    propensity
        Probability of the cell.
    """

    experiment: str
    experiment_hash: str
    shares_version: int
    unit: int
    cell: int
    multiplier: int
    propensity: float


@dataclass(frozen=True)
class TestedPrice:
    """What the log keeps of a quote that took part in a test.

    Attributes
    ----------
    assignment
        The unit's cell.
    technical_minor
        Price of the plan, which the test multiplies, minor units.
    shown_minor
        Price shown, rounded as the plan says, minor units.
    lowest_minor, highest_minor
        Filed bounds of the price, minor units.
    """

    assignment: Assignment
    technical_minor: int
    shown_minor: int
    lowest_minor: int
    highest_minor: int


@dataclass(frozen=True)
class TestedPrices:
    """Many quotes at once, as `TestedPrice`; each array has shape (n,).

    Attributes
    ----------
    cell
        Place of the cell.
    multiplier
        Millionths.
    propensity
        Probability of the cell.
    shown_minor
        Price shown, minor units; the technical price where the quote takes no part.
    takes_part
        Whether every cell's price of the quote lies within the filed corridor.
    """

    cell: NDArray[np.int64]
    multiplier: NDArray[np.int64]
    propensity: NDArray[np.float64]
    shown_minor: NDArray[np.int64]
    takes_part: NDArray[np.bool_]


def _mix(words: Words) -> Words:
    """Hash 64-bit words: one Python int, or an array whose arithmetic wraps by itself."""
    z = (words + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


@lru_cache(maxsize=64)
def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def place(units: Integers, name: str) -> Words:
    """Give the place of one unit or of a column of units under a name, an integer below 2^53.

    Parameters
    ----------
    units
        Ids, one integer or shape (n,).
    name
        Name of the test.
    """
    words: Words = units.astype(np.uint64) if isinstance(units, np.ndarray) else int(units) & MASK
    return _mix(_mix(words) ^ _key(name)) >> 11


def assign(shares: CellShares, unit: int) -> Assignment:
    """Give the cell of one unit."""
    cell = bisect_right(shares.edges, int(place(unit, shares.experiment)))
    return Assignment(
        shares.experiment,
        shares.experiment_hash,
        shares.version,
        unit,
        cell,
        shares.multipliers[cell],
        shares.shares[cell] / MILLION,
    )


def assign_cells(shares: CellShares, units: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the cells of many units, shape (n,); equal to `assign` one by one."""
    places = np.asarray(place(units, shares.experiment), dtype=np.uint64)
    edges = np.array(shares.edges, dtype=np.uint64)
    return np.searchsorted(edges, places, side="right").astype(np.int64)


def _shown(technical: Integers, multiplier: Integers, plan: RatingPlan, unit_minor: int) -> Integers:
    return ROUNDING[plan.rounding.mode](technical * multiplier, MILLION * unit_minor) * unit_minor


def price_in_test(
    shares: CellShares, unit: int, technical_minor: int, plan: RatingPlan, channel: str
) -> TestedPrice | None:
    """Give the price that a unit is shown.

    A quote takes part only if the price of every cell, not just of its own, lies within the filed corridor:
    otherwise the cells would hold different risks. `None` means it takes no part and the plan's price stands.

    Parameters
    ----------
    shares
        Version of the shares in force.
    unit
        Id of the unit.
    technical_minor
        Price of the plan, minor units.
    plan, channel
        As the price was built.
    """
    terms = plan.terms(channel)
    ends = [
        _shown(technical_minor, one, plan, terms.unit_minor)
        for one in (min(shares.multipliers), max(shares.multipliers))
    ]
    if ends[0] < terms.lowest_minor or ends[1] > terms.highest_minor:
        return None
    chosen = assign(shares, unit)
    shown = _shown(technical_minor, chosen.multiplier, plan, terms.unit_minor)
    return TestedPrice(chosen, technical_minor, int(shown), terms.lowest_minor, terms.highest_minor)


def prices_in_test(
    shares: CellShares,
    units: NDArray[np.int64],
    technical_minor: NDArray[np.int64],
    plan: RatingPlan,
    channel: str,
) -> TestedPrices:
    """Give the prices that many units are shown; the same arithmetic as `price_in_test`.

    Parameters
    ----------
    shares, plan, channel
        As in `price_in_test`.
    units, technical_minor
        Shape (n,).
    """
    terms = plan.terms(channel)
    cell = assign_cells(shares, units)
    multiplier = np.array(shares.multipliers)[cell]
    low = _shown(technical_minor, min(shares.multipliers), plan, terms.unit_minor)
    high = _shown(technical_minor, max(shares.multipliers), plan, terms.unit_minor)
    takes_part = np.asarray((low >= terms.lowest_minor) & (high <= terms.highest_minor))
    shown = _shown(technical_minor, multiplier, plan, terms.unit_minor)
    return TestedPrices(
        cell,
        multiplier,
        np.array(shares.shares)[cell] / MILLION,
        np.where(takes_part, shown, technical_minor),
        takes_part,
    )
