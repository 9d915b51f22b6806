"""Facts that rules speak of, for the rows of a portfolio, as the quote gives them for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.store import sql_text
from pricing.errors import RiskProblem
from pricing.suitability import IN_FORCE, NEEDS, SINCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import duckdb

    from pricing.product import Product

FACT_COLUMNS = (
    "customer.age",
    "customer.owns_shop",
    "customer.region",
    "customer.city_tier",
    "customer.tenure_days",
)


def customer_facts(
    con: duckdb.DuckDBPyConnection, product: Product, customers: pa.ChunkedArray, as_of: datetime
) -> pa.Table:
    """Give the facts of customers, in their order: `customer.*`, and those of covers already bought."""
    views = {row[0] for row in con.execute("SELECT view_name FROM duckdb_views()").fetchall()}
    con.register("reprice_rows", pa.table({"n": np.arange(len(customers)), "customer_id": customers}))
    moment = f"CAST({sql_text(as_of.isoformat())} AS TIMESTAMP)"
    try:
        facts = pa.table({name: pa.nulls(len(customers)) for name in FACT_COLUMNS})
        if "customers" in views:
            facts = con.sql(_FACTS.format(moment=moment)).to_arrow_table()
        if "policies" in views:
            covers = con.sql(_COVERS.format(moment=moment, code=sql_text(product.code))).to_arrow_table()
            for name, column in zip((IN_FORCE, SINCE), covers.columns, strict=True):
                facts = facts.append_column(name, column)
    finally:
        con.unregister("reprice_rows")
    return facts


# The only texts from outside are the time and the code of the product, both quoted.
_FACTS = """
    SELECT CASE WHEN birth_date IS NULL THEN NULL ELSE CAST(
               date_part('year', {moment}) - date_part('year', birth_date)
               - CASE WHEN date_part('month', {moment}) * 100 + date_part('day', {moment})
                        < date_part('month', birth_date) * 100 + date_part('day', birth_date)
                      THEN 1 ELSE 0 END AS BIGINT) END AS "customer.age",
           CASE WHEN c.customer_id IS NULL THEN NULL ELSE owned_seller_id IS NOT NULL END
               AS "customer.owns_shop",
           region AS "customer.region",
           CAST(city_tier AS BIGINT) AS "customer.city_tier",
           CAST(floor((epoch_us({moment}) - epoch_us(registered_at)) / 86400000000) AS BIGINT)
               AS "customer.tenure_days"
    FROM reprice_rows r LEFT JOIN customers c USING (customer_id) ORDER BY r.n
"""
_COVERS = """
    SELECT p.ended > {moment} AS held,
           CAST(floor((epoch_us({moment}) - epoch_us(p.begun)) / 86400000000) AS BIGINT) AS since
    FROM reprice_rows r LEFT JOIN (
        SELECT customer_id, max(expiry_at) AS ended, max(inception_at) AS begun FROM policies
        WHERE product = {code} GROUP BY customer_id
    ) p USING (customer_id) ORDER BY r.n
"""


def row_facts(product: Product, own: pa.RecordBatch, facts: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Add the answers that a portfolio brings (`needs.<code>`), and free renewals of the cover they renew.

    A row with `premium_minor` is a renewal, as is a request with `expiring_premium_minor`.
    """
    names = [NEEDS + need.code for need in product.needs]
    found = facts | {name: own.column(name) for name in names if name in own.schema.names}
    if "premium_minor" in own.schema.names:
        renewed = pc.is_valid(own.column("premium_minor"))
        for name in (IN_FORCE, SINCE):
            if name in found:
                found[name] = pc.if_else(renewed, pa.scalar(None, found[name].type), found[name])
    return found


def bad_answers(product: Product, batch: pa.RecordBatch) -> list[tuple[int, str]]:
    """Give (row, code) of the answers that a quote would refuse."""
    found = []
    for need in product.needs:
        if NEEDS + need.code in batch.schema.names:
            values = batch.column(NEEDS + need.code).to_pylist()
            faults = {value: _fault(need.read, value) for value in set(values)}
            found += [(row, faults[value]) for row, value in enumerate(values) if faults[value]]
    return found


def _fault(read: Callable[[object], Any], value: object) -> str:
    answer = read(value)
    return f"{answer.field}:{answer.code}" if isinstance(answer, RiskProblem) else ""
