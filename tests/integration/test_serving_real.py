"""Real tables, end to end: from a file nobody made for us to a promoted model and a priced quote."""

from __future__ import annotations

import datetime as dt
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.column_map import load_column_map
from data.ingest import ingest
from data.store import connect, write_parquet_atomic
from features.load import default_spec
from serving.compose import find_product, open_service
from serving.jobs import sync_serving, train_product
from serving.settings import Settings
from serving.wire import QuoteRequest

if TYPE_CHECKING:
    from serving.service import QuoteService

pytestmark = [pytest.mark.shared, pytest.mark.slow]

APPROVER = "B. Approver"
REFERENCE = Path(__file__).parents[2] / "data" / "reference"
SHOP_END = dt.datetime(2013, 3, 31)
ORDERS = """
    SELECT order_id, customer_id, seller_id, ordered_at, amount_minor / 100.0 AS order_amount,
        (returned_at IS NOT NULL)::TINYINT AS returned
    FROM orders ORDER BY ordered_at, order_id
"""


def glm_only(code: str, root: Path, clock: dt.datetime) -> Settings:
    """Give settings under which the product is fitted by its fastest family alone."""
    folder = root / "products"
    folder.mkdir()
    text = (REFERENCE / "products" / f"{code}.toml").read_text(encoding="utf-8")
    assert "[models]" not in text
    models = '\n[models]\nfamilies = ["glm"]\nchampion = "glm"\n'
    (folder / f"{code}.toml").write_text(text + models, encoding="utf-8")
    return Settings(lake=root / "lake", products=folder, clock=clock, author="A. Author")


def opened(settings: Settings, now: dt.datetime) -> QuoteService:
    sync_serving(settings, default_spec(), now)
    return open_service(settings, clock=lambda: now)


def test_french_motor_is_trained_from_its_table_and_priced(shared_data, tmp_path):
    now = dt.datetime(2026, 1, 1)
    settings = glm_only("motor_fr", tmp_path, now)
    source = shared_data / "freMTPL2freq_clean_learntest.parquet"
    outcome = train_product(
        find_product(settings, "motor_fr"),
        settings,
        default_spec(),
        data=source,
        as_of=now,
        approver=APPROVER,
    )
    assert outcome.promoted, outcome.verdict
    assert outcome.result.summary["test_rows"] == 67_801
    figures = outcome.result.comparison.loc["glm"]
    assert 0.03 < figures["d2"] < 0.12
    assert 0.9 < figures["ae"] < 1.1
    risk = {
        "area": "D",
        "vehicle_power": 6,
        "vehicle_age": 6,
        "driver_age": 45,
        "bonus_malus": 50,
        "vehicle_brand": "B2",
        "fuel": "Regular",
        "density": 525,
        "region": "R82",
    }
    with closing(opened(settings, now)) as service:
        bundle = service.products["motor_fr"].bundle
        rows = pq.read_table(source).slice(0, 20_000)
        scored = bundle.score(rows.combine_chunks().to_batches()[0]).column("risk_premium_minor")
        assert scored.null_count == 0
        mean = sum(scored.to_pylist()) / len(scored) / 100
        prices = [
            service.price(
                QuoteRequest(product="motor_fr", channel="agent", risk=risk | {"bonus_malus": malus})
            ).answer
            for malus in (50, 100, 150)
        ]
    # Claims of the whole table per year of exposure, in euros: about 120 to 170 by how large ones are capped.
    assert 90 < mean < 250
    assert [quote.status for quote in prices] == ["quoted"] * 3
    amounts = [quote.price.minor for quote in prices if quote.price]
    assert 100_00 < amounts[0] < 400_00
    assert amounts[0] * 1.5 < amounts[1] < amounts[2]
    assert all(
        sum(step.minor for step in quote.ladder) == quote.price.minor for quote in prices if quote.price
    )


def test_a_real_shop_is_ingested_trained_and_a_real_buyer_priced(shared_data, tmp_path):
    settings = glm_only("return_freight_eu", tmp_path, SHOP_END)
    source = shared_data / "bads_returns_known.parquet"
    for name, rows in (("customers", 37_663), ("orders", 100_000)):
        column_map = load_column_map(REFERENCE / "maps" / f"bads_{name}.toml")
        report = ingest(source, column_map, settings.lake, created=dt.datetime(2014, 1, 1))
        assert (report.rows_read, report.rows_stored, report.rows_quarantined) == (100_000, rows, 0)
    with connect(settings.lake) as con:
        lines: pa.Table = con.sql(ORDERS).to_arrow_table()
        buyers = con.execute(
            "SELECT customer_id, count(*) FILTER (ordered_at >= $now - INTERVAL 365 DAY) FROM orders "
            "WHERE ordered_at < $now GROUP BY 1 HAVING count(*) >= 20 "
            "ORDER BY count(*) FILTER (returned_at < $now) / count(*), 1",
            {"now": SHOP_END},
        ).fetchall()
        seller = con.sql("SELECT mode(seller_id) FROM orders").fetchall()[0][0]
    write_parquet_atomic(lines, tmp_path / "lines.parquet")
    product = find_product(settings, "return_freight_eu")
    outcome = train_product(
        product, settings, default_spec(), data=tmp_path / "lines.parquet", as_of=SHOP_END, approver=APPROVER
    )
    assert outcome.promoted, outcome.verdict
    assert outcome.result.comparison.loc["glm", "auc"] > 0.6
    with closing(opened(settings, SHOP_END)) as service:
        quotes = [
            service.price(
                QuoteRequest(
                    product="return_freight_eu",
                    channel="platform",
                    customer_id=customer,
                    seller_id=seller,
                    risk={"order_amount": 79.9},
                )
            ).answer
            for customer in (buyers[0][0], buyers[-1][0])
        ]
    for quote, (_, orders) in zip(quotes, (buyers[0], buyers[-1]), strict=True):
        assert quote.status == "quoted"
        assert quote.customer_known
        assert quote.profile["orders_365d"] == orders > 0
        assert quote.price is not None
        assert quote.price.currency == "EUR"
        assert sum(step.minor for step in quote.ladder) == quote.price.minor
    keeps, returns = (quote.price.minor for quote in quotes if quote.price)
    assert 5 <= keeps < returns <= 600
    assert returns > 1.3 * keeps
