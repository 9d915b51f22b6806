"""Histories that could tell engines apart: late news, clock changes, leap days, a million events."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import TableError
from features.evaluate import Evaluator
from features.history import event_columns
from features.load import default_spec
from features.profiles import build_profiles, write_profiles
from features.spec import DAY_US

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

SPEC = default_spec()
US = pa.timestamp("us")
NOON = datetime(2025, 3, 10, 12)
CLAIMS = ["claims_365d", "claims_1095d", "claim_paid_1095d", "claim_paid_max_1095d", "seller_claims_90d"]


def micro(time: datetime) -> int:
    return (time - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def claims(rows: list[tuple[datetime, datetime | None, int]]) -> pa.Table:
    occurred, reported, paid = zip(*rows, strict=True)
    return pa.table(
        {
            "customer_id": pa.array([1] * len(rows), pa.int64()),
            "seller_id": pa.array([7] * len(rows), pa.int64()),
            "product": ["motor"] * len(rows),
            "occurred_at": pa.array(occurred, US),
            "reported_at": pa.array(reported, US),
            "paid_minor": pa.array(paid, pa.int64()),
        }
    )


def asked(times: list[datetime]) -> pa.Table:
    count = len(times)
    return pa.table(
        {
            "row_id": pa.array(range(count), pa.int64()),
            "as_of": pa.array(times, US),
            "customer_id": pa.array([1] * count, pa.int64()),
            "seller_id": pa.array([7] * count, pa.int64()),
        }
    )


def by_both(table: pa.Table, source: str, names: list[str], times: list[datetime]) -> list[dict[str, object]]:
    """Evaluate by SQL and in memory, insist that they agree, and give the rows."""
    with duckdb.connect() as con:
        con.register(source, table)
        rows = build_profiles(con, asked(times), SPEC, names).drop_columns(["row_id"]).to_pylist()
    evaluator = Evaluator(SPEC, names)
    events = {
        name: {need.source.name: event_columns(table, need) for need in entity.needs}
        for name, entity in evaluator.entities.items()
    }
    assert [evaluator.evaluate(events, micro(time)) for time in times] == rows
    return rows


def test_a_claim_counts_where_it_occurred_and_from_when_it_was_reported() -> None:
    late = NOON - timedelta(days=400)
    table = claims(
        [
            (late, NOON, 500),  # reported long after: never a claim of 365 days
            (NOON - timedelta(days=10), NOON - timedelta(days=2), 30),
            (NOON - timedelta(days=10), None, 9_999),  # known to nobody
            (NOON - timedelta(days=9), NOON - timedelta(days=9), 7),
        ]
    )
    instant = timedelta(microseconds=1)
    times = [NOON - timedelta(days=2), NOON - timedelta(days=2) + instant, NOON, NOON + instant]
    rows = by_both(table, "claims", CLAIMS[:4], times)
    assert [row["claims_365d"] for row in rows] == [1, 2, 2, 2]
    assert [row["claims_1095d"] for row in rows] == [1, 2, 2, 3]
    assert [row["claim_paid_1095d"] for row in rows] == [7, 37, 37, 537]
    assert [row["claim_paid_max_1095d"] for row in rows] == [7, 30, 30, 500]


def test_a_late_correction_does_not_leak_into_the_past() -> None:
    """A correction is a row of its own: what a profile said as of a day it still says when asked later."""
    first = claims([(NOON - timedelta(days=30), NOON - timedelta(days=20), 1_000)])
    correction = claims([(NOON - timedelta(days=30), NOON + timedelta(days=5), 400)])
    times = [NOON, NOON + timedelta(days=5), NOON + timedelta(days=6)]
    before = by_both(first, "claims", CLAIMS, times)
    after = by_both(pa.concat_tables([first, correction]), "claims", CLAIMS, times)
    assert before[:2] == after[:2]
    assert after[2]["claim_paid_1095d"] == 1_400


def test_a_seller_s_claim_reported_after_its_window_is_never_counted() -> None:
    table = claims([(NOON - timedelta(days=100), NOON - timedelta(days=5), 1)])
    times = [NOON - timedelta(days=day) for day in (20, 9, 5, 4, 0)]
    assert [row["seller_claims_90d"] for row in by_both(table, "claims", CLAIMS, times)] == [0] * 5
    soon = claims([(NOON - timedelta(days=100), NOON - timedelta(days=95), 1)])
    found = by_both(soon, "claims", CLAIMS, [NOON - timedelta(days=day) for day in (95, 94, 10, 9)])
    assert [row["seller_claims_90d"] for row in found] == [0, 1, 1, 0]


def orders(times: list[datetime]) -> pa.Table:
    count = len(times)
    return pa.table(
        {
            "customer_id": pa.array([1] * count, pa.int64()),
            "seller_id": pa.array([7] * count, pa.int64()),
            "category": ["apparel"] * count,
            "ordered_at": pa.array(times, US),
            "amount_minor": pa.array(range(count), pa.int64()),
        }
    )


@pytest.mark.parametrize(
    "midnight",
    [
        datetime(2024, 3, 31),  # Europe springs forward at 01:00 UTC
        datetime(2024, 10, 27),  # and falls back
        datetime(2024, 11, 3),  # America falls back
        datetime(2024, 2, 29),
        datetime(2023, 2, 28),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_days_have_24_hours_whatever_the_calendar_and_the_session_say(midnight: datetime, zone: str) -> None:
    names = ["orders_7d", "seller_orders_7d", "days_since_last_order", "order_season_30d"]
    hours = [midnight + timedelta(hours=hour) for hour in range(-24, 48)]
    events = [hour - timedelta(days=7) for hour in hours]
    with duckdb.connect() as con:
        con.execute(f"SET TimeZone = '{zone}'")
        con.register("orders", orders(events))
        found = build_profiles(con, asked(hours), SPEC, names).drop_columns(["row_id"]).to_pylist()
    assert found == by_both(orders(events), "orders", names, hours)
    # Every hour had its order exactly a week before: it is in the window, and so is each later one.
    assert [row["orders_7d"] for row in found] == list(range(72, 0, -1))
    assert [row["seller_orders_7d"] for row in found][24:48] == [48] * 24


def test_times_with_a_zone_are_refused() -> None:
    table = orders([NOON])
    zoned = table.set_column(3, "ordered_at", table["ordered_at"].cast(pa.timestamp("us", "UTC")))
    with duckdb.connect() as con:
        con.register("orders", zoned)
        with pytest.raises(TableError, match="'ordered_at' of 'orders' has type TIMESTAMP WITH TIME ZONE"):
            build_profiles(con, asked([NOON]), SPEC, ["orders_7d"])


def test_rates_are_per_day_since_registration_and_seasons_a_year_back() -> None:
    names = ["order_rate_365d", "order_season_30d", "order_trend_7d_90d"]
    times = [NOON - timedelta(days=day) for day in (1, 360, 350, 364)]
    with duckdb.connect() as con:
        con.register("orders", orders(times))
        for days, per_day in ((10, 4 / 10), (0, 4.0), (730, 4 / 365)):
            registered = pa.array([NOON - timedelta(days=days, seconds=1)], US)
            con.register("customers", pa.table({"customer_id": [1], "registered_at": registered}))
            row = build_profiles(con, asked([NOON]), SPEC, names).to_pylist()[0]
            assert row["order_rate_365d"] == pytest.approx(per_day, rel=1e-4)
            # Three of four orders lie in the 30 days that began a year ago.
            assert row["order_season_30d"] == pytest.approx(3 / 4 * 365 / 30)
            assert row["order_trend_7d_90d"] == pytest.approx(90 / 7)


def many_orders(count: int) -> pa.Table:
    rng = np.random.default_rng(3)
    # Few distinct times: ties everywhere, also at the ends of windows.
    times = micro(NOON) - rng.integers(0, 400 * 24, count) * (DAY_US // 24)
    amounts = rng.integers(0, 10**12, count)
    returned = pa.array(times + DAY_US, pa.int64(), mask=rng.random(count) < 0.7).cast(US)
    return pa.table(
        {
            "customer_id": pa.array(np.ones(count, np.int64)),
            "seller_id": pa.array(np.full(count, 7)),
            "category": pa.array(np.array(["apparel", "shoes", "books"])[rng.integers(0, 3, count)]),
            "ordered_at": pa.array(times).cast(US),
            "amount_minor": pa.array(amounts),
            "freight_minor": pa.array(amounts // 100, mask=rng.random(count) < 0.5),
            "returned_at": returned,
        }
    )


MANY = [
    name
    for name in SPEC.names
    if {item.source for item in SPEC.base([name])} <= {"orders", "returns"}
    and SPEC.entity_of(name).name != "customer_x_category"
]


MILLION = 1_000_000
MOMENTS = [NOON, NOON - timedelta(days=30), NOON - timedelta(days=35, microseconds=1), datetime(1969, 7, 20)]


@pytest.mark.slow
def test_a_million_events_of_one_customer() -> None:
    rows = by_both(many_orders(MILLION), "orders", MANY, MOMENTS)
    assert rows[0]["orders_365d"] > 900_000
    assert rows[0]["order_amount_365d"] > 2**53, "sums must not pass through doubles"


@pytest.mark.slow
@pytest.mark.xdist_group("spark")
def test_a_million_events_of_one_customer_on_spark(tmp_path: Path, spark_session: SparkSession) -> None:
    from features.spark import build_profiles_spark

    table = many_orders(MILLION)
    pq.write_table(table, tmp_path / "orders.parquet")
    spark_session.read.parquet(str(tmp_path / "orders.parquet")).createOrReplaceTempView("orders")
    labels = spark_session.createDataFrame(asked(MOMENTS))
    found = build_profiles_spark(spark_session, labels, SPEC, MANY).toArrow().sort_by("row_id")
    with duckdb.connect() as con:
        con.register("orders", table)
        assert found.to_pylist() == build_profiles(con, asked(MOMENTS), SPEC, MANY).to_pylist()
    spark_session.catalog.dropTempView("orders")


def test_parts_of_the_labels_give_the_whole(tmp_path: Path) -> None:
    table = many_orders(2_000)
    customers = np.arange(2_000) % 50
    table = table.set_column(0, "customer_id", pa.array(customers))
    labels = asked([NOON - timedelta(days=day) for day in range(90)])
    labels = labels.set_column(2, "customer_id", pa.array([n % 50 if n % 9 else None for n in range(90)]))
    with duckdb.connect() as con:
        con.register("orders", table)
        con.register("asked", labels)
        whole = build_profiles(con, "asked", SPEC, MANY)
        assert write_profiles(con, "asked", SPEC, MANY, tmp_path / "parts", at_once=20) == 90
        with pytest.raises(TableError, match="is there already"):
            write_profiles(con, "asked", SPEC, MANY, tmp_path / "parts")
    assert len(list((tmp_path / "parts").iterdir())) == 5
    assert pq.read_table(tmp_path / "parts").sort_by("row_id").equals(whole)


def test_a_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    table = many_orders(100)
    with duckdb.connect() as con:
        con.register("orders", table.set_column(4, "amount_minor", pa.array([2**62] * 100)))
        con.register("asked", asked([NOON]))
        with pytest.raises(duckdb.Error):
            write_profiles(con, "asked", SPEC, ["order_amount_365d"], tmp_path / "out")
    assert not list(tmp_path.iterdir())
