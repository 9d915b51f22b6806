"""Actual against expected by calendar period."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from models.diagnostics.bands import make_bands
from models.diagnostics.inputs import check_column, check_rows
from models.diagnostics.intervals import LEVEL
from models.diagnostics.one_way_table import OneWay, by_bands
from models.errors import DiagnosticError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from models.diagnostics.inputs import Totals
    from models.families.base import Objective

Period = Literal["year", "quarter", "month"]
ALIAS: dict[Period, str] = {"year": "Y", "quarter": "Q", "month": "M"}


def over_time(
    actual: ArrayLike,
    expected: Totals,
    exposure: ArrayLike,
    when: ArrayLike | pd.Series,
    *,
    every: Period = "month",
    objective: Objective = "poisson",
    dispersion: float = 1.0,
    level: float = LEVEL,
) -> OneWay:
    """Compare actual and expected by calendar period.

    A/E that falls in the last periods is claims not yet reported before it is a better year: leave an IBNR
    buffer.

    Parameters
    ----------
    actual, expected, exposure
        See `check_rows`.
    when
        Dates or times of each row (what the exposure is counted at), shape (n,).
    every
        Length of a period.
    objective, dispersion, level
        See `total_interval`.

    Raises
    ------
    DiagnosticError
        If rows have no date.
    """
    rows = check_rows(actual, expected, exposure)
    dates = pd.Series(np.asarray(when)) if not isinstance(when, pd.Series) else when
    check_column("when", dates, len(rows.actual))
    if not pd.api.types.is_datetime64_any_dtype(dates.dtype):
        raise DiagnosticError([f"when holds {dates.dtype}; allowed: dates. Hint: pandas.to_datetime"])
    if unknown := int(dates.isna().sum()):
        raise DiagnosticError([f"when: {unknown} of {len(dates)} rows have no date"])
    periods = dates.dt.tz_localize(None).dt.to_period(ALIAS[every])
    codes, labels = pd.factorize(periods, sort=True)
    bands = make_bands(every, codes, list(map(str, labels)), rows.exposure, ordered=True)
    return by_bands(rows, bands, objective, dispersion, level)
