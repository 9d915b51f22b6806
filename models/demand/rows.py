"""Rows of a price test, checked once: who accepted at which price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.errors import DemandError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DemandRows:
    """Checked rows.

    Attributes
    ----------
    accepted
        1 where the quote was accepted or the policy renewed, else 0, shape (n,).
    log_price
        Logarithm of the price multiplier, or of new over last premium, shape (n,).
    weight
        1 / propensity of the price cell, mean 1, shape (n,); ones without propensity.
    """

    accepted: Array
    log_price: Array
    weight: Array


def check_demand(
    X: pd.DataFrame, accepted: ArrayLike, log_price: ArrayLike, propensity: ArrayLike | None
) -> DemandRows:
    """Check outcome, price and propensity against the features.

    Raises
    ------
    DemandError
        One sentence per fault, with the number of rows.
    """
    columns = {"accepted": accepted, "log_price": log_price}
    columns["propensity"] = np.ones(len(X)) if propensity is None else propensity
    read = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    problems = [
        f"{name} has shape {values.shape}; one value for each of {len(X)} rows is needed"
        for name, values in read.items()
        if values.shape != (len(X),)
    ]
    problems = problems or [
        f"{name}: {count} of {len(X)} rows are not finite"
        for name, values in read.items()
        if (count := int((~np.isfinite(values)).sum()))
    ]
    y, share = read["accepted"], read["propensity"]
    if not problems:
        if strange := int((~np.isin(y, (0.0, 1.0))).sum()):
            problems.append(f"accepted: {strange} rows are neither 0 nor 1")
        elif len(np.unique(y)) < 2:
            problems.append(f"accepted has one value on all {len(y)} rows; both outcomes are needed")
        if strange := int(((share <= 0) | (share > 1)).sum()):
            problems.append(f"propensity: {strange} rows lie outside 0 (excluded) to 1")
        if len(y) and np.ptp(read["log_price"]) == 0:
            problems.append("log_price never differs; demand cannot be learned from one price")
    if problems:
        raise DemandError(problems)
    weight = 1.0 / share
    return DemandRows(y, read["log_price"], weight / weight.mean())
