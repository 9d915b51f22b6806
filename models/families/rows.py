"""What an estimator refuses to learn from, with row counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d

from models.errors import TrainingDataError
from models.families.base import TWEEDIE_POWER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from numpy.typing import ArrayLike, NDArray

    from models.families.base import Objective


def read_rows(
    objective: Objective, size: int, y: ArrayLike, exposure: ArrayLike | None, offset: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Read target, exposure and offset of the rows of a fit.

    Parameters
    ----------
    objective
        Distribution of the target.
    size
        Number of rows.
    y
        Shape (n,): rate per unit of exposure, mean amount per claim, or event 0/1.
    exposure
        Shape (n,), one each when absent.
    offset
        Shape (n,) on the scale of the link, zero when absent.

    Raises
    ------
    TrainingDataError
        Naming every fault with its number of rows.
    """
    if y is None:
        raise TrainingDataError(["this estimator requires y to be passed, but the target y is None"])
    target = _column(y, warn=True)
    weight = np.ones(size) if exposure is None else _column(exposure)
    base = np.zeros(size) if offset is None else _column(offset)
    check_consistent_length(np.empty(size), target, weight, base)
    if size < 2:
        raise TrainingDataError([f"a model needs two rows or more (n_samples={size})"])
    problems: list[str] = []
    _say(problems, ~np.isfinite(base), "the offset is missing or not finite")
    _say(problems, ~np.isfinite(weight), "exposure is missing or not finite")
    _say(
        problems,
        (weight <= 0) & (target > 0),
        "claims without exposure: exposure is not positive, the target is",
    )
    _say(problems, (weight <= 0) & ~(target > 0), "exposure is zero or negative")
    _say(problems, ~np.isfinite(target), "the target is missing or not finite")
    if objective == "binary":
        _say(problems, np.isfinite(target) & (target != 0) & (target != 1), "the event is neither 0 nor 1")
    elif objective == "gamma":
        _say(problems, target <= 0, "the amount is not positive; a gamma model is fitted on paid claims only")
    else:
        _say(problems, target < 0, "the target is negative")
    if not problems and np.ptp(target) == 0:
        problems.append(f"the target is constant: {target[0]:g} in all {size} rows")
    if problems:
        raise TrainingDataError(problems)
    return target, weight, base


def refuse_protected(names: Iterable[str], protected: Collection[str]) -> None:
    """Refuse columns that may never enter a fit.

    Raises
    ------
    TrainingDataError
        Naming them.
    """
    offending = sorted(set(names) & set(protected))
    if offending:
        raise TrainingDataError(
            [f"protected attributes {offending} are never inputs; hint: name the others in inputs="]
        )


def without_offset(
    objective: Objective,
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    offset: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn an offset of a log link into target and weight of the same likelihood.

    With power variance p (Poisson 1, Tweedie between, gamma 2) the deviance scales: d(c y, c mu) =
    c^(2-p) d(y, mu). So y with mean e^o mu and weight w fits as y e^-o with mean mu and weight w e^(o (2-p))
    (Jorgensen 1997, The Theory of Dispersion Models, 4.1), by any library, whatever it knows of offsets.

    Raises
    ------
    TrainingDataError
        If events are given an offset.
    """
    if not offset.any():
        return target, weight
    if objective == "binary":
        raise TrainingDataError(["an offset needs a log link; hint: give events the base score as an input"])
    power = {"poisson": 1.0, "tweedie": TWEEDIE_POWER, "gamma": 2.0}[objective]
    return target * np.exp(-offset), weight * np.exp((2.0 - power) * offset)


def _column(values: ArrayLike, *, warn: bool = False) -> NDArray[np.float64]:
    read = column_or_1d(values, warn=warn)
    try:
        return np.asarray(read, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TrainingDataError(
            [f"target, exposure and offset are numbers; found {read.dtype}: {error}"]
        ) from error


def _say(problems: list[str], rows: NDArray[np.bool_], sentence: str) -> None:
    if rows.any():
        problems.append(f"{int(rows.sum())} rows: {sentence}")
