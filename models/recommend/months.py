"""Customer-months: who could buy what at the start of a month, what was known, what was bought in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from features.profiles import build_profiles
from models.recommend.mask import could_buy
from models.recommend.propensity import FEATURES, HAD, HELD, PropensityModel, fit_propensity, input_names
from models.recommend.ranking import FACTS as FACT_SQL

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence

    import duckdb
    import pyarrow as pa
    from numpy.typing import NDArray

    from features.spec import FeatureSpec
    from models.recommend.task import Array, Mask
    from pricing.product import Product

MONTHS = 12
MOST_ROWS = 300_000


@dataclass(frozen=True)
class CustomerMonths:
    """Rows to learn or to score from.

    Attributes
    ----------
    customer
        Id, shape (n,).
    facts
        `customer.*` by name, shape (n,) each; NaN or None where not known.
    values
        Model inputs, shape (n, inputs), see `input_names`.
    held
        Products in force or about to be, shape (n, products).
    since
        Whole days since the last cover of each product began, shape (n, products); NaN where there was none.
    """

    customer: NDArray[np.int64]
    facts: dict[str, NDArray[Any]]
    values: Array
    held: Mask
    since: Array


def customer_months(
    con: duckdb.DuckDBPyConnection,
    products: Sequence[Product],
    spec: FeatureSpec,
    labels: pa.Table,
) -> CustomerMonths:
    """Evaluate facts, holdings and features of customers as of moments.

    Parameters
    ----------
    con
        Connection to the lake.
    products, spec
        Products on offer, and feature definitions.
    labels
        ``row_id`` 0..n-1, ``customer_id``, ``as_of``.
    """
    con.register("offer_labels", labels)
    try:
        chosen = ", ".join(f'{sql} AS "{name}"' for name, sql in FACT_SQL.items())
        query = f"""
            SELECT {chosen} FROM (SELECT row_id, customer_id, as_of AS month FROM offer_labels) m
            JOIN customers c USING (customer_id) ORDER BY row_id
        """  # noqa: S608 - our own names
        facts = con.sql(query).fetchnumpy()
        bought = con.sql(
            """SELECT l.row_id, p.product, max(p.expiry_at > l.as_of) AS held,
                min(floor((epoch_us(l.as_of) - epoch_us(p.inception_at)) / 86400000000)) AS since
                FROM offer_labels l JOIN policies p ON p.customer_id = l.customer_id AND p.quoted_at < l.as_of
                GROUP BY ALL"""
        ).fetchnumpy()
        profiles = build_profiles(con, labels, spec, FEATURES)
    finally:
        con.unregister("offer_labels")
    known = {name: _column(facts[name]) for name in FACT_SQL}
    held, had = np.zeros((2, len(labels), len(products)), bool)
    since = np.full(held.shape, np.nan)
    for position, product in enumerate(products):
        mine = bought["product"] == product.code
        had[bought["row_id"][mine], position] = True
        held[bought["row_id"][mine], position] = bought["held"][mine]
        since[bought["row_id"][mine], position] = bought["since"][mine]
    columns = {name: _floats(column) for name, column in known.items() if name != "customer.region"}
    columns |= {name: profiles[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in FEATURES}
    for at, product in enumerate(products):
        columns[f"{HELD}{product.code}"] = held[:, at].astype(float)
        columns[f"{HAD}{product.code}"] = had[:, at].astype(float)
    names = input_names(tuple(product.code for product in products))
    values = np.column_stack([columns[name] for name in names])
    return CustomerMonths(labels["customer_id"].to_numpy(), known, values, held, since)


def fit_propensities(
    con: duckdb.DuckDBPyConnection,
    products: Sequence[Product],
    spec: FeatureSpec,
    as_of: dt.datetime,
    *,
    most_rows: int = MOST_ROWS,
    progress: Callable[[str], None] | None = None,
) -> PropensityModel:
    """Fit the propensities of all products on the customer-months before a moment.

    Parameters
    ----------
    con
        Connection to the lake, with ``customers`` and ``policies``.
    products, spec
        Products on offer, and feature definitions.
    as_of
        Nothing later is looked at, naive UTC.
    most_rows
        Customers are drawn by a hash of their id so that there are about so many rows.
    progress
        Told the code of each product before its fit.
    """
    labels = month_labels(con, as_of, most_rows)
    rows = customer_months(con, products, spec, labels)
    bought = bought_in_month(con, labels, products)
    begins, place = np.unique(labels["as_of"].to_numpy(), return_inverse=True)
    month = len(begins) - place
    margins = run_off_margins(con, as_of)
    fitted = {}
    for position, product in enumerate(products):
        if progress:
            progress(product.code)
        open_ = could_buy(product, rows.facts, rows.held[:, position], rows.since[:, position])
        fitted[product.code] = fit_propensity(
            rows.values[open_],
            bought[open_, position],
            rows.customer[open_],
            margins.get(product.code),
            month=month[open_],
        )
    return PropensityModel(as_of.isoformat(), spec.hash(FEATURES), fitted)


def month_labels(con: duckdb.DuckDBPyConnection, as_of: dt.datetime, most_rows: int = MOST_ROWS) -> pa.Table:
    """Give the first moments of the last full months of a sample of customers, as labels of profiles."""
    query = f"""
        WITH months AS (
            SELECT unnest(generate_series(
                date_trunc('month', $as_of::TIMESTAMP) - INTERVAL {MONTHS} MONTH,
                date_trunc('month', $as_of::TIMESTAMP) - INTERVAL 1 MONTH, INTERVAL 1 MONTH)) AS as_of
        ),
        sampled AS (
            SELECT customer_id, registered_at FROM customers
            WHERE hash(customer_id) % greatest((SELECT count(*) FROM customers) * {MONTHS} // $most, 1) = 0
        )
        SELECT row_number() OVER (ORDER BY as_of, customer_id) - 1 AS row_id, customer_id, as_of
        FROM sampled JOIN months ON registered_at < as_of ORDER BY row_id
    """  # noqa: S608 - constants
    return con.sql(query, params={"as_of": as_of, "most": most_rows}).to_arrow_table()


def run_off_margins(con: duckdb.DuckDBPyConnection, as_of: dt.datetime) -> dict[str, float]:
    """Give premium less claims paid per policy, in minor units, of policies that ended before a moment."""
    tables = {row[0] for row in con.execute("SELECT view_name FROM duckdb_views()").fetchall()}
    claims = "SELECT policy_id, sum(paid_minor) AS paid FROM claims WHERE reported_at < $as_of GROUP BY ALL"
    none = "SELECT NULL::BIGINT AS policy_id, 0 AS paid WHERE false"
    query = f"""
        SELECT product, avg(premium_minor - coalesce(paid, 0)) FROM policies
        LEFT JOIN ({claims if "claims" in tables else none}) USING (policy_id)
        WHERE expiry_at < $as_of GROUP BY product
    """  # noqa: S608 - constants
    bound = {"as_of": as_of}
    return {str(code): float(margin) for code, margin in con.execute(query, bound).fetchall()}


def bought_in_month(con: duckdb.DuckDBPyConnection, labels: pa.Table, products: Sequence[Product]) -> Mask:
    """Tell which products were bought anew within a month of each label, shape (n, products)."""
    con.register("offer_labels", labels)
    try:
        found = con.sql(
            """SELECT DISTINCT l.row_id, p.product FROM offer_labels l JOIN policies p
                ON p.customer_id = l.customer_id AND p.renewal_of IS NULL
                AND p.quoted_at >= l.as_of AND p.quoted_at < l.as_of + INTERVAL 1 MONTH"""
        ).fetchnumpy()
    finally:
        con.unregister("offer_labels")
    bought = np.zeros((len(labels), len(products)), bool)
    for position, product in enumerate(products):
        bought[found["row_id"][found["product"] == product.code], position] = True
    return bought


def _column(column: NDArray[Any]) -> NDArray[Any]:
    """Take a column of DuckDB, masked where null, as numbers with NaN or texts with None."""
    if column.dtype == object:
        texts = np.ma.getdata(column).copy()
        texts[np.ma.getmaskarray(column)] = None
        return np.asarray(texts, dtype=object)
    if column.dtype == bool:
        return np.asarray(column, dtype=bool)
    return np.where(np.ma.getmaskarray(column), np.nan, np.ma.getdata(column).astype(np.float64))


def _floats(column: NDArray[Any]) -> Array:
    return column.astype(np.float64)


def everybody(con: duckdb.DuckDBPyConnection, as_of: dt.datetime) -> pa.Table:
    """Give all customers registered before a moment as labels."""
    query = """
        SELECT row_number() OVER (ORDER BY customer_id) - 1 AS row_id, customer_id, $as_of::TIMESTAMP AS as_of
        FROM customers WHERE registered_at < $as_of ORDER BY row_id
    """
    return con.sql(query, params={"as_of": as_of}).to_arrow_table()
