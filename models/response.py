"""Read exposure and response from a training table, and refuse what cannot be true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from models.errors import TrainingDataError
from pricing.errors import nearest
from pricing.money import exponent, to_minor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.product import Product

# Fewer claims than this on the learn or the test rows, and no figure means anything.
FEWEST_CLAIMS = 20


@dataclass(frozen=True, eq=False)
class Observed:
    """What happened, row by row.

    Attributes
    ----------
    exposure
        Units of exposure, positive, shape (n,).
    count
        Claims, or events 0/1; for `claim_amount` 1 where something was paid.
    amount_minor
        Amount paid, minor units; zero for events and counts.
    capped_minor
        The same with each claim cut at the large-loss threshold.
    """

    exposure: NDArray[np.float64]
    count: NDArray[np.float64]
    amount_minor: NDArray[np.float64]
    capped_minor: NDArray[np.float64]

    def take(self, rows: NDArray[np.bool_]) -> Observed:
        """Give the rows of a mask, shape (n,)."""
        return Observed(
            self.exposure[rows], self.count[rows], self.amount_minor[rows], self.capped_minor[rows]
        )


@dataclass(frozen=True, eq=False)
class Fault:
    """Something that cannot be true of a training table.

    Attributes
    ----------
    check
        Name of the check that found it.
    sentence
        What is wrong.
    rows
        Where, shape (n,); None where the whole table is meant.
    """

    check: str
    sentence: str
    rows: NDArray[np.bool_] | None = None

    @property
    def text(self) -> str:
        """The sentence, with the number of rows."""
        return self.sentence if self.rows is None else f"{int(self.rows.sum())} rows: {self.sentence}"


def read_observed(product: Product, table: pa.Table) -> Observed:
    """Read exposure and response.

    Parameters
    ----------
    product
        Says in which columns they stand.
    table
        Training table.

    Raises
    ------
    TrainingDataError
        Naming every fault with its number of rows.
    """
    observed, faults = inspect_response(product, table)
    if faults or observed is None:
        raise TrainingDataError([fault.text for fault in faults])
    return observed


def inspect_response(product: Product, table: pa.Table) -> tuple[Observed | None, list[Fault]]:
    """Read exposure and response, and give the faults in place of refusing.

    Parameters
    ----------
    product, table
        See `read_observed`.

    Returns
    -------
    tuple of Observed or None, list of Fault
        None where columns are absent or no numbers.
    """
    faults: list[Fault] = []
    if not table.num_rows:
        return None, [Fault("rows", "the table has no rows")]
    response, kind = product.response, product.response.kind
    ones = np.ones(table.num_rows)
    exposure = ones if product.exposure.column is None else _column(table, product.exposure.column, faults)
    keys = ("event", "count", "amount", "capped")
    names = {key: name for key in keys if (name := getattr(response, key)) is not None}
    read = {key: _column(table, name, faults) for key, name in names.items()}
    _check_overlap(product, table, faults)
    if any(fault.rows is None for fault in faults):
        return None, faults
    _check_exposure(product, exposure, faults)
    amount = read.get("amount", np.zeros(table.num_rows))
    scale = 10.0 ** exponent(product.currency) if response.amount_unit == "major" else 1.0
    amount = np.round(amount * scale)
    count = read.get("event", read.get("count", (amount > 0).astype(np.float64)))
    _say(faults, "amount", amount < 0, "amounts are negative")
    _say(
        faults,
        "count",
        (count < 0) | (np.isfinite(count) & (count != np.floor(count))),
        f"{kind}: counts are negative or not whole",
    )
    if kind == "event":
        _say(faults, "count", count > 1, f"{response.event} is neither 0 nor 1")
    _say(faults, "claims", (count == 0) & (amount > 0), "an amount was paid but no claim is counted")
    capped = _capped(product, count, amount)
    if "capped" in read:
        capped = np.round(read["capped"] * scale)
        _say(
            faults,
            "capped",
            (capped < 0) | (capped > amount),
            f"{response.capped} lies outside 0 to the amount",
        )
    return Observed(exposure, count, amount, capped), faults


def check_enough(count: NDArray[np.float64], exposure: NDArray[np.float64], rows: str, kind: str) -> None:
    """Refuse rows that hold too few claims, or events only, to learn from or to judge by.

    Raises
    ------
    TrainingDataError
        With the counts.
    """
    claims = float(count.sum())
    if claims < FEWEST_CLAIMS:
        raise TrainingDataError(
            [f"the {rows} rows ({len(count)}) hold {claims:g} claims; at least {FEWEST_CLAIMS} are needed"]
        )
    if kind == "event" and claims > len(count) - FEWEST_CLAIMS:
        raise TrainingDataError(
            [f"the {rows} rows ({len(count)}) hold {claims:g} events: the target is constant"]
        )
    if not exposure.sum() > 0:
        raise TrainingDataError([f"the {rows} rows have no exposure"])


def _column(table: pa.Table, name: str, faults: list[Fault]) -> NDArray[np.float64]:
    if name not in table.column_names:
        near = nearest(name, table.column_names) or "no name is near"
        faults.append(Fault("column", f"column {name!r} is absent ({near})"))
        return np.zeros(table.num_rows)
    column = table[name]
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        faults.append(Fault("column", f"column {name!r} is {kind}, not a number"))
        return np.zeros(table.num_rows)
    values = np.asarray(pc.fill_null(pc.cast(column, pa.float64(), safe=False), np.nan), dtype=np.float64)
    _say(faults, "missing", ~np.isfinite(values), f"{name} is missing or not finite")
    return values


def _check_exposure(product: Product, exposure: NDArray[np.float64], faults: list[Fault]) -> None:
    name, maximum = product.exposure.column, product.exposure.maximum
    nothing = f"{name} is zero or negative: claims without exposure have no rate"
    _say(faults, "exposure", exposure <= 0, nothing)
    _say(faults, "exposure", exposure > maximum * (1 + 1e-9), f"{name} lies above its maximum of {maximum:g}")
    if product.response.kind == "event" and name is not None:
        sentence = f"{name} differs from {maximum:g}: an event needs covers that have run off"
        _say(faults, "exposure", np.isfinite(exposure) & (exposure != maximum), sentence)


def _check_overlap(product: Product, table: pa.Table, faults: list[Fault]) -> None:
    """Find rows that start before an earlier row of the same policy ends, or that end before they start."""
    periods = product.exposure.periods
    if periods is None:
        return
    names = (periods.policy, periods.start, periods.end)
    for name in (name for name in names if name not in table.column_names):
        near = nearest(name, table.column_names) or "no name is near"
        faults.append(Fault("overlap", f"column {name!r} is absent ({near})"))
    if any(fault.check == "overlap" for fault in faults):
        return
    columns = (table[name].to_pandas() for name in names)
    frame = pd.DataFrame(dict(zip(("policy", "start", "end"), columns, strict=True)))
    ordered = frame.sort_values(["policy", "start", "end"], kind="stable")
    covered = ordered.groupby("policy", dropna=False)["end"].cummax()
    same = ordered["policy"] == ordered["policy"].shift()
    clash = (same & (ordered["start"] < covered.shift())) | ~(ordered["start"] < ordered["end"])
    rows = np.asarray(clash.reindex(frame.index).to_numpy(bool))
    _say(
        faults,
        "overlap",
        rows,
        f"{periods.policy} is on risk in another row already, or ends before it starts",
    )


def _capped(product: Product, count: NDArray[np.float64], amount: NDArray[np.float64]) -> NDArray[np.float64]:
    if product.response.large_loss is None:
        return amount
    # One amount per policy: without a column of capped claims the threshold applies to them together.
    return np.minimum(
        amount, np.maximum(count, 1.0) * float(to_minor(product.response.large_loss, product.currency))
    )


def _say(faults: list[Fault], check: str, rows: NDArray[np.bool_], sentence: str) -> None:
    if rows.any():
        faults.append(Fault(check, sentence, rows))
