"""What every diagnostic reads: actual and expected totals per row with their exposure, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.errors import DiagnosticError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from models.families.base import Objective

    Array = NDArray[np.float64]
    Totals = ArrayLike | Mapping[str, ArrayLike]

MODEL = "model"
DIGITS = 36


@dataclass(frozen=True, eq=False)
class Rows:
    """Checked rows.

    Attributes
    ----------
    actual
        Claims, amounts or events of each row, shape (n,).
    expected
        Model -> rate x exposure of each row, shape (n,).
    exposure
        Policy-years, claims (of severities) or trials (of events) of each row, positive, shape (n,).
    """

    actual: Array
    expected: dict[str, Array]
    exposure: Array

    def rate(self, model: str) -> Array:
        """Give the expected rate per unit of exposure, shape (n,), to 36 binary digits.

        A rate times an exposure over that exposure differs from the rate in its last digits; without
        rounding, rows of equal rate would be ranked by that noise.
        """
        mantissa, exponent = np.frexp(self.expected[model] / self.exposure)
        return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, DIGITS)), exponent - DIGITS))

    def where(self, chosen: NDArray[np.bool_]) -> Rows:
        """Give the chosen rows."""
        expected = {model: total[chosen] for model, total in self.expected.items()}
        return Rows(self.actual[chosen], expected, self.exposure[chosen])

    @property
    def models(self) -> list[str]:
        """Names of the models, in the order given."""
        return list(self.expected)


def check_rows(
    actual: ArrayLike | None,
    expected: Totals,
    exposure: ArrayLike,
    objective: Objective | None = None,
) -> Rows:
    """Check totals and exposure.

    Parameters
    ----------
    actual
        Claims, amounts or events, shape (n,); None where only expected totals are looked at.
    expected
        Rate x exposure, shape (n,), or model -> such an array; a single array is called `model`.
    exposure
        Shape (n,).
    objective
        Distribution whose deviance will be taken: it must be defined for the values.

    Raises
    ------
    DiagnosticError
        One sentence per fault, with the number of rows: lengths that differ, values that are not finite,
        exposure that is not positive, negative totals, nothing that happened, values outside the
        distribution.
    """
    named = expected if isinstance(expected, Mapping) else {MODEL: expected}
    columns = {"actual": exposure if actual is None else actual, "exposure": exposure} | {
        f"expected[{k!r}]": v for k, v in named.items()
    }
    arrays = {name: _numbers(name, value) for name, value in columns.items()}
    rows = Rows(arrays["actual"], {str(k): arrays[f"expected[{k!r}]"] for k in named}, arrays["exposure"])
    _refuse(_length_problems(arrays, rows) or _value_problems(arrays))
    _refuse([] if objective is None else _domain_problems(rows, objective))
    return rows


def check_column(name: str, values: ArrayLike, size: int) -> None:
    """Refuse a column whose length is not that of the rows."""
    found = np.shape(values)
    if found != (size,):
        raise DiagnosticError([f"{name} has shape {found}; allowed: one value for each of {size} rows"])


def _numbers(name: str, values: ArrayLike) -> Array:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DiagnosticError([f"{name} is not a column of numbers: {error}"]) from error
    if found.ndim != 1:
        raise DiagnosticError([f"{name} has shape {found.shape}; allowed: one number per row"])
    return found


def _length_problems(arrays: dict[str, Array], rows: Rows) -> list[str]:
    size = len(rows.actual)
    if not rows.expected:
        return ["no expected totals are given. Hint: an array, or a mapping model -> array"]
    if not size:
        return ["there are no rows"]
    return [f"{name} has {len(v)} rows, actual has {size}" for name, v in arrays.items() if len(v) != size]


def _value_problems(arrays: dict[str, Array]) -> list[str]:
    problems = []
    for name, values in arrays.items():
        unknown = int(np.count_nonzero(~np.isfinite(values)))
        if unknown:
            problems.append(f"{name}: {unknown} of {len(values)} rows are not finite numbers")
        low = values <= 0 if name == "exposure" else values < 0
        if count := int(np.count_nonzero(low)):
            allowed = "positive" if name == "exposure" else "not negative"
            problems.append(f"{name}: {count} of {len(values)} rows are not allowed, must be {allowed}")
        if name != "exposure" and not unknown and not count and not values.any():
            problems.append(f"{name} is zero on all {len(values)} rows; there is nothing to compare")
    return problems


def _domain_problems(rows: Rows, objective: Objective) -> list[str]:
    problems = []
    if objective == "gamma" and (count := int(np.count_nonzero(rows.actual <= 0))):
        problems.append(
            f"actual: {count} rows are zero; gamma amounts must be positive. Hint: rows with claims"
        )
    if objective == "binary" and (count := int(np.count_nonzero(rows.actual > rows.exposure))):
        problems.append(f"actual: {count} rows hold more events than trials (exposure)")
    for name, expected in rows.expected.items():
        bad = expected <= 0
        if objective == "binary":
            bad |= expected >= rows.exposure
        if count := int(np.count_nonzero(bad)):
            allowed = "above 0 and below the trials" if objective == "binary" else "positive"
            problems.append(f"expected[{name!r}]: {count} rows where the deviance needs {allowed}")
    return problems


def _refuse(problems: list[str]) -> None:
    if problems:
        raise DiagnosticError(problems)
