"""Profiles of a simulated lake and of a real shop: the shipped definitions fit, and both engines agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data.simulate import simulate
from data.store import connect, read_table
from features.evaluate import Evaluator
from features.history import events_by_entity
from features.load import default_spec
from features.profiles import build_profiles
from features.spec import DAY_US

if TYPE_CHECKING:
    from pathlib import Path

SPEC = default_spec()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lake")
    simulate(root, customers=400, seed=7)
    return root


@pytest.fixture(scope="module")
def labels(lake: Path) -> pa.Table:
    quotes = read_table(lake, "quotes", ["quote_id", "customer_id", "seller_id", "category", "quoted_at"])
    step = max(1, len(quotes) // 300)
    rows = quotes.take(pa.array(range(0, len(quotes), step)))
    rows = rows.rename_columns({"quote_id": "row_id", "quoted_at": "as_of"})
    assert len(rows) >= 200
    return rows


@pytest.mark.slow
def test_both_engines_agree_on_every_feature(lake: Path, labels: pa.Table) -> None:
    with connect(lake) as con:
        table = build_profiles(con, labels, SPEC, SPEC.names)
    evaluator = Evaluator(SPEC, SPEC.names)
    tables = {source.table: read_table(lake, source.table) for source in SPEC.sources}
    store = {
        (name, need.source.name): events_by_entity(tables[need.source.table], need)
        for name, entity in evaluator.entities.items()
        for need in entity.needs
    }
    times = labels["as_of"].cast(pa.int64()).to_pylist()
    for label, as_of, row in zip(labels.to_pylist(), times, table.to_pylist(), strict=True):
        events = {}
        for name, entity in evaluator.entities.items():
            key = tuple(label[column] for column in entity.entity.keys)
            if None not in key:
                events[name] = {
                    need.source.name: store[name, need.source.name].get(key, ()) for need in entity.needs
                }
        assert {"row_id": label["row_id"], **evaluator.evaluate(events, as_of)} == row
    filled = {name for name in SPEC.names if pc.max(table[name]).as_py()}
    # So small a lake has few motor claims, and not every category has a seller.
    traded = set(tables["orders"]["category"].unique().to_pylist())
    levels = {item.name: item.filters[0].values[0] for item in SPEC.features if item.filters}
    rare = {"motor_claims_1095d"} | {
        name for name, level in levels.items() if name.startswith("orders_") and level not in traded
    }
    assert set(SPEC.names) - filled <= rare, "a feature that is nothing everywhere tests nothing"


@pytest.mark.slow
def test_counts_equal_a_plain_count(lake: Path, labels: pa.Table) -> None:
    with connect(lake) as con:
        found = build_profiles(
            con, labels, SPEC, ["orders_90d", "order_amount_365d", "returns_365d", "seller_orders_90d"]
        )
    orders = read_table(lake, "orders")
    customer, seller = (np.asarray(orders[name].to_numpy()) for name in ("customer_id", "seller_id"))
    amount, ordered = orders["amount_minor"].to_numpy(), orders["ordered_at"].cast(pa.int64()).to_numpy()
    returned = orders["returned_at"].cast(pa.int64()).fill_null(2**62).to_numpy()
    times = labels["as_of"].cast(pa.int64()).to_pylist()
    for label, as_of, row in zip(labels.to_pylist(), times, found.to_pylist(), strict=True):
        own = customer == label["customer_id"]
        midnight = as_of - as_of % DAY_US
        shop = seller == label["seller_id"] if label["seller_id"] is not None else None
        assert row == {
            "row_id": label["row_id"],
            "orders_90d": int(np.sum(own & (ordered < as_of) & (ordered >= as_of - 90 * DAY_US))),
            "order_amount_365d": int(
                amount[own & (ordered < as_of) & (ordered >= as_of - 365 * DAY_US)].sum()
            ),
            "returns_365d": int(np.sum(own & (returned < as_of) & (returned >= as_of - 365 * DAY_US))),
            "seller_orders_90d": None
            if shop is None
            else int(np.sum(shop & (ordered < midnight) & (ordered >= midnight - 90 * DAY_US))),
        }


# The date of the return is not in the table; two weeks after the order stand in for it.
REAL_ORDERS = """
CREATE TABLE orders AS
SELECT
  user_id::BIGINT customer_id, brand_id::BIGINT seller_id, 'apparel' category,
  order_date::TIMESTAMP ordered_at, round(item_price * 100)::BIGINT amount_minor, NULL::BIGINT freight_minor,
  CASE WHEN "return" = 1 THEN order_date::TIMESTAMP + INTERVAL 14 DAY END returned_at, "return" outcome
FROM read_parquet(?)
"""


@pytest.mark.shared
@pytest.mark.slow
def test_past_return_share_of_a_real_shop_tells_returns_apart(shared_data: Path) -> None:
    """Dates without hours: lines of one day must not feed each other, and history must tell buyers apart."""
    path = shared_data / "bads_returns_known.parquet"
    with duckdb.connect() as con:
        con.execute(REAL_ORDERS, [str(path)])
        con.execute(
            "CREATE TABLE asked AS "
            "SELECT row_number() OVER () row_id, customer_id, ordered_at as_of, outcome FROM orders"
        )
        table = build_profiles(con, "asked", SPEC, ["orders_365d", "returns_365d"])
        outcome = con.sql("SELECT outcome FROM asked ORDER BY row_id").to_arrow_table()["outcome"].to_numpy()
        same_day = con.execute(
            "SELECT count(*) FROM asked a WHERE NOT EXISTS (SELECT 1 FROM asked b "
            "WHERE b.customer_id = a.customer_id AND b.as_of < a.as_of)"
        ).fetchall()[0][0]
    seen, back = table["orders_365d"].to_numpy(), table["returns_365d"].to_numpy()
    assert int((seen == 0).sum()) == same_day
    often = seen >= 3
    rates = [outcome[often & (back == 0)].mean(), outcome[often & (back >= 0.7 * seen)].mean()]
    assert rates[0] < 0.40 < 0.60 < rates[1], rates
