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

from pricing.plan import MILLION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.experiments.shares import CellShares
    from pricing.integers import Integers
    from pricing.ladder import OfferBasis

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
        Price without the test, minor units.
    shown_minor
        Price shown, minor units.
    lowest_minor, highest_minor
        Filed bounds of the price, minor units.
    """

    assignment: Assignment
    technical_minor: int
    shown_minor: int
    lowest_minor: int
    highest_minor: int


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


def takes_part(shares: CellShares, basis: OfferBasis) -> bool | NDArray[np.bool_]:
    """Say whether a price, or each of a column, may be tested.

    A quote takes part only if the prices of all cells, not just of its own, lie within the filed corridor and
    no minimum or cap moves one of them: otherwise the cells would hold different risks.
    """
    lowest, highest = basis.allows(min(shares.multipliers)), basis.allows(max(shares.multipliers))
    return lowest & highest


def cell_multiplier(shares: CellShares, units: Integers, basis: OfferBasis) -> Integers:
    """Give the multiplier of one unit or of a column of units, millionths; 1,000,000 where none takes part.

    Parameters
    ----------
    shares
        Version of the shares in force.
    units
        Ids, one integer or shape (n,).
    basis
        Price before the test, of the same shape.
    """
    if isinstance(units, np.ndarray):
        chosen = np.array(shares.multipliers)[assign_cells(shares, units)]
        return np.where(takes_part(shares, basis), chosen, MILLION)
    return assign(shares, units).multiplier if takes_part(shares, basis) else MILLION
