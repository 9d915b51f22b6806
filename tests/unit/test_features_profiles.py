"""Profiles of small histories that can be counted by hand, and labels and tables that are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from features.compile import compile_profiles
from features.errors import HistoryError, LabelError, TableError, UnknownFeature
from features.evaluate import Evaluator
from features.history import event_columns, events_needed, events_query
from features.load import default_spec
from features.profiles import build_profiles
from features.spec import DAY_US

SPEC = default_spec()
NOON = datetime(2025, 3, 10, 12)
US = pa.timestamp("us")
NAMES = ["orders_30d", "order_amount_365d", "days_since_last_order", "return_share_365d", "seller_orders_30d"]


def micro(time: datetime) -> int:
    return int(time.replace(tzinfo=UTC).timestamp()) * 1_000_000


def orders(rows: list[tuple[int, int | None, datetime, int, datetime | None]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    return pa.table(
        {
            "customer_id": pa.array(columns[0], pa.int64()),
            "seller_id": pa.array(columns[1], pa.int64()),
            "category": pa.array(["apparel"] * len(rows), pa.string()),
            "ordered_at": pa.array(columns[2], US),
            "amount_minor": pa.array(columns[3], pa.int64()),
            "freight_minor": pa.array([None] * len(rows), pa.int64()),
            "returned_at": pa.array(columns[4], US),
        }
    )


def labels(rows: list[tuple[int, int | None, int | None, datetime | None]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 4
    types = {"row_id": pa.int64(), "customer_id": pa.int64(), "seller_id": pa.int64(), "as_of": US}
    return pa.table(
        {name: pa.array(column, types[name]) for name, column in zip(types, columns, strict=True)}
    )


HISTORY = orders(
    [
        (1, 7, NOON - timedelta(days=40), 500, NOON - timedelta(days=20)),
        (
            1,
            7,
            NOON - timedelta(days=30),
            300,
            NOON,
        ),  # both ends of the window: ordered inside, returned outside
        (1, 8, NOON - timedelta(hours=13), 200, None),
        (1, 7, NOON, 9_999, None),
        (2, 7, NOON - timedelta(hours=1), 50, None),  # today: the seller's profile was fixed at midnight
        (2, 7, NOON - timedelta(days=2), 60, None),
    ]
)


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.register("orders", HISTORY)
    return connection


def test_a_profile_counts_what_was_known_strictly_before(con: duckdb.DuckDBPyConnection) -> None:
    table = labels([(11, 1, 7, NOON), (5, 2, None, NOON), (8, None, 7, NOON), (2, 99, 98, NOON)])
    assert build_profiles(con, table, SPEC, NAMES).to_pydict() == {
        "row_id": [11, 5, 8, 2],
        "orders_30d": [2, 2, None, 0],
        "order_amount_365d": [1000, 110, None, 0],
        "days_since_last_order": [0, 0, None, None],
        "return_share_365d": [1 / 3, 0.0, None, None],
        "seller_orders_30d": [2, None, 2, 0],
    }


def test_lines_of_one_day_do_not_feed_each_other_when_dates_have_no_hours(
    con: duckdb.DuckDBPyConnection,
) -> None:
    day = datetime(2025, 1, 5)
    con.unregister("orders")
    con.register("orders", orders([(1, 7, day, 100, None), (1, 7, day, 200, None)]))
    found = build_profiles(
        con, labels([(0, 1, 7, day), (1, 1, 7, day)]), SPEC, ["orders_30d", "seller_orders_30d"]
    )
    assert found.to_pydict() == {"row_id": [0, 1], "orders_30d": [0, 0], "seller_orders_30d": [0, 0]}


def test_labels_may_be_a_view_and_then_come_by_row_id(con: duckdb.DuckDBPyConnection) -> None:
    table = labels([(9, 1, 7, NOON), (3, 2, 7, NOON), (4, 1, 8, NOON - timedelta(days=35))])
    con.register("asked", table)
    found = build_profiles(con, "asked", SPEC, NAMES)
    assert found["row_id"].to_pylist() == [3, 4, 9]
    assert found.equals(build_profiles(con, table.sort_by("row_id"), SPEC, NAMES))


def test_no_labels_give_no_rows_of_the_same_types(con: duckdb.DuckDBPyConnection) -> None:
    found = build_profiles(con, labels([]), SPEC, NAMES)
    assert found.num_rows == 0
    assert [str(kind) for kind in found.schema.types] == [
        "int64",
        "int64",
        "int64",
        "int64",
        "double",
        "int64",
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (labels([(1, 1, 7, NOON), (1, 2, 7, NOON)]), "stands twice"),
        (labels([(1, 1, 7, None)]), "as_of is null in 1 labels"),
        (
            labels([(1, 1, 7, NOON)]).drop_columns(["seller_id"]),
            "no column 'seller_id'.*these features need it",
        ),
        (labels([(1, 1, 7, NOON)]).drop_columns(["as_of"]), "no column 'as_of'"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(
    table: pa.Table, message: str, con: duckdb.DuckDBPyConnection
) -> None:
    with pytest.raises(LabelError, match=message):
        build_profiles(con, table, SPEC, NAMES)
    con.register("asked", table)
    with pytest.raises(LabelError):
        build_profiles(con, "asked", SPEC, NAMES)


def test_tables_that_do_not_fit_are_refused(con: duckdb.DuckDBPyConnection) -> None:
    table = labels([(1, 1, 7, NOON)])
    with pytest.raises(TableError, match="source 'claims' needs table 'claims'"):
        build_profiles(con, table, SPEC, ["claims_365d"])
    with pytest.raises(LabelError, match="no table or view 'nowhere'"):
        build_profiles(con, "nowhere", SPEC, NAMES)
    with pytest.raises(UnknownFeature, match="did you mean 'orders_30d'"):
        build_profiles(con, table, SPEC, ["order_30d"])
    con.register("orders", HISTORY.rename_columns({"ordered_at": "order_at"}))
    with pytest.raises(TableError, match=r"no column 'ordered_at'.*did you mean 'order_at'"):
        build_profiles(con, table, SPEC, ["orders_30d"])
    con.register("orders", HISTORY.set_column(4, "amount_minor", HISTORY["amount_minor"].cast(pa.float64())))
    with pytest.raises(TableError, match="'amount_minor' of 'orders' has type DOUBLE, wanted is integer"):
        build_profiles(con, table, SPEC, ["orders_30d"])


def test_the_text_keeps_to_the_narrow_form() -> None:
    sql = compile_profiles(SPEC, SPEC.names).sql.upper()
    for word in ("ASOF", "RANGE", "FILTER", "COUNT(DISTINCT", "INTERVAL", "QUALIFY"):
        assert word not in sql, word


def test_only_the_needed_sources_are_read() -> None:
    query = compile_profiles(SPEC, ["orders_30d"])
    assert [source.name for source in query.sources] == ["orders"]
    assert query.label_columns == ("customer_id",)
    assert "claims" not in query.sql


def test_history_says_what_to_fetch() -> None:
    names = ["orders_30d", "orders_shoes_365d", "claims_1095d", "seller_orders_30d", "tenure_days"]
    assert events_query(SPEC, names, "customer") == {
        "registrations": ["registered_at"],
        "orders": ["ordered_at", "category"],
        "claims": ["occurred_at", "reported_at"],
    }
    customer = events_needed(SPEC, names, "customer")
    assert [need.window_us for need in customer] == [None, 365 * DAY_US, 1095 * DAY_US]
    seller = events_needed(SPEC, names, "seller")[0]
    assert seller.since(micro(NOON)) == micro(datetime(2025, 3, 10)) - 30 * DAY_US


def test_rows_become_events_and_events_the_same_numbers(con: duckdb.DuckDBPyConnection) -> None:
    evaluator = Evaluator(SPEC, NAMES)
    own = HISTORY.filter(pa.array([row == 1 for row in HISTORY["customer_id"].to_pylist()]))
    shop = HISTORY.filter(pa.array([row == 7 for row in HISTORY["seller_id"].to_pylist()]))
    rows = {"customer": own, "seller": shop}
    events = {
        name: {need.source.name: event_columns(rows[name], need) for need in entity.needs}
        for name, entity in evaluator.entities.items()
    }
    assert events["customer"]["returns"] == ((micro(NOON - timedelta(days=20)), micro(NOON)),)
    found = evaluator.evaluate(events, micro(NOON))
    assert list(found) == NAMES
    expected = (
        build_profiles(con, labels([(0, 1, 7, NOON)]), SPEC, NAMES).drop_columns(["row_id"]).to_pylist()[0]
    )
    assert found == expected
    assert evaluator.evaluate({}, micro(NOON)) == dict.fromkeys(NAMES)
    assert evaluator.evaluate({"customer": {}}, micro(NOON))["orders_30d"] == 0


def test_events_of_another_shape_are_refused() -> None:
    customer = Evaluator(SPEC, ["orders_30d"]).entities["customer"]
    with pytest.raises(HistoryError, match="'orders' have 2 columns, wanted are 1"):
        customer.evaluate({"orders": [(0, 5)]}, DAY_US)
    with pytest.raises(HistoryError, match="lack the columns ordered_at"):
        event_columns(HISTORY.drop_columns(["ordered_at"]), customer.needs[0])
