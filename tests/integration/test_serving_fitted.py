"""A product that reads fitted features: service and batch read the same, consent and erasure hold."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.manifest import file_checksum, read_manifest, write_manifest
from data.store import connect
from features.load import default_spec
from models.fitted import FITTED, drop_outdated, fitted_files, fitted_months, month_of
from models.registry import Registry
from serving.compose import find_product, load_services, open_service
from serving.history import HistoryStore, erase_from_history
from serving.profiles import ProfileReader
from serving.reprice import read_prices, reprice
from serving.wire import QuoteRequest

if TYPE_CHECKING:
    from pathlib import Path

    from serving.settings import Settings
    from tests.conftest import Insurer

SPEC = default_spec()
ROWS = 60

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]


@pytest.fixture(scope="module")
def settings(insurer: Insurer) -> Settings:
    return insurer.settings


@pytest.fixture(scope="module")
def portfolio(settings: Settings, insurer: Insurer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("book") / "book.parquet"
    with connect(settings.lake) as con:
        table = con.sql(
            f"""
            SELECT policy_id, product, channel, customer_id, seller_id, premium_minor, order_amount, category
            FROM policies WHERE product = 'return_freight' AND quoted_at < TIMESTAMP '2025-11-01'
            ORDER BY hash(policy_id) LIMIT {ROWS}
            """  # noqa: S608 - a constant
        ).to_arrow_table()
    # Somebody without any record, too.
    stranger = table.slice(0, 1).set_column(3, "customer_id", pa.array([10**12], pa.int64()))
    pq.write_table(pa.concat_tables([table, stranger]), path)
    return path


def test_service_and_batch_agree_to_the_fen(
    settings: Settings, insurer: Insurer, portfolio: Path, tmp_path: Path
) -> None:
    services, _ = load_services(settings, SPEC)
    with connect(settings.lake) as con:
        reprice(portfolio, tmp_path / "out", services, SPEC, con, insurer.end, lake=settings.lake)
    prices = read_prices(tmp_path / "out")["price_minor"].to_pylist()
    service = open_service(settings, clock=lambda: insurer.end)
    try:
        quotes = [
            service.price(
                QuoteRequest(
                    product="return_freight",
                    channel=row["channel"],
                    customer_id=row["customer_id"],
                    seller_id=row["seller_id"],
                    risk={"order_amount": row["order_amount"], "category": row["category"]},
                )
            ).answer
            for row in pq.read_table(portfolio).to_pylist()
        ]
    finally:
        service.close()
    assert [None if quote.price is None else quote.price.minor for quote in quotes] == prices
    assert all(quote.profile["seller_frailty"] is not None for quote in quotes)
    assert [quote.profile["buyer_frailty"] is None for quote in quotes] == [False] * ROWS + [True]
    named = {reason.input: reason for quote in quotes for reason in quote.reasons}
    assert set(FITTED) <= set(named)
    assert FITTED["buyer_frailty"].description.en in named["buyer_frailty"].text.en


def test_withdrawn_consent_withholds_the_buyer_and_not_the_shop(settings: Settings, insurer: Insurer) -> None:
    product = find_product(settings, "return_freight")
    history = HistoryStore(settings.history)
    try:
        reader = ProfileReader(SPEC, (), history, product.profile.fitted)
        with connect(settings.lake) as con:
            row = con.sql("SELECT customer_id, seller_id FROM orders ORDER BY ordered_at LIMIT 1").fetchall()[
                0
            ]
        keys = {"customer_id": row[0], "seller_id": row[1]}
        assert reader.keys == ("customer_id", "seller_id")
        known = reader.read(keys, insurer.end)
        assert None not in known.values()
        kept = reader.read(keys, insurer.end, withdrawn=["pricing"])
        assert kept == {"buyer_frailty": None, "seller_frailty": known["seller_frailty"]}
        assert reader.withheld(["pricing"]) == ("buyer_frailty",)
    finally:
        history.close()


def test_the_model_knows_which_definition_it_was_trained_on(settings: Settings) -> None:
    promoted = Registry(settings.registry).champion(
        "return_freight", expected_product=find_product(settings, "return_freight"), expected_spec=SPEC
    )
    assert promoted is not None
    assert promoted.bundle.feature_names[-2:] == ("buyer_frailty", "seller_frailty")


def test_an_erased_customer_is_gone_from_store_and_fits(
    settings: Settings, insurer: Insurer, tmp_path: Path
) -> None:
    month = month_of(insurer.end)
    customer = pq.read_table(fitted_files(settings.lake, month, "customers")[0])["customer_id"][7].as_py()
    path = tmp_path / "history.sqlite"
    shutil.copy(settings.history, path)
    store = HistoryStore(path)
    assert (
        store.fitted(["buyer_frailty"], {"customer_id": customer}, insurer.end)["buyer_frailty"] is not None
    )
    store.close()
    erase_from_history(path, SPEC, customer)
    store = HistoryStore(path)
    assert store.fitted(["buyer_frailty"], {"customer_id": customer}, insurer.end) == {"buyer_frailty": None}
    store.close()
    lake = tmp_path / "lake"
    for name in ("orders", "_fitted"):
        shutil.copytree(settings.lake / name, lake / name)
    assert drop_outdated(lake) == []
    first = next(f for f in sorted((lake / "orders").rglob("*.parquet")) if "2025-12" in f.as_posix())
    table = pq.read_table(first, partitioning=None)
    pq.write_table(table.slice(1), first)
    found = read_manifest(lake / "orders")
    files = tuple(
        dataclasses.replace(file, sha256=file_checksum(first), rows=table.num_rows - 1)
        if (lake / "orders" / file.path) == first
        else file
        for file in found.files
    )
    write_manifest(lake / "orders", dataclasses.replace(found, files=files))
    assert drop_outdated(lake) == [month]
    assert month not in fitted_months(lake)
