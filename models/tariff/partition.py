"""Fewest groups of neighbouring cells at a given loss: exact, by dynamic programming."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Equal cells must join for nothing, whatever rounding makes of it.
ROUNDING = 1e-12


def fewest_groups(
    raw: NDArray[np.float64], information: NDArray[np.float64], loss: float
) -> NDArray[np.int64]:
    """Give the group of each cell, in cell order, shape (k,).

    A group takes the information-weighted mean of its cells. What that costs in deviance is, to second order,
    `sum of I x (raw - mean)^2` (a Wald statistic at dispersion 1); among all partitions into neighbours with
    as few groups as `loss` allows, the one that costs least is found (Fisher 1958, JASA 53, "On grouping for
    maximum homogeneity"). Trees and fused penalties look for the same bands step by step and may miss them.

    Parameters
    ----------
    raw
        Values of the cells, shape (k,).
    information
        Fisher information of each cell, shape (k,); cells without any join a neighbour at no cost.
    loss
        Share of what the cells explain, `sum of I x (raw - overall mean)^2`, that may be lost.
    """
    size = len(raw)
    raw = raw - float(information @ raw) / max(float(information.sum()), 1e-300)  # spares digits
    zero = np.zeros(1)
    weight = np.concatenate([zero, np.cumsum(information)])
    first = np.concatenate([zero, np.cumsum(information * raw)])
    second = np.concatenate([zero, np.cumsum(information * raw**2)])
    start, stop = np.triu_indices(size + 1, k=1)
    held = weight[stop] - weight[start]
    square = (first[stop] - first[start]) ** 2 / np.where(held > 0, held, 1.0)
    cost = np.full((size + 1, size + 1), np.inf)
    # Rounding must not make a group look cheaper than free.
    cost[start, stop] = np.maximum(second[stop] - second[start] - square, 0.0)
    allowed = (loss + ROUNDING) * cost[0, size]
    best = cost[0]
    cuts: list[NDArray[np.int64]] = []
    while best[size] > allowed and len(cuts) < size - 1:
        total = best[:, None] + cost
        cuts.append(np.argmin(total, axis=0))
        best = total.min(axis=0)
    ends = [size]
    for cut in reversed(cuts):
        ends.append(int(cut[ends[-1]]))
    bounds = sorted({end for end in ends if end > 0})
    return np.searchsorted(np.array(bounds), np.arange(size), side="right")
