"""Keyed hashes that give a unit its fixed place: the same in every process and on every machine."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["price_cell", "splitmix64", "unit_share"]

Array = npt.NDArray[Any]


def splitmix64(values: Array) -> npt.NDArray[np.uint64]:
    """Hash 64-bit integers (Steele, Lea and Flood 2014), shape kept."""
    with np.errstate(over="ignore"):
        z = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def unit_share(units: Array, name: str) -> npt.NDArray[np.float64]:
    """Give every unit its fixed place in [0, 1) under a name.

    Two rounds of splitmix64 with the name's hash between them: a multiplicative hash with an additive salt
    makes the cells of two experiments depend on each other.

    Parameters
    ----------
    units : ndarray of int
        Ids.
    name : str
        Experiment or purpose.
    """
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    hashed = splitmix64(splitmix64(units) ^ np.uint64(key))
    shares: npt.NDArray[np.float64] = (hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return shares


def price_cell(units: Array, experiment: str, cells: int) -> npt.NDArray[np.int8]:
    """Assign units to equally likely cells of a price test; a unit keeps its cell for the whole test."""
    return (unit_share(units, experiment) * cells).astype(np.int8)
