"""The serving store: rebuilt whole or not at all, and read as the definitions say."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from data.contracts import contract
from data.store import connect, write_table
from features.load import default_spec
from features.profiles import build_profiles
from serving.errors import StoreError
from serving.history import LAYOUT, HistoryStore, build_history
from serving.profiles import ProfileReader

if TYPE_CHECKING:
    from pathlib import Path

NOON = dt.datetime(2025, 6, 1, 12)
US = dt.timedelta(microseconds=1)
DAY = dt.timedelta(days=1)


def order(key: int, at: dt.datetime, amount: int = 100, **more: Any) -> dict[str, Any]:
    row = {"order_id": key, "customer_id": 7, "seller_id": 3, "category": "toys", "ordered_at": at}
    return row | {"amount_minor": amount} | more


def policy(key: int, product: str, start: dt.datetime, end: dt.datetime) -> dict[str, Any]:
    times = {"quoted_at": start, "inception_at": start, "expiry_at": end}
    return {"policy_id": key, "product": product, "customer_id": 7, "channel": "direct", **times} | {
        "premium_minor": 1000
    }


def put(root: Path, name: str, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=contract(name).schema)
    write_table(root, name, table, created=NOON, source="test")


def build(root: Path, path: Path) -> dict[str, int]:
    with connect(root) as con:
        return build_history(con, default_spec(), path)


@pytest.fixture
def lake(tmp_path) -> Path:
    put(
        tmp_path,
        "customers",
        [
            {
                "customer_id": 7,
                "birth_date": dt.date(1990, 5, 1),
                "gender": "F",
                "registered_at": NOON - 100 * DAY,
            },
            {"customer_id": 8, "gender": "U", "registered_at": NOON - DAY, "owned_seller_id": 3},
        ],
    )
    put(tmp_path, "orders", [order(1, NOON - DAY), order(2, NOON), order(3, NOON + DAY)])
    return tmp_path


def read(path: Path, names: list[str], as_of: dt.datetime, **keys: Any) -> dict[str, Any]:
    with closing(HistoryStore(path)) as history:
        return ProfileReader(default_spec(), names, history).read({"customer_id": 7} | keys, as_of)


def test_rows_are_counted_by_source_and_a_return_is_an_event_of_its_own(lake, tmp_path):
    put(lake, "orders", [order(1, NOON), order(2, NOON, returned_at=NOON + DAY)])
    written = build(lake, tmp_path / "h.sqlite")
    assert written["orders"] == 2
    assert written["returns"] == 1
    assert (written["facts"], written["registrations"], written["holdings"]) == (2, 2, 0)
    names = ["orders_90d", "returns_90d"]
    assert read(tmp_path / "h.sqlite", names, NOON + DAY) == {"orders_90d": 2, "returns_90d": 0}
    assert read(tmp_path / "h.sqlite", names, NOON + DAY + US) == {"orders_90d": 2, "returns_90d": 1}


@pytest.mark.parametrize(
    ("as_of", "count"),
    [
        (NOON - DAY, 0),
        (NOON - DAY + US, 1),
        (NOON, 1),
        (NOON + US, 2),
        (NOON + 29 * DAY, 3),  # the first order is exactly 30 days old: the window's start is inside
        (NOON + 29 * DAY + US, 2),
        (NOON + 31 * DAY + US, 0),
    ],
)
def test_both_ends_of_a_window_are_exact(lake, tmp_path, as_of, count):
    build(lake, tmp_path / "h.sqlite")
    assert read(tmp_path / "h.sqlite", ["orders_30d"], as_of) == {"orders_30d": count}


@pytest.mark.parametrize("turned", [False, True])
def test_events_of_the_same_microsecond_are_read_as_the_compiler_reads_them(lake, tmp_path, turned):
    amounts = [500, 100, 900, 300]
    rows = [order(n, NOON, amount) for n, amount in enumerate(amounts)] + [order(9, NOON - US, 7000)]
    put(lake, "orders", rows[::-1] if turned else rows)
    build(lake, tmp_path / "h.sqlite")
    names = ["orders_365d", "order_amount_365d", "order_amount_max_365d", "order_amount_last_365d"]
    found = read(tmp_path / "h.sqlite", names, NOON + DAY)
    labels = pa.table(
        {"row_id": [0], "customer_id": [7], "as_of": pa.array([NOON + DAY], pa.timestamp("us"))}
    )
    with connect(lake) as con:
        compiled = build_profiles(con, labels, default_spec(), names).drop_columns(["row_id"]).to_pylist()[0]
    assert found == compiled
    assert found["orders_365d"] == 5
    assert found["order_amount_365d"] == 8800
    assert found["order_amount_last_365d"] in amounts


def test_an_unknown_customer_has_no_facts_and_an_empty_profile(lake, tmp_path):
    build(lake, tmp_path / "h.sqlite")
    with closing(HistoryStore(tmp_path / "h.sqlite")) as history:
        assert history.facts(404, NOON) is None
    found = read(tmp_path / "h.sqlite", ["orders_365d", "tenure_days", "claims_365d"], NOON, customer_id=404)
    assert found["tenure_days"] is None
    assert found["orders_365d"] in (0, None)
    nameless = read(tmp_path / "h.sqlite", ["orders_365d", "seller_orders_90d"], NOON, customer_id=None)
    assert nameless == {"orders_365d": None, "seller_orders_90d": None}


def test_facts_come_as_they_were_stored(lake, tmp_path):
    build(lake, tmp_path / "h.sqlite")
    with closing(HistoryStore(tmp_path / "h.sqlite")) as history:
        known, owner = history.facts(7, NOON), history.facts(8, NOON)
    assert known is not None
    assert owner is not None
    assert (known.birth_date, known.registered_at) == (dt.date(1990, 5, 1), NOON - 100 * DAY)
    assert (owner.birth_date, owner.owned_seller_id) == (None, 3)
    assert known.as_facts(NOON)["customer.age"] == 35


@pytest.mark.parametrize(
    ("as_of", "held"),
    [
        (NOON - US, set()),
        (NOON, {"motor"}),
        (NOON + DAY, {"motor", "medical"}),
        (NOON + 2 * DAY, {"medical"}),
    ],
)
def test_a_policy_is_held_from_its_inception_until_its_expiry(lake, tmp_path, as_of, held):
    policies = [policy(1, "motor", NOON, NOON + 2 * DAY), policy(2, "medical", NOON + DAY, NOON + 9 * DAY)]
    put(lake, "policies", policies)
    build(lake, tmp_path / "h.sqlite")
    with closing(HistoryStore(tmp_path / "h.sqlite")) as history:
        facts = history.facts(7, as_of)
    assert facts is not None
    assert facts.held == held


def test_a_sellers_profile_holds_for_the_day(lake, tmp_path):
    build(lake, tmp_path / "h.sqlite")
    midnight = dt.datetime(2025, 6, 1)
    for as_of in (midnight, midnight + US, NOON + US, midnight + DAY - US):
        found = read(tmp_path / "h.sqlite", ["seller_orders_30d"], as_of, seller_id=3)
        assert found == {"seller_orders_30d": 1}, as_of
    found = read(tmp_path / "h.sqlite", ["seller_orders_30d"], midnight + DAY, seller_id=3)
    assert found == {"seller_orders_30d": 2}


def test_a_reader_does_not_keep_yesterdays_seller(lake, tmp_path):
    build(lake, tmp_path / "h.sqlite")
    with closing(HistoryStore(tmp_path / "h.sqlite")) as history:
        reader = ProfileReader(default_spec(), ["seller_orders_30d"], history)
        days = [reader.read({"seller_id": 3}, dt.datetime(2025, 6, day, 13)) for day in (1, 2, 1, 3)]
    assert [row["seller_orders_30d"] for row in days] == [1, 2, 1, 3]


def test_an_empty_lake_gives_a_store_that_knows_nobody(tmp_path):
    written = build(tmp_path, tmp_path / "h.sqlite")
    assert set(written.values()) == {0}
    with closing(HistoryStore(tmp_path / "h.sqlite")) as history:
        assert history.facts(7, NOON) is None


def test_a_rebuild_that_fails_leaves_the_old_store(lake, tmp_path):
    path = tmp_path / "h.sqlite"
    build(lake, path)
    before = path.read_bytes()
    put(lake, "orders", [order(5, NOON - DAY)])

    def stop(name: str) -> None:
        if name == "claims":
            raise KeyboardInterrupt

    with connect(lake) as con, pytest.raises(KeyboardInterrupt):
        build_history(con, default_spec(), path, stop)
    assert path.read_bytes() == before
    assert read(path, ["orders_30d"], NOON + 2 * DAY) == {"orders_30d": 3}
    build(lake, path)  # what the failed one left behind is in nobody's way
    assert read(path, ["orders_30d"], NOON + 2 * DAY) == {"orders_30d": 1}


def test_a_store_that_is_open_reads_on_while_it_is_replaced(lake, tmp_path):
    path = tmp_path / "h.sqlite"
    build(lake, path)
    with closing(HistoryStore(path)) as history:
        reader = ProfileReader(default_spec(), ["orders_30d"], history)
        put(lake, "orders", [order(5, NOON - DAY)])
        build(lake, path)
        assert reader.read({"customer_id": 7}, NOON + 2 * DAY) == {"orders_30d": 3}
    assert read(path, ["orders_30d"], NOON + 2 * DAY) == {"orders_30d": 1}


def test_what_is_no_serving_store_is_refused(lake, tmp_path):
    with pytest.raises(StoreError, match="there is no serving store at .*premia sync"):
        HistoryStore(tmp_path / "none.sqlite")
    text = tmp_path / "text.sqlite"
    text.write_text(
        "this is no database, and long enough to be told apart from an empty one", encoding="utf-8"
    )
    with pytest.raises(StoreError, match="is not a serving store"):
        HistoryStore(text)
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(StoreError, match="is not a serving store"):
        HistoryStore(empty)
    build(lake, tmp_path / "h.sqlite")
    with closing(sqlite3.connect(tmp_path / "h.sqlite")) as store:
        store.execute("UPDATE meta SET layout = '0'")
        store.commit()
    with pytest.raises(StoreError, match=rf"has layout \('0',\), wanted is {LAYOUT}"):
        HistoryStore(tmp_path / "h.sqlite")
