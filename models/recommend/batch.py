"""The first k offers of all customers as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from models.recommend.actions import NOT_ALLOWED, NOT_WORTH, NOTHING, best_actions, product_margins
from models.recommend.mask import allowed
from models.recommend.months import customer_months, everybody
from models.recommend.offers import OfferRules, order_offers

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import duckdb
    from numpy.typing import NDArray

    from features.spec import FeatureSpec
    from models.recommend.actions import ContactRules
    from models.recommend.propensity import PropensityModel
    from models.recommend.task import Array, Mask, Rows
    from pricing.product import Product

CHUNK = 65_536
LABELS_AT_ONCE = 200_000
SCHEMA = pa.schema(
    [
        pa.field("customer_id", pa.int64(), nullable=False),
        pa.field("rank", pa.int8(), nullable=False),
        pa.field("product", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("propensity", pa.float32(), nullable=False),
        pa.field("personal", pa.bool_(), nullable=False),
    ]
)

ACTION_SCHEMA = pa.schema(
    [
        pa.field("customer_id", pa.int64(), nullable=False),
        pa.field("channel", pa.string()),
        pa.field("product", pa.string()),
        pa.field("expected_value_minor", pa.float64()),
        pa.field("nothing_because", pa.string()),
    ]
)


def score_and_order(
    model: PropensityModel,
    products: Sequence[Product],
    values: Array,
    facts: Mapping[str, NDArray[Any]],
    held: Mask,
    k: int,
    *,
    scene: str | None = None,
    general: Mask | None = None,
    since: Array | None = None,
) -> tuple[Rows, NDArray[np.float32]]:
    """Give the products offered to each customer and their propensities, shape (n, min(k, m)); -1 for none.

    Parameters
    ----------
    model, products
        Propensities, and products on offer, by code.
    values, facts, held
        Inputs, facts and holdings, see `CustomerMonths`.
    k, scene
        Most offers; `order` or `trip` inside such a purchase.
    general
        Customers who have opted out of profiling: every product counts with its rate over all customers.
    since
        Days since the last cover of each product began, see `CustomerMonths`.
    """
    codes = [product.code for product in products]
    rules = OfferRules.of(model, products)
    rates = np.array([model.products[code].rate if code in model.products else 0.0 for code in codes])
    k = max(min(k, len(products)), 0)
    best = np.empty((len(values), k), np.int64)
    chance = np.empty((len(values), k), np.float32)
    for start in range(0, len(values), CHUNK):
        part = slice(start, start + CHUNK)
        p = model.scores(values[part], codes)
        if general is not None:
            p[general[part]] = rates
        known = {name: column[part] for name, column in facts.items()}
        open_ = allowed(products, known, held[part], scene, None if since is None else since[part])
        best[part] = order_offers(p, open_, rules, k)
        chance[part] = np.take_along_axis(p, np.maximum(best[part], 0), axis=1)
    return best, chance


def action_batches(
    con: duckdb.DuckDBPyConnection,
    model: PropensityModel,
    products: Sequence[Product],
    spec: FeatureSpec,
    as_of: dt.datetime,
    rules: ContactRules,
    barred: Mapping[str, Collection[int]],
) -> Iterator[pa.RecordBatch]:
    """Plan the next best action of all customers registered before a moment; rows by `ACTION_SCHEMA`.

    Parameters
    ----------
    con, model, products, spec, as_of
        As for `offer_batches`.
    rules
        Costs and lifts of the channels; a plan is for the next allowed hour.
    barred
        By channel, the customers who may not be contacted through it.
    """
    products = sorted(products, key=lambda product: product.code)
    codes = [product.code for product in products]
    floors = OfferRules.of(model, products).floors
    found = [model.products.get(code) for code in codes]
    margins = product_margins([None if one is None else one.margin_minor for one in found])
    names = list(rules.channels)
    labels = everybody(con, as_of)
    for start in range(0, len(labels), CHUNK):
        part = labels.slice(start, CHUNK)
        part = part.set_column(0, "row_id", pa.array(np.arange(len(part))))
        rows = customer_months(con, products, spec, part)
        p = model.scores(rows.values, codes)
        offered = allowed(products, rows.facts, rows.held, None, rows.since) & (p >= floors)
        free = [~np.isin(rows.customer, np.fromiter(barred.get(name, ()), np.int64)) for name in names]
        usable = np.column_stack(free)
        best = best_actions(p, offered, margins, rules, usable)
        none = best.product < 0
        why = np.select([~offered.any(axis=1), ~usable.any(axis=1)], [NOTHING, NOT_ALLOWED], NOT_WORTH)
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(rows.customer),
                pa.array(np.array([*names, None], object)[best.channel], pa.string()),
                pa.array(np.array([*codes, None], object)[best.product], pa.string()),
                pa.array(np.where(none, 0.0, best.value_minor), mask=none),
                pa.array(why.astype(str), pa.string(), mask=~none),
            ],
            schema=ACTION_SCHEMA,
        )


def offer_batches(
    con: duckdb.DuckDBPyConnection,
    model: PropensityModel,
    products: Sequence[Product],
    spec: FeatureSpec,
    as_of: dt.datetime,
    k: int,
    *,
    opted_out: Collection[int] = (),
    progress: Callable[[float], None] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rank products for all customers registered before a moment; rows by `SCHEMA`, customers in order.

    Parameters
    ----------
    con, model, products, spec, as_of, k
        Lake, propensities, products on offer, feature definitions, moment, and most offers a customer.
    opted_out
        Customers who have opted out of profiling.
    progress
        Told the share done.
    """
    products = sorted(products, key=lambda product: product.code)
    labels = everybody(con, as_of)
    names = pa.array([product.code for product in products], pa.string())
    for start in range(0, len(labels), LABELS_AT_ONCE):
        part = labels.slice(start, LABELS_AT_ONCE)
        part = part.set_column(0, "row_id", pa.array(np.arange(len(part))))
        rows = customer_months(con, products, spec, part)
        general = np.isin(rows.customer, np.fromiter(opted_out, np.int64))
        best, chance = score_and_order(
            model, products, rows.values, rows.facts, rows.held, k, general=general, since=rows.since
        )
        row, rank = np.nonzero(best >= 0)
        codes = pa.array(best[row, rank].astype(np.int8))
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(rows.customer[row]),
                pa.array((rank + 1).astype(np.int8)),
                pa.DictionaryArray.from_arrays(codes, names),
                pa.array(chance[row, rank]),
                pa.array(~general[row]),
            ],
            schema=SCHEMA,
        )
        if progress:
            progress(min((start + LABELS_AT_ONCE) / len(labels), 1.0))
