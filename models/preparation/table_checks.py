"""Checks of a modelling table: what is wrong or unusual, in how many rows, and what is done with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from models.errors import TrainingDataError
from models.response import FEWEST_CLAIMS, check_enough, inspect_response
from models.splits import split_rows
from pricing.errors import RiskProblem, nearest
from pricing.factors import CategoryFactor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from models.response import Observed
    from pricing.factors import NumberFactor
    from pricing.product import Periods, Product

    Mask = NDArray[np.bool_]

REFUSED, PASSED = "refused", "passed"
RESPONSE_CHECKS = ("rows", "column", "missing", "exposure", "amount", "count", "claims", "capped", "overlap")


@dataclass(frozen=True, eq=False)
class TableChecks:
    """What the checks found.

    Attributes
    ----------
    frame
        One line per check: `check`, `field`, `rows`, `claims` (in these rows; NaN where they cannot be
        counted), `done` (`passed`, `refused`, or how the product file handles it) and `detail`.
    """

    frame: pd.DataFrame

    @property
    def refused(self) -> pd.DataFrame:
        """Lines for which training refuses the table."""
        return self.frame[self.frame["done"] == REFUSED]

    def raise_if_refused(self) -> None:
        """Refuse the table.

        Raises
        ------
        TrainingDataError
            With the details of every line that is refused.
        """
        if len(self.refused):
            raise TrainingDataError(list(self.refused["detail"]))


def check_table(product: Product, table: pa.Table, periods: Periods | None = None) -> TableChecks:
    """Check a modelling table before anything is fitted on it.

    The checks of the response are those that training makes (`models.response`), so what is refused here is
    refused there; factors are handled as the product file says.

    Parameters
    ----------
    product
        Product file.
    table
        Columns of factors, response, exposure and split.
    periods
        Where given, rows of one policy must not overlap in time; those of the product file when absent.

    Returns
    -------
    TableChecks
    """
    if periods is not None:
        exposure = product.exposure.model_copy(update={"periods": periods})
        product = product.model_copy(update={"exposure": exposure})
    observed, faults = inspect_response(product, table)
    lines = []
    for check in RESPONSE_CHECKS:
        if check == "overlap" and product.exposure.periods is None:
            detail = "say in [exposure.periods] which columns hold policy, start and end"
            lines.append(_line(check, "", None, observed, "not checked", detail, table, rows=0))
            continue
        found = [fault for fault in faults if fault.check == check]
        lines += [_line(check, "", fault.rows, observed, REFUSED, fault.text, table) for fault in found]
        if not found:
            lines.append(_line(check, "", None, observed, PASSED, "", table, rows=0))
    for factor in product.factors:
        lines += list(_factor_lines(factor, table, observed))
    lines += list(_split_lines(product, table, observed))
    lines += [
        _line("protected", name, None, observed, "kept apart", "never an input, for audit only", table)
        for name in product.protected
        if name in table.column_names
    ]
    return TableChecks(pd.DataFrame(lines))


def _line(
    check: str,
    field: str,
    mask: Mask | None,
    observed: Observed | None,
    done: str,
    detail: str,
    table: pa.Table,
    *,
    rows: int | None = None,
) -> dict[str, object]:
    counted = (table.num_rows if mask is None else int(mask.sum())) if rows is None else rows
    claims = float("nan")
    if observed is not None:
        where = np.ones(table.num_rows, bool) if mask is None else mask
        claims = 0.0 if counted == 0 else float(np.nansum(observed.count[where]))
    return {"check": check, "field": field, "rows": counted, "claims": claims, "done": done, "detail": detail}


def _factor_lines(
    factor: NumberFactor | CategoryFactor, table: pa.Table, observed: Observed | None
) -> Iterator[dict[str, object]]:
    source = factor.source if factor.source in table.column_names else factor.name
    if source not in table.column_names:
        detail = f"column {factor.source!r} is absent ({nearest(factor.source, table.column_names)})"
        yield _line("column", factor.name, None, observed, REFUSED, detail, table)
        return
    column = table[source].combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    found = _category_findings if isinstance(factor, CategoryFactor) else _number_findings
    for check, mask, done in found(factor, column):  # type: ignore[arg-type]
        if mask.any():
            detail = f"{int(mask.sum())} rows: {factor.name} is {check}; allowed is {factor.allowed}"
            yield _line(check, factor.name, mask, observed, done, detail, table)
    if isinstance(factor, CategoryFactor) and observed is not None:
        yield _thin_line(factor, column, observed, table)


def _category_findings(factor: CategoryFactor, column: pa.Array) -> Iterator[tuple[str, Mask, str]]:
    """Ask the factor itself what it makes of each distinct value."""
    values = column.unique().to_pylist()
    outcome: dict[str, list[object]] = {}
    for value in values:
        read = factor.read(value)
        if isinstance(read, RiskProblem):
            outcome.setdefault(f"{'missing' if value is None else 'unknown'}|{REFUSED}", []).append(value)
        elif value is None or str(value) != read:
            kind = "missing" if value is None else "unknown"
            outcome.setdefault(f"{kind}|rated as {read}", []).append(value)
    for key, members in outcome.items():
        check, done = key.split("|", 1)
        mask = pc.is_in(column, pa.array(members, column.type))
        yield check, np.asarray(mask.to_numpy(zero_copy_only=False), bool), done


def _number_findings(factor: NumberFactor, column: pa.Array) -> Iterator[tuple[str, Mask, str]]:
    null = np.asarray(pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False), bool)
    yield "missing", null, REFUSED if factor.missing == "refuse" else "a level of its own"
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        yield f"of type {column.type}", ~null, REFUSED
        return
    values = pc.fill_null(column, factor.minimum).to_numpy(zero_copy_only=False).astype(np.float64)
    values[null] = factor.minimum
    outside = (values < factor.minimum) | (values > factor.maximum)
    rated = "rated at the nearest bound" if factor.outside == "nearest" else REFUSED
    yield "outside its bounds", outside & np.isfinite(values), rated
    yield "infinite", np.isinf(values), REFUSED
    if factor.type == "integer":
        yield "not whole", np.isfinite(values) & (values != np.floor(values)), REFUSED


def _thin_line(
    factor: CategoryFactor, column: pa.Array, observed: Observed, table: pa.Table
) -> dict[str, object]:
    """Say which levels hold few claims: their rows are kept, their relativity is weak."""
    levels = pd.Series(column.to_pylist(), dtype=object)
    claims = pd.Series(observed.count).groupby(levels).sum().reindex(list(factor.levels), fill_value=0.0)
    thin = claims[claims < FEWEST_CLAIMS]
    mask = levels.isin(list(thin.index)).to_numpy()
    named = ", ".join(f"{level} ({count:g})" for level, count in thin.items())
    detail = f"levels with fewer than {FEWEST_CLAIMS} claims: {named}" if len(thin) else ""
    return _line("few claims", factor.name, mask, observed, "kept" if len(thin) else PASSED, detail, table)


def _split_lines(product: Product, table: pa.Table, observed: Observed | None) -> Iterator[dict[str, object]]:
    try:
        rows = split_rows(product.split, table)
    except TrainingDataError as error:
        yield _line("split", product.split.column or "", None, observed, REFUSED, str(error), table)
        return
    done, detail = PASSED, ""
    if rows.out.any():
        done, detail = "left out", f"rows of the {product.split.buffer_days} days before the test rows"
    yield _line("buffer", product.split.column or "", rows.out, observed, done, detail, table)
    if observed is None:
        return
    for part, mask in (("learn", rows.learn), ("test", rows.test)):
        done, detail = PASSED, ""
        try:
            check_enough(observed.count[mask], observed.exposure[mask], part, product.response.kind)
        except TrainingDataError as error:
            done, detail = REFUSED, str(error)
        yield _line(f"target of {part} rows", "", mask, observed, done, detail, table)
