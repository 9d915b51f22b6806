"""A running service takes a new snapshot between two requests, and keeps the old one when it is broken."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from data.contracts import contract
from data.store import append_table, connect
from features.load import default_spec
from serving import generation
from serving.api import create_app
from serving.compose import open_service
from serving.history import build_history
from serving.ingest_live import ingest_live

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving.service import QuoteService
    from serving.settings import Settings
    from tests.conftest import Insurer

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using `httpx` with")
    from fastapi.testclient import TestClient

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]

SPEC = default_spec()
CUSTOMER, SHOP = 17, 900_001
PLACED = dt.datetime(2025, 12, 30)
ROUNDS = 4
PATIENCE = 60.0


@pytest.fixture
def settings(insurer: Insurer, tmp_path: Path) -> Settings:
    """Give a small share of the insurer's orders, and stores of their own."""
    lake = tmp_path / "lake"
    lake.mkdir()
    for name in ("customers", "_registry", "_fitted"):
        (lake / name).symlink_to(insurer.settings.lake / name)
    with connect(insurer.settings.lake) as con:
        few = con.sql("SELECT * FROM orders WHERE customer_id <= 50").to_arrow_table()
    append_table(lake, "orders", few, created=PLACED, source="few")
    found = insurer.settings.model_copy(update={"lake": lake})
    sync(found)
    return found


def sync(settings: Settings) -> None:
    with connect(settings.lake) as con:
        build_history(con, SPEC, settings.history, lake=settings.lake)


def order(number: int) -> dict[str, Any]:
    row = {"order_id": 10**12 + number, "customer_id": CUSTOMER, "seller_id": SHOP, "category": "shoes"}
    return row | {"amount_minor": 9_900, "ordered_at": PLACED + dt.timedelta(microseconds=number)}


def deliver(settings: Settings, count: int) -> None:
    """Let the company's table hold the first so many orders of the customer at the shop."""
    table = pa.Table.from_pylist([order(n) for n in range(count)], schema=contract("orders").schema)
    append_table(settings.lake, "orders", table, created=PLACED, source="shop")


@pytest.fixture
def service(settings: Settings, insurer: Insurer, monkeypatch: pytest.MonkeyPatch) -> QuoteService:
    monkeypatch.setattr(generation, "WATCH_SECONDS", 0.01)
    return open_service(settings, clock=lambda: insurer.end)


@pytest.fixture
def client(service: QuoteService) -> Iterator[TestClient]:
    with TestClient(create_app(lambda: service)) as opened:
        yield opened


def seen(client: TestClient) -> tuple[int, int]:
    """Quote, and give how many of the customer's and of the shop's orders the quote saw."""
    body = {"product": "return_freight", "channel": "platform", "customer_id": CUSTOMER, "seller_id": SHOP}
    answer = client.post("/v1/quotes", json=body | {"risk": {"order_amount": 99.0, "category": "shoes"}})
    assert answer.status_code == 201, answer.text
    profile = answer.json()["profile"]
    return profile["orders_90d"], profile["seller_orders_90d"]


def wait_for(client: TestClient, wanted: tuple[int, int]) -> None:
    until = time.monotonic() + PATIENCE
    while seen(client) != wanted:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_no_quote_sees_two_snapshots(client: TestClient, settings: Settings) -> None:
    own, sold = seen(client)
    stop = False

    def ask() -> set[tuple[int, int]]:
        found = set()
        while not stop:
            found.add(seen(client))
        return found

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask) for _ in range(3)]
        try:
            for count in range(1, ROUNDS + 1):
                deliver(settings, count)
                sync(settings)
                wait_for(client, (own + count, sold + count))
        finally:
            stop = True
        found = set.union(*(future.result() for future in asked))
    assert found == {(own + count, sold + count) for count in range(ROUNDS + 1)}


def test_events_that_come_with_a_snapshot_do_not_count_twice(
    client: TestClient, service: QuoteService, settings: Settings, insurer: Insurer
) -> None:
    own, sold = seen(client)
    rows = [order(number) for number in range(4)]
    events = [
        {
            **row,
            "type": "order",
            "event_id": f"e{row['order_id']}",
            "ordered_at": row["ordered_at"].isoformat(),
        }
        for row in rows
    ]
    assert client.post("/v1/events", json={"events": events}).json()["counts"] == {"accepted": 4}
    assert seen(client) == (own + 4, sold + 4)
    deliver(settings, 2)  # two of them come with the company's table, the others by the service's own log
    added, (orders, _) = ingest_live(settings, SPEC, insurer.end)
    assert (added, orders.stored, orders.waiting) == (4, 2, 0)
    before = service.snapshot
    sync(settings)
    until = time.monotonic() + PATIENCE
    while service.snapshot is before:
        assert seen(client) == (own + 4, sold + 4)
        assert time.monotonic() < until
    assert seen(client) == (own + 4, sold + 4)
    assert list(service._live.facts()) == []
    again = client.post("/v1/events", json={"events": [events[0], events[1] | {"amount_minor": 1}]}).json()
    assert [answer["status"] for answer in again["answers"]] == ["duplicate", "conflict"]


@pytest.mark.parametrize("fault", ["text", "torn", "layout", "gone"])
def test_a_broken_snapshot_is_passed_over_and_the_next_good_one_taken(
    client: TestClient, settings: Settings, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    own, sold = seen(client)
    draft = settings.history.with_suffix(".broken")
    whole = settings.history.read_bytes()
    draft.write_bytes(b"not a database" if fault == "text" else whole[: len(whole) // 2 // 4096 * 4096])
    if fault == "layout":
        draft.write_bytes(whole)
        with closing(sqlite3.connect(draft)) as store, store:
            store.execute("UPDATE meta SET layout = '1'")
    if fault == "gone":
        settings.history.unlink()
    else:
        draft.replace(settings.history)
    until = time.monotonic() + PATIENCE
    while "the old one stays" not in caplog.text:
        assert seen(client) == (own, sold)
        assert time.monotonic() < until
    assert seen(client) == (own, sold)
    deliver(settings, 2)
    sync(settings)
    wait_for(client, (own + 2, sold + 2))
