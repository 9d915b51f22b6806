"""Random streams and keyed hashes that depend on names and numbers alone, never on threads."""

from __future__ import annotations

import functools
import hashlib
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "gamma_quantiles", "price_cell", "splitmix64", "stream", "unit_share"]

Array = npt.NDArray[Any]

_MASK = (1 << 64) - 1


def stream(seed: int, table: str, block: int) -> np.random.Generator:
    """Give the random stream of one block of one table.

    Parameters
    ----------
    seed : int
        Seed of the simulation.
    table : str
        What is drawn.
    block : int
        Which block of it.

    Returns
    -------
    numpy.random.Generator
        SFC64 seeded by the three.
    """
    code = int.from_bytes(hashlib.blake2b(table.encode(), digest_size=4).digest(), "little")
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, code, block])))


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
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") & _MASK
    hashed = splitmix64(splitmix64(units) ^ np.uint64(key))
    shares: npt.NDArray[np.float64] = (hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return shares


def price_cell(units: Array, experiment: str, cells: int) -> npt.NDArray[np.int8]:
    """Assign units to equally likely cells of a price test; a unit keeps its cell for the whole test."""
    return (unit_share(units, experiment) * cells).astype(np.int8)


@functools.lru_cache(maxsize=8)
def _gamma_table(alpha: float) -> tuple[Array, Array]:
    # The density of log(theta) is smooth where that of theta is not (alpha below 1), so integrate that.
    u = np.linspace(math.log(1e-9), math.log(60.0), 200_001)
    log_density = alpha * math.log(alpha) - math.lgamma(alpha) + alpha * u - alpha * np.exp(u)
    density = np.exp(log_density)
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(u))])
    z = np.linspace(-6.0, 6.0, 6_001)
    normal = NormalDist()
    share = np.array([normal.cdf(value) for value in z])
    return z, np.interp(share * cumulative[-1], cumulative, np.exp(u))


def gamma_quantiles(z: Array, alpha: float) -> npt.NDArray[np.float64]:
    """Turn standard normal scores into Gamma(alpha, alpha) values (mean 1, variance 1 / alpha) by a copula.

    Parameters
    ----------
    z : ndarray of float
        Standard normal scores.
    alpha : float
        Shape and rate.
    """
    grid, quantile = _gamma_table(alpha)
    return np.interp(z, grid, quantile)
