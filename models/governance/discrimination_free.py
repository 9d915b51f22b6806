"""The discrimination-free price: as if the inputs told nothing of a protected attribute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.errors import FitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DiscriminationFree:
    """Three prices of the same rows, each per unit of exposure, shape (n,).

    Attributes
    ----------
    best_estimate
        Uses the protected attribute: the risk, for audits.
    free
        Discrimination-free price, in balance with the best estimate.
    frame
        Indexed by group: `exposure`, mean `best_estimate`, `free` and, where given, `charged`.
    """

    best_estimate: Array
    free: Array
    frame: pd.DataFrame


def discrimination_free(
    by_level: Array,
    codes: NDArray[np.int64],
    groups: Sequence[str],
    exposure: Array,
    *,
    charged: Array | None = None,
) -> DiscriminationFree:
    r"""Average the best estimate over the attribute as it is spread in the whole book.

    :math:`h^*(x) = c \sum_d \mu(x, d) P(D = d)`, where :math:`\mu` is the best estimate that knows the
    attribute and c restores the total. A price that merely ignores the attribute is
    :math:`\sum_d \mu(x, d) P(D = d \mid x)`: it infers the attribute from x; h* does not.

    Parameters
    ----------
    by_level
        Best estimate of every row at every level, shape (n, k), per unit of exposure.
    codes, groups
        Level of each row, shape (n,), and names of the k levels.
    exposure
        Shape (n,); the spread of the attribute is that of exposure.
    charged
        Price in force per unit of exposure, shown beside.

    Raises
    ------
    FitError
        If an estimate is not positive and finite, with the number of rows.

    References
    ----------
    Lindholm, Richman, Tsanakas and Wuthrich (2022), Discrimination-free insurance pricing, ASTIN Bulletin 52.
    """
    wrong = ~(np.isfinite(by_level) & (by_level > 0)).all(axis=1)
    if wrong.any():
        raise FitError(f"{int(wrong.sum())} rows: the best estimate is not positive and finite")
    spread = np.bincount(codes, exposure, len(groups)) / exposure.sum()
    best = by_level[np.arange(len(codes)), codes]
    free = by_level @ spread
    free = free * (exposure @ best) / (exposure @ free)
    columns = {"best_estimate": best, "free": free} | ({} if charged is None else {"charged": charged})
    held = np.bincount(codes, exposure, len(groups))
    frame = pd.DataFrame(
        {"exposure": held}
        | {name: np.bincount(codes, exposure * one, len(groups)) / held for name, one in columns.items()},
        index=pd.Index(groups, name="group"),
    )
    return DiscriminationFree(best, free, frame)
