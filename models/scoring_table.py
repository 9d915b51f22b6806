"""Scores of all customers as a table: the model in service over each customer's latest known risk.

A customer is scored with what is known of them at one moment, by the kind of the product:

- A cover of an order is scored on the typical order: the shop and category of the customer's latest order,
  and the median amount of their orders of the last year. This holds for products whose only rating factors
  are `order_amount` and `category`.
- Any other cover is scored on the rating factors that the customer's latest quote or policy of the product
  stated. They are taken as they stood then, not aged; `risk_known_at` says how old they are.

A customer of whom no such risk is known has no row: an invented risk would be a score of nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data.store import write_parquet_atomic
from models.bundle import PREMIUM
from models.errors import TrainingDataError
from models.training_table import attach_profiles
from pricing.errors import nearest
from pricing.money import exponent
from pricing.score import NO_SCORE, scale_of, score_array

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

    from features.spec import FeatureSpec
    from models.bundle import Bundle
    from pricing.product import Product

BATCH_ROWS = 65_536
REASONS = 3
ORDER_FACTORS = frozenset({"order_amount", "category"})
KNOWN_AT = "risk_known_at"
SCHEMA = pa.schema(
    [
        pa.field("customer_id", pa.int64(), nullable=False),
        pa.field("product", pa.string(), nullable=False),
        pa.field("points", pa.int16(), nullable=False),
        pa.field("band", pa.string(), nullable=False),
        pa.field(PREMIUM, pa.float64(), nullable=False),
        pa.field("reasons", pa.list_(pa.string()), nullable=False),
        pa.field(KNOWN_AT, pa.timestamp("us"), nullable=False),
        pa.field("as_of", pa.timestamp("us"), nullable=False),
    ]
)


@dataclass(frozen=True)
class ScoringSummary:
    """What came of scoring all customers.

    Attributes
    ----------
    product
        Code.
    customers
        Customers registered before the moment.
    scored
        Rows written.
    unknown
        Customers without a row, because no risk is known of them.
    refused
        Customers without a row, because a rating factor refuses what is known.
    """

    product: str
    customers: int
    scored: int
    unknown: int
    refused: int


def write_scores(
    con: duckdb.DuckDBPyConnection,
    bundle: Bundle,
    spec: FeatureSpec,
    as_of: dt.datetime,
    out: Path,
    root: Path | None = None,
) -> ScoringSummary:
    """Score all customers into one parquet file that appears whole or not at all.

    Parameters
    ----------
    con, bundle, spec, as_of, root
        See `score_customers`.
    out
        The file; an older one is replaced.
    """
    risks = known_risks(con, bundle.product, as_of)
    registered = con.execute("SELECT count(*) FROM customers WHERE registered_at < ?", [as_of]).fetchall()
    batches = _score(con, risks, bundle, spec, as_of, root)
    # An empty table still has its columns, which a stream without batches would not.
    scored = write_parquet_atomic(pa.RecordBatchReader.from_batches(SCHEMA, batches), out)
    customers = int(registered[0][0])
    return ScoringSummary(
        bundle.product.code, customers, scored, customers - risks.num_rows, risks.num_rows - scored
    )


def score_customers(
    con: duckdb.DuckDBPyConnection,
    bundle: Bundle,
    spec: FeatureSpec,
    as_of: dt.datetime,
    root: Path | None = None,
) -> Iterator[pa.RecordBatch]:
    """Score every customer of whom a risk is known.

    Parameters
    ----------
    con
        Connection to the lake.
    bundle
        Model in service; its product declares a score.
    spec
        Feature definitions.
    as_of
        Nothing from then on is looked at, naive UTC.
    root
        The lake; needed only where the product names fitted features.

    Yields
    ------
    pyarrow.RecordBatch
        ``customer_id``, ``product``, ``points``, ``band``, ``risk_premium_minor`` (float64, not rounded),
        ``reasons`` (strongest first: input, then ``:up`` or ``:down``), ``risk_known_at``, ``as_of``;
        ordered by customer.

    Raises
    ------
    DefinitionError
        If the product declares no score.
    TrainingDataError
        If neither quotes nor policies hold the product's rating factors.
    """
    yield from _score(con, known_risks(con, bundle.product, as_of), bundle, spec, as_of, root)


def known_risks(con: duckdb.DuckDBPyConnection, product: Product, as_of: dt.datetime) -> pa.Table:
    """Give the latest known risk of each customer.

    Parameters
    ----------
    con
        Connection to the lake.
    product
        Product file.
    as_of
        Nothing from then on is looked at.

    Returns
    -------
    pyarrow.Table
        The customer, the seller, ``risk_known_at`` and one column per rating factor; ordered by customer.
    """
    names = {factor.name for factor in product.factors}
    profile = product.profile
    if product.cover.per == "order" and names <= ORDER_FACTORS:
        query = _order_query(product)
    else:
        query = _stated_query(con, product)
    bound = {"as_of": as_of} | ({} if "$code" not in query else {"code": product.code})
    table = con.sql(query, params=bound).to_arrow_table()
    keys = {"customer_id": profile.customer, "seller_id": profile.seller}
    return table.rename_columns([keys.get(name, name) for name in table.column_names])


def _order_query(product: Product) -> str:
    columns = {
        "order_amount": f'd.amount / {10 ** exponent(product.currency)}.0 AS "order_amount"',
        "category": "l.category",
    }
    factors = "".join(f", {columns[factor.name]}" for factor in product.factors)
    return f"""
        WITH last AS (
            SELECT customer_id, max((ordered_at, order_id, seller_id, category)) AS found FROM orders
            WHERE ordered_at < $as_of GROUP BY customer_id
        ),
        latest AS (
            SELECT customer_id, found[1] AS ordered_at, found[3] AS seller_id, found[4] AS category FROM last
        ),
        typical AS (
            SELECT customer_id, quantile_disc(amount_minor, 0.5) AS amount FROM orders
            WHERE ordered_at < $as_of AND ordered_at >= $as_of::TIMESTAMP - INTERVAL 365 DAY
            GROUP BY customer_id
        )
        SELECT l.customer_id, l.seller_id, l.ordered_at AS {KNOWN_AT}{factors}
        FROM latest l JOIN typical d USING (customer_id) ORDER BY l.customer_id
    """  # noqa: S608 - names are our own


def _stated_query(con: duckdb.DuckDBPyConnection, product: Product) -> str:
    names = [factor.name for factor in product.factors]
    parts = []
    seen: set[str] = set()
    for view, number in (("policies", "policy_id"), ("quotes", "quote_id")):
        present = _columns(con, view)
        seen |= present
        if set(names) <= present:
            stated = "".join(f', "{name}"' for name in names)
            parts.append(
                f"SELECT customer_id, seller_id, quoted_at, {number} AS number{stated} FROM {view} "  # noqa: S608
                "WHERE product = $code AND quoted_at < $as_of"
            )
    if not parts:
        absent = [name for name in names if name not in seen]
        raise TrainingDataError(
            [
                f"neither policies nor quotes have the column {name!r} ({nearest(name, seen)})"
                for name in absent
            ]
        )
    factors = "".join(f', "{name}"' for name in names)
    # A quote and the policy that came of it state the same at the same time; the order settles which counts.
    return f"""
        SELECT customer_id, seller_id, quoted_at AS {KNOWN_AT}{factors} FROM ({" UNION ALL ".join(parts)})
        QUALIFY row_number() OVER (PARTITION BY customer_id ORDER BY quoted_at DESC, number DESC) = 1
        ORDER BY customer_id
    """  # noqa: S608 - identifiers come from a checked product file


def _columns(con: duckdb.DuckDBPyConnection, view: str) -> set[str]:
    query = "SELECT column_name FROM duckdb_columns() WHERE table_name = ? AND NOT internal"
    return {str(row[0]) for row in con.execute(query, [view]).fetchall()}


def _score(
    con: duckdb.DuckDBPyConnection,
    risks: pa.Table,
    bundle: Bundle,
    spec: FeatureSpec,
    as_of: dt.datetime,
    root: Path | None,
) -> Iterator[pa.RecordBatch]:
    scale_of(bundle.product)
    moment = pa.repeat(pa.scalar(as_of, pa.timestamp("us")), risks.num_rows)
    table = risks.append_column(bundle.product.profile.as_of, moment)
    table = attach_profiles(con, table, bundle.product, spec, root)
    for batch in table.combine_chunks().to_batches(max_chunksize=BATCH_ROWS):
        yield _score_batch(batch, bundle, as_of)


def _score_batch(batch: pa.RecordBatch, bundle: Bundle, as_of: dt.datetime) -> pa.RecordBatch:
    product = bundle.product
    encoded = bundle.encoding.encode(batch)
    premium = bundle.model.risk_premium(encoded.matrix)
    points, bands = score_array(np.where(encoded.refused, np.nan, premium), product)
    kept = points != NO_SCORE
    rows = int(kept.sum())
    codes = np.array([band.code for band in scale_of(product).bands], dtype=object)
    mask = pa.array(kept)
    columns = [
        batch.column(product.profile.customer).filter(mask).cast(pa.int64()),
        pa.repeat(pa.scalar(product.code), rows),
        pa.array(points[kept], pa.int16()),
        pa.array(codes[bands[kept]], pa.string()),
        pa.array(premium[kept], pa.float64()),
        _reasons(bundle, encoded.matrix[kept]),
        batch.column(KNOWN_AT).filter(mask).cast(pa.timestamp("us")),
        pa.repeat(pa.scalar(as_of, pa.timestamp("us")), rows),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _reasons(bundle: Bundle, matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> pa.Array:
    """Name the inputs that move each risk most, in the order of `RiskModel.reasons`."""
    parts = bundle.model.contributions(matrix)
    size = np.abs(parts)
    ranked = np.argsort(-size, axis=1, kind="stable")[:, :REASONS]
    rows = np.arange(len(parts))[:, None]
    moved = size[rows, ranked] > 0
    up = parts[rows, ranked] > 0
    names = np.array([[f"{name}:down", f"{name}:up"] for name in bundle.model.inputs], dtype=object)
    ends = np.concatenate([[0], np.cumsum(moved.sum(axis=1))])
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pa.array(names[ranked, up.astype(np.int64)][moved], pa.string())
    )
