"""Fitted features from the lake: fitted once, joined by month, the same in the serving store."""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.simulate import simulate
from data.store import connect, read_table, write_table
from features.load import default_spec
from models.bundle import Bundle
from models.errors import FittedMissingError, MismatchError, TrainingDataError
from models.fitted import (
    attach_fitted,
    ensure_fitted,
    fingerprint,
    fitted_files,
    fitted_months,
    inputs_hash,
    month_of,
)
from models.fitted_store import copy_fitted, read_fitted, read_fitted_features, served_month
from models.order_history import read_order_histories, read_order_history
from models.training import train
from models.training_table import attach_profiles, training_table
from pricing.errors import DefinitionError
from pricing.product import Product, parse_product, read_product

if TYPE_CHECKING:
    from tests.conftest import Insurer

PRODUCT = Path(__file__).parents[2] / "data" / "reference" / "products" / "return_freight.toml"
FREIGHT = read_product(PRODUCT)
NAMES = ("buyer_frailty", "seller_frailty")
MARCH, APRIL, MAY = (dt.datetime(2024, month, 1) for month in (3, 4, 5))


def without_fitted() -> Product:
    line = 'fitted = ["buyer_frailty", "seller_frailty"]\n'
    return parse_product(PRODUCT.read_text(encoding="utf-8").replace(line, ""), PRODUCT.name)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lake")
    simulate(root, 400, 3, orders_per_customer=30)
    return root


def labels(*rows: tuple[int | None, int | None, dt.datetime]) -> pa.Table:
    customers, sellers, times = (list(column) for column in zip(*rows, strict=True))
    return pa.table(
        {
            "customer_id": pa.array(customers, pa.int64()),
            "seller_id": pa.array(sellers, pa.int64()),
            "quoted_at": pa.array(times, pa.timestamp("us")),
        }
    )


def test_a_month_is_fitted_once_and_again_when_its_orders_change(lake: Path, tmp_path: Path) -> None:
    root = tmp_path / "lake"
    orders = read_table(lake, "orders")
    write_table(root, "orders", orders, created=MAY)
    with connect(root) as con:
        assert ensure_fitted(con, root, [MAY, MARCH, MAY]) == [MARCH, MAY]
        assert ensure_fitted(con, root, [MARCH, APRIL, MAY]) == [APRIL]
    assert fitted_months(root) == [MARCH, APRIL, MAY]
    before = {month: fingerprint(root, month) for month in (MARCH, APRIL, MAY)}
    # One order of April less: what is known at the first of April stays, the first of May is fitted anew.
    moments = orders["ordered_at"].to_pylist()
    dropped = next(i for i, moment in enumerate(moments) if APRIL <= moment < MAY)
    keep = np.ones(len(moments), dtype=bool)
    keep[dropped] = False
    write_table(root, "orders", orders.filter(pa.array(keep)), created=MAY)
    assert fingerprint(root, APRIL) == before[APRIL]
    with connect(root) as con:
        assert ensure_fitted(con, root, [MARCH, APRIL, MAY]) == [MAY]
        assert ensure_fitted(con, root, [MARCH, APRIL, MAY]) == []


def test_a_value_holds_from_the_first_of_its_month_to_the_last(lake: Path) -> None:
    with connect(lake) as con:
        ensure_fitted(con, lake, [MARCH, APRIL])
        known = {
            month: dict(
                zip(
                    *(
                        pq.read_table(fitted_files(lake, month, "customers")[0])[c].to_pylist()
                        for c in ("customer_id", "frailty")
                    ),
                    strict=True,
                )
            )
            for month in (MARCH, APRIL)
        }
        customer = next(c for c in known[MARCH] if known[MARCH][c] != known[APRIL][c])
        moments = (MARCH, APRIL - dt.timedelta(microseconds=1), APRIL)
        table = labels(
            *((customer, None, moment) for moment in moments), (None, None, MARCH), (10**9, 10**9, APRIL)
        )
        found = attach_fitted(con, lake, table, FREIGHT.profile, NAMES)
    march, april = known[MARCH][customer], known[APRIL][customer]
    # Nobody, and somebody without a record, have no value; they are not the average.
    assert found["buyer_frailty"].to_pylist() == [march, march, april, None, None]
    assert found["seller_frailty"].to_pylist() == [None] * 5


def test_the_serving_store_reads_what_the_batch_joins(lake: Path) -> None:
    orders = read_table(lake, "orders", ["customer_id", "seller_id", "ordered_at"])
    table = orders.rename_columns(["customer_id", "seller_id", "quoted_at"])
    moments = table["quoted_at"].to_numpy()
    rows = np.flatnonzero((moments >= np.datetime64(MARCH)) & (moments < np.datetime64(MAY)))[::7]
    table = table.take(pa.array(rows))
    with connect(lake) as con:
        ensure_fitted(con, lake, [MARCH, APRIL])
        batch = attach_fitted(con, lake, table, FREIGHT.profile, NAMES).to_pylist()
    with sqlite3.connect(":memory:") as store:
        assert copy_fitted(lake, store, [MARCH, APRIL]) > 0
        for row in batch:
            one = read_fitted_features(store, NAMES, row, row["quoted_at"])
            assert one == {name: row[name] for name in NAMES}
    assert any(row["buyer_frailty"] is None for row in batch)
    assert sum(row["buyer_frailty"] is not None for row in batch) > 100


def test_a_store_serves_the_month_before_but_nothing_older(lake: Path) -> None:
    with connect(lake) as con:
        ensure_fitted(con, lake, [MARCH, APRIL])
    with sqlite3.connect(":memory:") as store:
        copy_fitted(lake, store, [MARCH])
        assert served_month(store, MARCH + dt.timedelta(days=20)) == MARCH
        assert served_month(store, APRIL + dt.timedelta(days=20)) == MARCH
        with pytest.raises(FittedMissingError, match="premia sync"):
            read_fitted(store, "customers", 1, dt.datetime(2024, 6, 2))
        with pytest.raises(FittedMissingError, match="which holds none"):
            read_fitted(store, "customers", 1, MARCH - dt.timedelta(days=1))
        assert read_fitted(store, "customers", None, MARCH) is None
        copy_fitted(lake, store)
        assert served_month(store, APRIL) == APRIL


def test_a_month_before_any_return_has_no_records(lake: Path) -> None:
    first = dt.datetime(2024, 1, 1)
    with connect(lake) as con:
        ensure_fitted(con, lake, [first])
        found = attach_fitted(con, lake, labels((1, 1, first)), FREIGHT.profile, NAMES)
    assert found["buyer_frailty"].to_pylist() == [None]
    with sqlite3.connect(":memory:") as store:
        assert copy_fitted(lake, store, [first]) == 0
        assert read_fitted(store, "customers", 1, first) is None


def test_what_is_refused(lake: Path) -> None:
    with connect(lake) as con:
        with pytest.raises(FittedMissingError, match="first of a month"):
            ensure_fitted(con, lake, [MARCH + dt.timedelta(days=1)])
        with pytest.raises(FittedMissingError, match="has not been fitted"):
            attach_fitted(con, lake, labels((1, 1, dt.datetime(2023, 7, 9))), FREIGHT.profile, NAMES)
        with pytest.raises(TrainingDataError, match="'seller_id' is absent"):
            attach_fitted(
                con, lake, labels((1, 1, MARCH)).drop_columns(["seller_id"]), FREIGHT.profile, NAMES
            )
        table = labels((1, 1, MARCH)).append_column("category", pa.array(["food"]))
        bare = FREIGHT.model_copy(update={"profile": FREIGHT.profile.model_copy(update={"features": ()})})
        with pytest.raises(TrainingDataError, match="need the lake"):
            attach_profiles(con, table, bare, default_spec())
    text = PRODUCT.read_text(encoding="utf-8").replace('"buyer_frailty"', '"buyer_frailt"')
    with pytest.raises(DefinitionError, match="fitted"):
        parse_product(text, "x.toml")


def test_the_fit_is_part_of_what_a_model_was_trained_on() -> None:
    spec, bare = default_spec(), without_fitted().profile
    assert inputs_hash(spec, bare) == spec.hash(bare.features)
    assert inputs_hash(spec, FREIGHT.profile) != inputs_hash(spec, bare)
    assert FREIGHT.inputs[-2:] == NAMES
    assert month_of(dt.datetime(2024, 2, 29, 23, 59, 59, 999_999)) == dt.datetime(2024, 2, 1)


def test_months_read_together_are_the_months_read_alone(lake: Path) -> None:
    later = dt.datetime(2025, 12, 1)
    moments = [MAY, MARCH, later]
    with connect(lake) as con:
        alone = [read_order_history(con, moment) for moment in moments]
        together = list(read_order_histories(con, moments))
    for one, other in zip(alone, together, strict=True):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)
    march, december = together[1], together[2]
    assert len(march.customers) < len(december.customers)
    assert (march.delay >= 0).any()
    assert (march.delay <= march.age).all()


@pytest.mark.slow
@pytest.mark.xdist_group("insurer")
def test_it_gains_beyond_the_profile_and_survives_the_registry(insurer: Insurer, tmp_path: Path) -> None:
    """Time split: credibility knows more of a return than all windows of history."""
    spec, lake, product = default_spec(), insurer.settings.lake, FREIGHT
    with connect(lake) as con:
        table = attach_profiles(con, training_table(con, product, insurer.end), product, spec, lake)
    gain = train(product, table, feature_spec=spec)
    base = train(without_fitted(), table, feature_spec=spec)
    one, other = (result.comparison.loc["ga2m"] for result in (gain, base))
    assert other["logloss"] - one["logloss"] > 0.004
    assert one["auc"] - other["auc"] > 0.004
    truth = pq.read_table(next((lake / "truth" / "customers").rglob("*.parquet")))
    proneness = dict(zip(truth["customer_id"].to_pylist(), truth["proneness"].to_pylist(), strict=True))
    found = pq.read_table(fitted_files(lake, dt.datetime(2025, 11, 1), "customers")[0])
    true = np.array([proneness[c] for c in found["customer_id"].to_pylist()])
    assert np.corrcoef(found["frailty"].to_numpy(), true)[0, 1] > 0.6

    folder = gain.bundle().save(tmp_path / "bundle")
    loaded = Bundle.load(folder, expected_product=product, expected_spec=spec)
    row = {name: table[name][5].as_py() for name in product.inputs}
    batch = loaded.score(table.slice(5, 1).combine_chunks().to_batches()[0])
    risk = {factor.name: row[factor.name] for factor in product.factors}
    assert loaded.score_one(risk, row).risk_premium_minor == batch.column("risk_premium_minor")[0].as_py()
    with pytest.raises(MismatchError):
        Bundle.load(folder, expected_product=without_fitted())
