"""The serving store gives the evaluator the same events packed and row by row."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

from data.contracts import contract
from features.evaluate import EntityEvaluator
from features.history import as_columns
from features.load import default_spec
from features.profiles import build_profiles
from serving.clock import to_micros
from serving.history import HistoryStore, build_history, erase_from_history

if TYPE_CHECKING:
    from pathlib import Path

SPEC = default_spec()
NOON = datetime(2025, 3, 10, 12)
NAMES = [name for name in SPEC.names if SPEC.entity_of(name).name == "customer"]
CUSTOMERS = range(1, 41)


def a_table(name: str, rows: int) -> pa.Table:
    """Give rows with ties, nulls and customers without events; columns as the contract has them."""
    dice = random.Random(name)  # noqa: S311 - no secret
    columns = {}
    for column in contract(name).columns:
        kind, count = str(column.type), len(CUSTOMERS) if name == "customers" else rows
        if column.name == "customer_id":
            values = (
                list(CUSTOMERS)
                if name == "customers"
                else [dice.choice(CUSTOMERS[:30]) for _ in range(count)]
            )
        elif kind == "timestamp[us]":
            values = [NOON - timedelta(days=dice.randint(0, 1200)) for _ in range(count)]
        elif kind == "string":
            levels = sorted(column.levels or ("apparel", "shoes", "motor"))
            values = [dice.choice(levels) for _ in range(count)]
        elif kind == "int64" and column.name.endswith("_id") and not column.nullable:
            values = list(range(count))
        elif kind == "date32[day]" or kind == "bool":
            values = [None] * count
        else:
            values = [dice.randint(1, 5) for _ in range(count)]
        if column.nullable:
            values = [value if dice.random() < 0.7 else None for value in values]
        columns[column.name] = pa.array(values, column.type)
    return pa.table(columns)


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for name, rows in {"customers": 0, "orders": 600, "policies": 200, "claims": 100}.items():
        connection.register(name, a_table(name, rows))
    return connection


@pytest.fixture
def path(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> Path:
    build_history(con, SPEC, tmp_path / "history.sqlite")
    return tmp_path / "history.sqlite"


def test_packed_events_equal_rows_and_give_the_features_of_the_batch(
    path: Path, con: duckdb.DuckDBPyConnection
) -> None:
    store, evaluator = HistoryStore(path), EntityEvaluator(SPEC, NAMES, "customer")
    as_of = to_micros(NOON)
    labels = pa.table(
        {"row_id": list(CUSTOMERS), "as_of": pa.array([NOON] * 40), "customer_id": list(CUSTOMERS)}
    )
    batch = build_profiles(
        con, labels.set_column(1, "as_of", labels["as_of"].cast(pa.timestamp("us"))), SPEC, NAMES
    )
    for row in batch.to_pylist():
        customer = row.pop("row_id")
        packed = store.events(evaluator, (customer,), as_of)
        rows = {
            need.source.name: store._rows(need.source, need.columns, evaluator, (customer,), None, as_of)
            for need in evaluator.needs
        }
        for need in evaluator.needs:
            seen = packed.get(need.source.name, ())
            kept = sorted(row for row in zip(*seen, strict=True) if row[0] < as_of) if seen else []
            assert sorted(rows[need.source.name], key=repr) == sorted(kept, key=repr)
            assert seen == () or list(seen[0]) == sorted(seen[0])
        assert evaluator.evaluate(packed, as_of) == row
        assert evaluator.evaluate({name: as_columns(found) for name, found in rows.items()}, as_of) == row
    store.close()


def test_an_erased_customer_has_no_packed_events(path: Path) -> None:
    evaluator = EntityEvaluator(SPEC, NAMES, "customer")
    store = HistoryStore(path)
    assert store.events(evaluator, (1,), to_micros(NOON))
    store.close()
    assert erase_from_history(path, SPEC, 1) > 0
    store = HistoryStore(path)
    assert store.events(evaluator, (1,), to_micros(NOON)) == {}
    assert store.events(evaluator, (2,), to_micros(NOON))
    store.close()
