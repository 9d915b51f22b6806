"""Evaluator, SQL and Spark give the same number for the same definition, to the last bit."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from features.evaluate import Evaluator
from features.history import events_by_entity
from features.load import default_spec, parse_spec
from features.profiles import build_profiles
from features.spec import DAY_US, FeatureSpec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LEAP = int(datetime(2024, 2, 29, tzinfo=UTC).timestamp()) * 1_000_000
CATEGORIES = ["apparel", "shoes", "books", "unheard of", None]
US = pa.timestamp("us")

# Every aggregation with and without filters, with nulls in the measure, hours, whole life, on both grains.
EXTRA = """
[[entity]]
name = "customer"
keys = ["customer_id"]
[[entity]]
name = "seller"
keys = ["seller_id"]
grain = "day"
[[entity]]
name = "customer_x_category"
keys = ["customer_id", "category"]
[[source]]
name = "returns"
table = "orders"
time = "returned_at"
keys = ["customer_id", "seller_id", "category"]
measures = ["amount_minor", "freight_minor"]
levels = ["category"]
where = { category = ["apparel", "shoes", "books"] }
owner = "o"
privacy = "personal"
purpose = "p"
description = { en = "e", zh = "z" }
[[source]]
name = "losses"
table = "claims"
time = "occurred_at"
known = "reported_at"
keys = ["customer_id", "seller_id"]
measures = ["paid_minor"]
levels = ["product"]
where = { product = ["motor", "medical"] }
owner = "o"
privacy = "personal"
purpose = "p"
description = { en = "e", zh = "z" }
"""
DERIVED = """
[[derived]]
name = "{entity}_{kind}"
kind = "{kind}"
inputs = ["{entity}_{first}", "{entity}_{second}"]
unit = "u"
description = {{ en = "e", zh = "z" }}
"""
DERIVATIONS = [
    ("rate", "losses_count_365d", "losses_first_occurred_at_lifetime"),
    ("trend", "losses_count_7d", "losses_count_365d"),
    ("seasonality", "losses_sum_paid_minor_7d", "losses_sum_paid_minor_365d"),
    ("mean", "losses_sum_paid_minor_365d", "losses_count_365d"),
    ("span", "losses_first_occurred_at_365d", "losses_last_occurred_at_365d"),
]
# Source: measure, filters, entities.
SHAPED = {
    "returns": (
        ("freight_minor", "returned_at"),
        (
            "",
            'filter = { category = ["apparel", "books"] }',
            'filter = { category = ["shoes"], amount_minor = [0, 1] }',
        ),
        ("customer", "seller", "customer_x_category"),
    ),
    "losses": (
        ("paid_minor", "occurred_at"),
        ("", 'filter = { product = ["motor"] }'),
        ("customer", "seller"),
    ),
}


def all_shapes(only_windows: frozenset[str] = frozenset({"12h", "7d", "365d", "lifetime"})) -> FeatureSpec:
    text = [EXTRA]
    for source, (columns, filters, entities) in SHAPED.items():
        measures = [("count", None), ("sum", columns[0])]
        measures += [(kind, name) for kind in ("min", "max", "first", "last") for name in columns]
        for entity, window, number, (aggregation, measure) in itertools.product(
            entities, ("12h", "7d", "365d", "lifetime"), range(len(filters)), measures
        ):
            if window not in only_windows or (window == "12h" and entity == "seller"):
                continue
            name = "_".join(filter(None, [entity, source, aggregation, measure, window, "f" * number]))
            lines = [
                f'[[feature]]\nname = "{name}"\nentity = "{entity}"\nsource = "{source}"',
                f'aggregation = "{aggregation}"\nwindow = "{window}"\nunit = "u"',
                'description = { en = "e", zh = "z" }',
                filters[number],
                f'measure = "{measure}"' if measure else "",
            ]
            text.append("\n".join(lines))
    if {"7d", "365d", "lifetime"} <= only_windows:
        for entity, (kind, first, second) in itertools.product(("customer", "seller"), DERIVATIONS):
            text.append(DERIVED.format(entity=entity, kind=kind, first=first, second=second))
    return parse_spec("\n".join(text))


def interesting_times(windows: list[int]) -> st.SearchStrategy[int]:
    """Times near the leap day, on midnights, and exactly on both ends of windows that start there."""
    base = st.builds(lambda days: LEAP + days * DAY_US, st.integers(-3, 3))
    offset = st.sampled_from([0, *windows]).map(lambda window: -window)
    jitter = st.sampled_from([0, 0, 0, -1, 1, 3_600_000_000 * 7, DAY_US - 1])
    return st.builds(lambda *parts: sum(parts), base, offset, jitter)


ids = st.integers(1, 3)
maybe_ids = st.one_of(st.none(), ids)


@st.composite
def worlds(draw: st.DrawFn, windows: list[int]) -> dict[str, list[dict[str, object]]]:
    times = interesting_times(windows)
    money = st.sampled_from([0, 1, 2, 99, 10**12])
    order = st.fixed_dictionaries(
        {
            "customer_id": ids,
            "seller_id": maybe_ids,
            "category": st.sampled_from(CATEGORIES),
            "ordered_at": times,
            "amount_minor": money,
            "freight_minor": st.one_of(st.none(), money),
            "returned_at": st.one_of(st.none(), times),
        }
    )
    policy = st.fixed_dictionaries(
        {
            "customer_id": ids,
            "seller_id": maybe_ids,
            "product": st.sampled_from(["motor", "return_freight", "medical"]),
            "channel": st.just("direct"),
            "quoted_at": times,
            "premium_minor": money,
        }
    )
    claim = st.builds(
        lambda row, delay: {**row, "reported_at": None if delay is None else row["occurred_at"] + delay},
        st.fixed_dictionaries(
            {
                "customer_id": ids,
                "seller_id": maybe_ids,
                "product": st.sampled_from(["motor", "return_freight", "medical"]),
                "occurred_at": times,
                "paid_minor": money,
            }
        ),
        # Known at once, a day, a week, a year or more later, before it happened, never.
        st.sampled_from([0, 1, DAY_US - 1, DAY_US, 7 * DAY_US, 365 * DAY_US, 366 * DAY_US, -DAY_US, None]),
    )
    label = st.fixed_dictionaries(
        {
            "customer_id": maybe_ids,
            "seller_id": maybe_ids,
            "category": st.sampled_from(CATEGORIES),
            "as_of": interesting_times([0]),
        }
    )
    customer = st.fixed_dictionaries({"customer_id": ids, "registered_at": times})
    return {
        "orders": draw(st.lists(order, max_size=25)),
        "policies": draw(st.lists(policy, max_size=6)),
        "claims": draw(st.lists(claim, max_size=6)),
        "customers": draw(st.lists(customer, max_size=3, unique_by=lambda row: row["customer_id"])),
        "labels": draw(st.lists(label, min_size=1, max_size=6)),
    }


SCHEMAS = {
    "orders": [
        ("customer_id", pa.int64()),
        ("seller_id", pa.int64()),
        ("category", pa.string()),
        ("ordered_at", US),
        ("amount_minor", pa.int64()),
        ("freight_minor", pa.int64()),
        ("returned_at", US),
    ],
    "policies": [
        ("customer_id", pa.int64()),
        ("seller_id", pa.int64()),
        ("product", pa.string()),
        ("channel", pa.string()),
        ("quoted_at", US),
        ("premium_minor", pa.int64()),
    ],
    "claims": [
        ("customer_id", pa.int64()),
        ("seller_id", pa.int64()),
        ("product", pa.string()),
        ("occurred_at", US),
        ("reported_at", US),
        ("paid_minor", pa.int64()),
    ],
    "customers": [("customer_id", pa.int64()), ("registered_at", US)],
    "labels": [
        ("row_id", pa.int64()),
        ("customer_id", pa.int64()),
        ("seller_id", pa.int64()),
        ("category", pa.string()),
        ("as_of", US),
    ],
}


def bits(value: object) -> object:
    return struct.pack("<d", value) if isinstance(value, float) else value


def by_sql(
    spec: FeatureSpec, tables: dict[str, pa.Table], con: duckdb.DuckDBPyConnection
) -> list[dict[str, object]]:
    for name, table in tables.items():
        if name != "labels":
            con.register(name, table)
    return build_profiles(con, tables["labels"], spec, spec.names).drop_columns(["row_id"]).to_pylist()


def by_loop(spec: FeatureSpec, tables: dict[str, pa.Table]) -> list[dict[str, object]]:
    evaluator = Evaluator(spec, spec.names)
    store = {
        (name, need.source.name): events_by_entity(tables[need.source.table], need)
        for name, entity in evaluator.entities.items()
        for need in entity.needs
    }
    results = []
    for label in (
        tables["labels"].set_column(4, "as_of", tables["labels"]["as_of"].cast(pa.int64())).to_pylist()
    ):
        events = {}
        for name, entity in evaluator.entities.items():
            key = tuple(label[column] for column in entity.entity.keys)
            if None not in key:
                events[name] = {
                    need.source.name: store[name, need.source.name].get(key, ()) for need in entity.needs
                }
        results.append(evaluator.evaluate(events, label["as_of"]))
    return results


def check_equal(
    spec: FeatureSpec, world: dict[str, list[dict[str, object]]], con: duckdb.DuckDBPyConnection
) -> None:
    tables = tables_of(world)
    check_same(spec, tables, by_sql(spec, tables, con), by_loop(spec, tables))


def tables_of(world: dict[str, list[dict[str, object]]]) -> dict[str, pa.Table]:
    labels = [{"row_id": 1000 - index, **row} for index, row in enumerate(world["labels"])]
    rows = {**world, "labels": labels}
    return {
        name: pa.Table.from_pylist(rows[name], schema=pa.schema(fields)) for name, fields in SCHEMAS.items()
    }


def check_same(
    spec: FeatureSpec,
    tables: dict[str, pa.Table],
    one: list[dict[str, object]],
    other: list[dict[str, object]],
) -> None:
    labels = tables["labels"].to_pylist()
    assert len(one) == len(other) == len(labels)
    for number, (left, right) in enumerate(zip(one, other, strict=True)):
        differing = {
            name: (left[name], right[name])
            for name in spec.names
            if type(left[name]) is not type(right[name]) or bits(left[name]) != bits(right[name])
        }
        assert not differing, (labels[number], differing)


DEFAULT = default_spec()
SHAPES = all_shapes()
EMPTY = {name: [] for name in ("orders", "policies", "claims", "customers")}
ONE = {"customer_id": 1, "seller_id": 2, "category": "apparel", "as_of": LEAP}


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    return connection


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(world=worlds(windows=[30 * DAY_US, 90 * DAY_US, 365 * DAY_US, 1095 * DAY_US]))
@example(world={**EMPTY, "labels": [ONE]})
def test_shipped_definitions_agree(
    world: dict[str, list[dict[str, object]]], con: duckdb.DuckDBPyConnection
) -> None:
    check_equal(DEFAULT, world, con)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(world=worlds(windows=[DAY_US // 2, 7 * DAY_US, 365 * DAY_US]))
@example(world={**EMPTY, "labels": [ONE]})
def test_every_shape_of_aggregate_agrees(
    world: dict[str, list[dict[str, object]]], con: duckdb.DuckDBPyConnection
) -> None:
    check_equal(SHAPES, world, con)


def by_spark(
    spec: FeatureSpec, tables: dict[str, pa.Table], spark_session: SparkSession
) -> list[dict[str, object]]:
    from features.spark import build_profiles_spark

    for name, table in tables.items():
        spark_session.createDataFrame(table).createOrReplaceTempView(name)
    found = build_profiles_spark(spark_session, "labels", spec, spec.names).toArrow()
    by_id = {row.pop("row_id"): row for row in found.to_pylist()}
    return [by_id[row_id] for row_id in tables["labels"]["row_id"].to_pylist()]


def gathered(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    found: list[Any] = []

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def gather(world: Any) -> None:
        found.append(world)

    gather()
    return found


def side_by_side(found: list[dict[str, list[dict[str, object]]]]) -> dict[str, list[dict[str, object]]]:
    """Put many worlds into one, each with customers and sellers of its own."""
    merged: dict[str, list[dict[str, object]]] = {name: [] for name in found[0]}
    for number, world in enumerate(found):
        for name, rows in world.items():
            for row in rows:
                ids = {
                    key: value + 10 * number
                    for key, value in row.items()
                    if key.endswith("_id") and isinstance(value, int)
                }
                merged[name].append({**row, **ids})
    return merged


def every_third(spec: FeatureSpec) -> FeatureSpec:
    """Thin a large set of definitions out: Spark compiles code for every column."""
    kept = {item.name for item in spec.closure([*spec.names[::3], *(item.name for item in spec.derived)])}
    return replace(spec, features=tuple(item for item in spec.features if item.name in kept))


@pytest.mark.slow
@pytest.mark.xdist_group("spark")
@pytest.mark.parametrize("which", ["shipped", "shapes"])
def test_spark_agrees(which: str, con: duckdb.DuckDBPyConnection, spark_session: SparkSession) -> None:
    """One job over many random histories, for a job costs seconds whatever its size."""
    spec = DEFAULT if which == "shipped" else every_third(all_shapes(frozenset({"7d", "365d", "lifetime"})))
    windows = [7 * DAY_US, 30 * DAY_US, 90 * DAY_US, 365 * DAY_US, 1095 * DAY_US]
    tables = tables_of(side_by_side([{**EMPTY, "labels": [ONE]}, *gathered(worlds(windows=windows), 100)]))
    spark, sql = by_spark(spec, tables, spark_session), by_sql(spec, tables, con)
    check_same(spec, tables, spark, sql)
    check_same(spec, tables, spark, by_loop(spec, tables))
    filled = {name for row in spark for name, value in row.items() if value}
    assert len(filled) > 0.5 * len(spec.names), "a feature that is nothing everywhere tests nothing"
