"""Random streams that depend on names and numbers alone, never on threads."""

from __future__ import annotations

import functools
import hashlib
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "gamma_quantiles", "stream"]

Array = npt.NDArray[Any]


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
