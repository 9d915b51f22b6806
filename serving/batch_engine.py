"""Decide many risks at once: the same encoding, rules, model and ladder as one quote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.bundle import PREMIUM
from pricing.errors import UnknownChannelError
from pricing.ladder import LARGEST_EXPIRING_MINOR, STEP_NAMES, build_ladders, settle
from serving.batch_facts import bad_answers
from serving.batch_inputs import batch_inputs
from serving.engine import refusal
from serving.experience import class_encoding, relativities_of
from serving.offers import offer_many, rated_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from pricing.experiments import CellShares
    from pricing.ladder import PriceInputs
    from pricing.product import Product
    from pricing.rules import Rule
    from serving.batch_inputs import Sales
    from serving.engine import InService

    Rows = NDArray[np.int64]

STATUS = ("quoted", "referred", "declined", "refused")
PRICE_SCHEMA = pa.schema(
    [
        pa.field("status", pa.string(), nullable=False),
        pa.field("codes", pa.string(), nullable=False),
        pa.field("risk_premium_minor", pa.float64()),
        *(pa.field(f"step_{name}_minor", pa.int64()) for name in STEP_NAMES),
        pa.field("price_minor", pa.int64()),
        pa.field("tax_due_minor", pa.int64()),
        pa.field("commission_due_minor", pa.int64()),
    ]
)


def decide_batch(
    service: InService,
    batch: pa.RecordBatch,
    sales: Sales,
    ids: Mapping[str, pa.Array] | None = None,
    shares: CellShares | None = None,
    customers: pa.Array | None = None,
) -> pa.RecordBatch:
    """Price every row of a batch.

    Parameters
    ----------
    service
        What prices the product.
    batch
        Rating factors, profile features and `customer.*` facts by name, and `own.relativity` where the
        product keeps own history.
    sales
        How each row is sold; a channel or sub-channel that the plan lacks refuses the row.
    ids
        By name, the ids whose history the product prices; a null refuses the row.
    shares, customers
        Of the price test that runs, and who asks by row; a row without a customer takes no part.

    Returns
    -------
    pyarrow.RecordBatch
        Shape (n,): `status` (`quoted`, `referred`, `declined`, or `refused` for a row that is no valid risk),
        `codes` (why, separated by `;`), the risk premium as the model gave it, each ladder step
        (`step_<name>_minor`; they add up to the price, and are 0 where the plan does not have them), the
        price, and what is owed of it as tax and commission, minor units.
    """
    size = batch.num_rows
    codes: list[list[str]] = [[] for _ in range(size)]
    status = np.zeros(size, dtype=np.int64)
    scored_batch = service.bundle.score(batch)
    scores = scored_batch.column(PREMIUM)
    readable = _mark_refused(service, batch, scores, sales, ids or {}, codes, status)
    scored = readable & ~_apply_rules(service.product, batch, readable, codes, status)
    premium = np.where(scored, scores.fill_null(np.nan).to_numpy(zero_copy_only=False), np.nan)
    experience = relativities_of(service, batch, scored_batch)
    inputs = batch_inputs(service.product, service.plan, batch, premium, sales, experience)
    if customers is not None and sales.bundles is not None:  # a bundle takes no part in price tests
        customers = pc.if_else(pc.is_null(sales.bundles), customers, pa.scalar(None, customers.type))
    rated = None if service.policy is None else rated_frame(service.product, batch)
    rows = _rows_by_outlet(sales, scored)
    columns, refused = _price(service, inputs, rows, rated, shares, customers)
    for row, kind in refused:
        codes[row].append(refusal(kind).code)
        status[row] = STATUS.index("referred")
    return _assemble(status, codes, premium, columns)


def _rows_by_outlet(sales: Sales, scored: NDArray[np.bool_]) -> dict[tuple[str, str | None], Rows]:
    """Give the scored rows of each channel or sub-channel."""
    found: dict[tuple[str, str | None], list[int]] = {}
    for row, ((channel, sub_channel), priced) in enumerate(zip(sales.outlets, scored.tolist(), strict=True)):
        if priced and channel is not None:
            found.setdefault((channel, sub_channel), []).append(row)
    return {outlet: np.array(rows, dtype=np.int64) for outlet, rows in found.items()}


def _price(
    service: InService,
    inputs: PriceInputs,
    rows: Mapping[tuple[str, str | None], Rows],
    rated: pd.DataFrame | None,
    shares: CellShares | None,
    customers: pa.Array | None,
) -> tuple[dict[str, Rows], list[tuple[int, str]]]:
    """Build the ladders of scored rows; give the columns of prices, and which rows have none and why."""
    size = len(np.asarray(inputs.risk_premium_minor))
    columns = {name: np.zeros(size, dtype=np.int64) for name in PRICE_SCHEMA.names[3:]}
    refused: list[tuple[int, str]] = []
    for outlet, own in rows.items():
        offered = offer_many(
            service.plan,
            service.policy,
            inputs.take(own),
            outlet,
            None if rated is None else rated.take(own),
            shares,
            None if customers is None else customers.take(pa.array(own)),
        )
        ladders = build_ladders(offered, service.plan, *outlet)
        owed = settle(ladders.price_minor, service.plan.terms(*outlet))
        columns["price_minor"][own] = ladders.price_minor
        columns["tax_due_minor"][own] = owed.tax_minor
        columns["commission_due_minor"][own] = owed.commission_minor
        for name, minor in ladders.steps.items():
            columns[f"step_{name}_minor"][own] = minor
        refused += [(row, kind) for row, kind in zip(own.tolist(), ladders.refusal, strict=True) if kind]
    return columns, refused


def _mark_refused(
    service: InService,
    batch: pa.RecordBatch,
    scores: pa.Array,
    sales: Sales,
    ids: Mapping[str, pa.Array],
    codes: list[list[str]],
    status: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Mark rows that are no valid risk, as `read_risk` would refuse them; give the others."""
    refused: NDArray[np.bool_] = scores.is_null().to_numpy(zero_copy_only=False).copy()
    bad = np.flatnonzero(refused).tolist()
    for row, problems in zip(bad, service.bundle.encoding.problems(batch, bad), strict=True):
        codes[row].extend(f"{problem.field}:{problem.code}" for problem in problems)
    classes = class_encoding(service.product)
    if classes is not None:
        bad = np.flatnonzero(classes.encode(batch).refused).tolist()
        for row, problems in zip(bad, classes.problems(batch, bad), strict=True):
            codes[row].extend(f"{problem.field}:{problem.code}" for problem in problems)
        refused[bad] = True
    strangers = {outlet: _stranger(service, outlet) for outlet in set(sales.outlets)}
    for row, outlet in enumerate(sales.outlets):
        if strangers[outlet]:
            codes[row].append(strangers[outlet])
            refused[row] = True
    faults = {f"{name}:missing": column.is_null() for name, column in ids.items()}
    if sales.expiring is not None:
        faults["expiring_premium_minor:below"] = pc.less(sales.expiring, 1)
        faults["expiring_premium_minor:above"] = pc.greater(sales.expiring, LARGEST_EXPIRING_MINOR)
    for fault, rows in faults.items():
        marked = pc.fill_null(rows, False).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(marked).tolist():
            codes[row].append(fault)
        refused |= marked
    for row, fault in bad_answers(service.product, batch):
        codes[row].append(fault)
        refused[row] = True
    status[refused] = STATUS.index("refused")
    return ~refused


def _stranger(service: InService, outlet: tuple[str | None, str | None]) -> str:
    """Give the code of a channel or sub-channel that the plan lacks; empty for one that it has."""
    channel, sub_channel = outlet
    try:
        service.plan.terms(channel or "", sub_channel)
    except UnknownChannelError as error:
        return f"{error.field}:{error.code}"
    return ""


def _apply_rules(
    product: Product,
    batch: pa.RecordBatch,
    readable: NDArray[np.bool_],
    codes: list[list[str]],
    status: NDArray[np.int64],
) -> NDArray[np.bool_]:
    declined = np.zeros(batch.num_rows, dtype=bool)
    for rule in product.quote_rules:
        failed = readable & ~_holds(product, rule, batch)
        for row in np.flatnonzero(failed).tolist():
            codes[row].append(rule.code)
        if rule.effect == "decline":
            declined |= failed
            status[failed] = STATUS.index("declined")
        else:
            status[failed & ~declined] = STATUS.index("referred")
    return declined


def _holds(product: Product, rule: Rule, batch: pa.RecordBatch) -> NDArray[np.bool_]:
    if rule.field not in batch.schema.names:
        return np.full(batch.num_rows, rule.holds(None))
    factors = {factor.name: factor for factor in product.factors}
    values = batch.column(rule.field).to_pylist()
    if rule.field in factors:  # rules see the rated value, as in a quote
        read = factors[rule.field].read
        seen = {value: read(value) for value in set(values)}
        values = [seen[value] for value in values]
    kept = {value: isinstance(value, float | int | str | None) and rule.holds(value) for value in set(values)}
    return np.array([kept[value] for value in values], dtype=bool)


def _assemble(
    status: NDArray[np.int64],
    codes: list[list[str]],
    premium: NDArray[np.float64],
    columns: Mapping[str, NDArray[np.int64]],
) -> pa.RecordBatch:
    unpriced = status != STATUS.index("quoted")
    arrays = [
        pa.array([STATUS[code] for code in status], pa.string()),
        pa.array([";".join(row) for row in codes], pa.string()),
        pa.array(premium, mask=~np.isfinite(premium)),
        *(pa.array(minor, mask=unpriced) for minor in columns.values()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=PRICE_SCHEMA)
