"""Scores of the simulated insurer: calibrated by band, stable when retrained, one row per known risk."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.store import connect, write_table
from features.load import default_spec
from models.bundle import Bundle
from models.errors import TrainingDataError
from models.families import FitSettings
from models.score_report import score_figure, score_report
from models.scoring_table import SCHEMA, known_risks, score_customers, write_scores
from models.training import TrainingResult, train
from models.training_table import attach_profiles, training_table
from pricing.errors import DefinitionError
from pricing.product import Product, read_product
from pricing.score import score

if TYPE_CHECKING:
    from tests.conftest import Insurer

PRODUCTS = Path(__file__).parents[2] / "data" / "reference" / "products"
MOTOR = read_product(PRODUCTS / "motor.toml")
RETURNS = read_product(PRODUCTS / "return_freight.toml")
T0 = dt.datetime(2025, 6, 1)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]


def fitted(insurer: Insurer, product: Product, seed: int = 1) -> TrainingResult:
    spec = default_spec()
    with connect(insurer.settings.lake) as con:
        table = attach_profiles(
            con, training_table(con, product, insurer.end), product, spec, insurer.settings.lake
        )
    return train(product, table, feature_spec=spec, settings=FitSettings(seed=seed))


@pytest.fixture(scope="module")
def returns(insurer: Insurer) -> TrainingResult:
    return fitted(insurer, RETURNS)


def test_the_cost_of_test_rows_rises_with_the_band_and_is_what_was_expected(
    returns: TrainingResult, tmp_path: Path
) -> None:
    report = score_report(RETURNS, returns.judged)
    assert report.index.tolist() == ["A", "B", "C", "D", "E"]
    assert report["rows"].sum() == returns.summary["test_rows"]
    assert (report["rows"] > 500).all()
    assert (np.diff(report["actual"]) > 0).all()
    assert (np.diff(report["expected"]) > 0).all()
    assert (np.abs(report["ae"] - 1) < 4 * report["ae_error"]).all()
    score_figure(report).savefig(tmp_path / "score.png")
    assert (tmp_path / "score.png").stat().st_size > 10_000


def test_a_model_that_is_trained_anew_scores_the_same_risk_the_same(
    insurer: Insurer, returns: TrainingResult
) -> None:
    """Two fits differ; points at equal risk premiums do not, and their points of one risk lie close."""
    spec = default_spec()
    with connect(insurer.settings.lake) as con:
        one, other = (
            pa.Table.from_batches(
                score_customers(con, result.bundle(), spec, insurer.end, insurer.settings.lake)
            )
            for result in (returns, fitted(insurer, RETURNS, seed=2))
        )
    assert one["customer_id"].equals(other["customer_id"])
    premiums = np.concatenate([one["risk_premium_minor"], other["risk_premium_minor"]])
    points = np.concatenate([one["points"], other["points"]])
    order = np.argsort(premiums)
    assert (np.diff(points[order]) >= 0).all()
    shift = np.abs(np.subtract(one["points"], other["points"], dtype=float))
    assert np.median(shift) < 15


def test_a_row_of_the_table_is_what_one_quote_says(insurer: Insurer, returns: TrainingResult) -> None:
    bundle, spec = returns.bundle(), default_spec()
    with connect(insurer.settings.lake) as con:
        risks = known_risks(con, RETURNS, insurer.end)
        (batch, *_) = score_customers(con, bundle, spec, insurer.end, insurer.settings.lake)
        rows = risks.slice(0, 50).append_column("quoted_at", pa.repeat(pa.scalar(insurer.end), 50))
        rows = attach_profiles(con, rows, RETURNS, spec, insurer.settings.lake)
    risk_names = [factor.name for factor in RETURNS.factors]
    for row, stored in zip(rows.to_pylist(), batch.slice(0, 50).to_pylist(), strict=True):
        scored = bundle.score_one({name: row[name] for name in risk_names}, row)
        found = score(scored.risk_premium_minor, RETURNS)
        assert stored["risk_premium_minor"] == scored.risk_premium_minor
        assert (stored["points"], stored["band"]) == (found.points, found.band.code)
        said = [f"{r.input}:{'up' if r.contribution > 0 else 'down'}" for r in scored.reasons[:3]]
        assert stored["reasons"] == said


def test_customers_add_up_and_nobody_is_invented(insurer: Insurer, tmp_path: Path) -> None:
    with connect(insurer.settings.lake) as con:
        bundle = fitted(insurer, MOTOR).bundle()
        summary = write_scores(con, bundle, default_spec(), insurer.end, tmp_path / "motor.parquet")
        asked = con.sql("SELECT count(DISTINCT customer_id) FROM quotes WHERE product = 'motor'").fetchall()
    table = pq.read_table(tmp_path / "motor.parquet")
    assert table.schema.equals(SCHEMA)
    assert summary.customers == summary.scored + summary.unknown + summary.refused == 30_000
    assert summary.scored == table.num_rows == asked[0][0]
    assert summary.unknown > 0
    assert summary.refused == 0
    assert set(table["band"].to_pylist()) == {"A", "B", "C", "D", "E"}


def test_a_product_without_a_scale_is_refused_before_a_file_appears(
    insurer: Insurer, returns: TrainingResult, tmp_path: Path
) -> None:
    bundle = returns.bundle()
    plain = RETURNS.model_copy(update={"score": None})
    bare = Bundle.of(plain, bundle.model, bundle.encoding, bundle.spec_hash, {})
    with (
        connect(insurer.settings.lake) as con,
        pytest.raises(DefinitionError, match="declares no score"),
    ):
        write_scores(con, bare, default_spec(), insurer.end, tmp_path / "scores.parquet")
    assert list(tmp_path.iterdir()) == []


def stated(number: int, customer: int, at: dt.datetime, age: int) -> dict[str, object]:
    return {
        "policy_id": number,
        "product": "motor",
        "customer_id": customer,
        "seller_id": None,
        "order_id": None,
        "quoted_at": at,
        "inception_at": at,
        "expiry_at": at + dt.timedelta(days=365),
        "premium_minor": 1,
        "channel": "direct",
        "renewal_of": None,
        "driver_age": age,
        "vehicle_age": 3,
        "vehicle_power": 6,
        "bonus_malus": 60,
        "annual_km": 12.0,
        "fuel": "petrol",
        "region": "CN-GD",
    }


def test_the_latest_known_risk_counts_and_nothing_from_as_of_on() -> None:
    day = dt.timedelta(days=1)
    rows = [
        stated(1, 7, T0 - 9 * day, 30),
        stated(2, 7, T0 - 2 * day, 31),
        stated(3, 7, T0, 32),
        stated(4, 8, T0 + day, 40),
    ]
    with duckdb.connect() as con:
        table = pa.Table.from_pylist(rows)
        con.register("policies", table)
        assert known_risks(con, MOTOR, T0).select(
            ["customer_id", "driver_age", "risk_known_at"]
        ).to_pylist() == [{"customer_id": 7, "driver_age": 31, "risk_known_at": T0 - 2 * day}]
        con.unregister("policies")
        con.register("policies", table.drop_columns(["driver_age"]))
        with pytest.raises(TrainingDataError, match="driver_age"):
            known_risks(con, MOTOR, T0)


def test_the_typical_order_is_the_latest_shop_and_the_median_amount(tmp_path: Path) -> None:
    day = dt.timedelta(days=1)
    rows = [
        (1, 5, 50, "shoes", T0 - 400 * day, 900_000),
        (2, 5, 51, "food", T0 - 20 * day, 1_000),
        (3, 5, 52, "toys", T0 - 10 * day, 3_000),
        (4, 5, 53, "books", T0 - 5 * day, 50_000),
        (5, 5, 54, "apparel", T0, 70_000),
        (6, 6, 55, "home", T0 - 500 * day, 70_000),
    ]
    names = ("order_id", "customer_id", "seller_id", "category", "ordered_at", "amount_minor")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    orders = pa.table(
        columns | {name: [None] * len(rows) for name in ("freight_minor", "delivered_at", "returned_at")}
    )
    times = pa.timestamp("us")
    kinds = {"freight_minor": pa.int64(), "delivered_at": times, "returned_at": times}
    for name, kind in kinds.items():
        orders = orders.set_column(orders.schema.get_field_index(name), name, orders[name].cast(kind))
    write_table(tmp_path, "orders", orders, created=T0)
    with connect(tmp_path) as con:
        found = known_risks(con, RETURNS, T0).to_pylist()
    # Customer 6 has ordered nothing within a year: there is no typical order.
    assert found == [
        {
            "customer_id": 5,
            "seller_id": 53,
            "risk_known_at": T0 - 5 * day,
            "order_amount": 30.0,
            "category": "books",
        }
    ]
