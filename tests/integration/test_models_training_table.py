"""Training tables of the lake: exposure, report delay, run-off, profiles, and the splits of a product."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from features.load import default_spec
from models.errors import TrainingDataError
from models.splits import mark_test_rows
from models.training_table import attach_profiles, training_table
from pricing.product import Product, Response, Split, read_product

FOLDER = Path(__file__).parents[2] / "data" / "reference" / "products"
CUT = dt.datetime(2026, 1, 1)


@pytest.fixture
def lake() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(
        """CREATE TABLE policies AS SELECT * FROM (VALUES
            (1, 'accident', 10, TIMESTAMP '2025-06-30', TIMESTAMP '2025-07-02 12:00',
                TIMESTAMP '2026-07-02 12:00'),
            (2, 'accident', 11, TIMESTAMP '2024-01-01', TIMESTAMP '2024-01-02', TIMESTAMP '2025-01-01'),
            (3, 'accident', 12, TIMESTAMP '2025-12-30', TIMESTAMP '2026-01-02', TIMESTAMP '2027-01-02'),
            (4, 'flight_delay', 10, TIMESTAMP '2025-12-01', TIMESTAMP '2025-12-02', TIMESTAMP '2025-12-05'),
            (5, 'flight_delay', 11, TIMESTAMP '2025-12-20', TIMESTAMP '2025-12-21', TIMESTAMP '2026-01-05')
        ) t(policy_id, product, customer_id, quoted_at, inception_at, expiry_at)"""
    )
    con.execute(
        """ALTER TABLE policies ADD COLUMN seller_id BIGINT;
        ALTER TABLE policies ADD COLUMN age INT; ALTER TABLE policies ADD COLUMN occupation_class VARCHAR;
        ALTER TABLE policies ADD COLUMN month INT; ALTER TABLE policies ADD COLUMN departure_hour INT;
        ALTER TABLE policies ADD COLUMN airline VARCHAR; ALTER TABLE policies ADD COLUMN distance_km DOUBLE;
        UPDATE policies SET age = 30, occupation_class = '1'"""
    )
    con.execute(
        """CREATE TABLE claims AS SELECT * FROM (VALUES
            (1, 1, 'accident', TIMESTAMP '2025-08-01', TIMESTAMP '2025-08-05', 100),
            (2, 1, 'accident', TIMESTAMP '2025-09-01', TIMESTAMP '2025-09-05', 250),
            (3, 1, 'accident', TIMESTAMP '2025-12-31', TIMESTAMP '2026-01-01', 999),
            (4, 4, 'flight_delay', TIMESTAMP '2025-12-03', TIMESTAMP '2025-12-04', 200)
        ) t(claim_id, policy_id, product, occurred_at, reported_at, paid_minor)"""
    )
    return con


def product_with(code: str, development_days: int) -> Product:
    product = read_product(FOLDER / f"{code}.toml")
    response = product.response.model_copy(update={"development_days": development_days})
    return product.model_copy(update={"response": response})


def test_exposure_is_earned_up_to_the_developed_time(lake):
    rows = training_table(lake, product_with("accident", 123), CUT).to_pylist()
    assert [row["policy_id"] for row in rows] == [2, 1]
    # Developed on 31 August: the claim of September is left out with the exposure of September.
    assert rows[1]["exposure"] == pytest.approx(59.5 / 365)
    assert (rows[1]["claim_count"], rows[1]["claim_amount_minor"]) == (1, 100)


def test_exposure_is_earned_and_late_reports_are_unknown(lake):
    rows = training_table(lake, product_with("accident", 0), CUT).to_pylist()
    assert [row["policy_id"] for row in rows] == [2, 1]
    assert rows[0]["exposure"] == pytest.approx(1.0)
    assert rows[1]["exposure"] == pytest.approx(182.5 / 365)
    assert (rows[1]["claim_count"], rows[1]["claim_amount_minor"], rows[1]["claimed"]) == (2, 350, 1)
    assert (rows[0]["claim_count"], rows[0]["claim_amount_minor"], rows[0]["claimed"]) == (0, 0, 0)
    assert rows[0]["age"] == 30


def test_each_claim_is_cut_at_the_large_loss_threshold(lake):
    product = product_with("accident", 0)
    response = product.response.model_copy(update={"large_loss": "1.50"})
    rows = training_table(lake, product.model_copy(update={"response": response}), CUT).to_pylist()
    assert [row["claim_amount_minor"] for row in rows] == [0, 350]
    assert [row["claim_amount_capped_minor"] for row in rows] == [0, 100 + 150]
    assert "claim_amount_capped_minor" not in training_table(lake, product, CUT).column_names


def test_a_share_of_claims_that_cannot_be_known_is_refused(lake):
    with pytest.raises(ValidationError, match="'share' needs claims that add up"):
        Response(kind="event", event="hit", development="share")
    with pytest.raises(ValidationError, match="and no development_days"):
        Response(kind="claim_count", count="n", development="share", development_days=30)
    product = product_with("accident", 0)
    shared = product.response.model_copy(update={"development": "share"})
    with pytest.raises(TrainingDataError, match="claims are too few for a pattern"):
        training_table(lake, product.model_copy(update={"response": shared}), CUT)


def test_trips_count_once_they_have_run_off(lake):
    table = training_table(lake, product_with("flight_delay", 0), CUT)
    assert table["policy_id"].to_pylist() == [4]
    assert table["claimed"].to_pylist() == [1]


def test_a_factor_that_the_policies_lack_is_named(lake):
    lake.execute("ALTER TABLE policies RENAME occupation_class TO occupation")
    with pytest.raises(TrainingDataError, match="no column 'occupation_class'.*did you mean 'occupation'"):
        training_table(lake, read_product(FOLDER / "accident.toml"), CUT)


def test_no_policy_is_an_error(lake):
    with pytest.raises(TrainingDataError, match="no policy"):
        training_table(lake, read_product(FOLDER / "accident.toml"), dt.datetime(2020, 1, 1))


def test_profiles_look_strictly_before_each_row():
    con = duckdb.connect()
    con.execute(
        """CREATE TABLE orders (order_id BIGINT, customer_id BIGINT, seller_id BIGINT, category VARCHAR,
            ordered_at TIMESTAMP, amount_minor BIGINT, freight_minor BIGINT, delivered_at TIMESTAMP,
            returned_at TIMESTAMP);
        INSERT INTO orders VALUES
            (1, 7, 1, 'apparel', '2025-01-01', 100, NULL, NULL, NULL),
            (2, 7, 1, 'apparel', '2025-01-02', 100, NULL, NULL, NULL),
            (3, 7, 1, 'apparel', '2025-01-02', 100, NULL, NULL, NULL)"""
    )
    product = read_product(FOLDER / "return_freight_eu.toml")
    product = product.model_copy(
        update={
            "profile": product.profile.model_copy(update={"features": ("orders_90d", "seller_orders_90d")})
        }
    )
    table = pa.table(
        {
            "customer_id": [7, 7, 7],
            "seller_id": pa.array([1, 1, None], pa.int64()),
            "ordered_at": pa.array([dt.datetime(2025, 1, d) for d in (1, 2, 3)], pa.timestamp("us")),
        }
    )
    found = attach_profiles(con, table, product, default_spec())
    assert found["orders_90d"].to_pylist() == [0, 1, 3]
    assert found["seller_orders_90d"].to_pylist() == [0, 1, None]
    assert attach_profiles(con, found, product, default_spec()) is found
    with pytest.raises(TrainingDataError, match="'ordered_at' .history as of when"):
        attach_profiles(con, table.drop_columns(["ordered_at"]), product, default_spec())


def table_of(n: int) -> pa.Table:
    days = [dt.datetime(2025, 1, 1) + dt.timedelta(days=i // 10) for i in range(n)]
    return pa.table(
        {
            "day": pa.array(days, pa.timestamp("us")),
            "who": [i % 97 for i in range(n)],
            "name": [f"c{i % 97}" for i in range(n)],
            "part": pa.array(["T" if i % 5 == 0 else "L" for i in range(n)]).dictionary_encode(),
        }
    )


def test_split_by_time_keeps_a_day_together_and_tests_on_the_latest():
    table = table_of(1005)
    test = mark_test_rows(Split(method="time", column="day"), table)
    days = table["day"].to_numpy()
    assert days[test].min() > days[~test].max()
    assert 0.2 < test.mean() <= 0.25


@pytest.mark.parametrize("column", ["who", "name"])
def test_split_by_group_keeps_a_group_together(column):
    table = table_of(2000)
    test = mark_test_rows(Split(method="group", column=column, share=0.3), table)
    groups = np.array(table[column].to_pylist())
    assert not set(groups[test]) & set(groups[~test])
    assert 0.1 < test.mean() < 0.5
    other = mark_test_rows(Split(method="group", column=column, share=0.3, seed=1), table)
    assert (other != test).any()


def test_split_by_column_and_by_chance():
    table = table_of(1000)
    assert mark_test_rows(Split(method="column", column="part", test="T"), table).sum() == 200
    assert mark_test_rows(Split(method="random", share=0.1), table).sum() == 100


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        (Split(method="time", column="dya"), "split column 'dya' is absent.*did you mean 'day'"),
        (Split(method="time", column="name"), "not a time"),
        (Split(method="column", column="part", test="X"), "0 of 100 rows"),
    ],
)
def test_unusable_splits_are_refused(split, sentence):
    with pytest.raises(TrainingDataError, match=sentence):
        mark_test_rows(split, table_of(100))
