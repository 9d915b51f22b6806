import datetime as dt
import json

import pyarrow.parquet as pq
import pytest

from data.checks import check_lake, require_sound
from data.column_map import ColumnMap, load_column_map
from data.errors import ColumnMapError, ContractBreachError, SourceError
from data.ingest import ingest
from data.store import connect, read_table

NOW = dt.datetime(2026, 1, 1)
HEAD = "id,buyer,shop,kind,at,price,back\n"
MAP = {
    "table": {"name": "orders"},
    "columns": {
        "order_id": "id",
        "customer_id": "buyer",
        "seller_id": "shop",
        "category": "kind",
        "ordered_at": '"at"',
        "amount_minor": "round(price::DOUBLE * 100)",
        "returned_at": "back",
    },
}


def order_map(**changes):
    body = json.loads(json.dumps(MAP))
    body["columns"] |= changes
    return ColumnMap.model_validate(body)


def write(path, *lines):
    path.write_text(HEAD + "".join(f"{line}\n" for line in lines))
    return path


GOOD = "1,7,3,toys,2025-03-01 10:00:00,12.34,"


def test_every_kind_of_broken_row_is_quarantined_with_reason_and_number(tmp_path):
    source = write(
        tmp_path / "orders.csv",
        GOOD,
        ",7,3,toys,2025-03-01,1,",
        "3,7,3,toys,yesterday,1,",
        "4,7,3,toys,2025-03-01,-5,",
        "5,7,3,toys,2025-03-01,1,2025-02-01",
        "1,8,3,toys,2025-03-02,2,",
        "7,7,3,,2025-03-01,1,",
        "8,7,3,toys,2025-03-01,abc,",
        "9,7,3,toys,2025-03-01,1,,extra,fields",
        "10,7,3,toys,2025-04-02,1,2025-04-09",
    )
    report = ingest(source, order_map(), tmp_path / "lake", created=NOW)
    assert (report.rows_in, report.rows_stored, report.rows_quarantined) == (10, 2, 8)
    rows = pq.read_table(report.quarantine).to_pylist()
    assert [(r["source_row"], r["reasons"]) for r in rows] == [
        (2, ["order_id: null key"]),
        (3, ["ordered_at: not a timestamp"]),
        (4, ["amount_minor: negative money"]),
        (5, ["check: returned_at >= ordered_at"]),
        (6, ["order_id: duplicate key, other content"]),
        (7, ["category: missing"]),
        (8, ["amount_minor: not a bigint"]),
        (9, ["line: too many columns"]),
    ]
    assert json.loads(rows[1]["row"])["at"] == "yesterday"
    assert rows[-1]["row"] == "9,7,3,toys,2025-03-01,1,,extra,fields"
    assert sum(report.reasons.values()) == 8
    stored = read_table(tmp_path / "lake", "orders").sort_by("order_id").to_pylist()
    assert [(r["order_id"], r["amount_minor"]) for r in stored] == [(1, 1234), (10, 100)]
    assert check_lake(tmp_path / "lake") == {"orders": {}}


def test_same_file_again_does_not_double_and_a_better_map_heals_it(tmp_path):
    source = write(tmp_path / "orders.csv", GOOD, "2,7,3,,2025-03-01,1,")
    first = ingest(source, order_map(), tmp_path / "lake", created=NOW)
    again = ingest(source, order_map(), tmp_path / "lake", created=NOW)
    assert first == again
    assert read_table(tmp_path / "lake", "orders").num_rows == 1
    healed = ingest(source, order_map(category="coalesce(kind, 'toys')"), tmp_path / "lake", created=NOW)
    assert (healed.rows_stored, healed.quarantine) == (2, None)
    assert not first.quarantine.exists()


def test_keys_of_other_sources_are_duplicates(tmp_path):
    ingest(write(tmp_path / "a.csv", GOOD), order_map(), tmp_path / "lake", created=NOW)
    other = write(tmp_path / "b.csv", GOOD, "2,7,3,toys,2025-03-01,1,")
    report = ingest(other, order_map(), tmp_path / "lake", created=NOW)
    assert report.reasons == {"order_id: duplicate row": 1}
    assert read_table(tmp_path / "lake", "orders").num_rows == 2


def test_distinct_merges_repeated_entities_and_keeps_contradictions_out(tmp_path):
    source = tmp_path / "lines.csv"
    source.write_text("u,g,r\n1,F,2024-01-01\n1,F,2024-01-01\n2,M,2024-01-01\n2,F,2024-01-01\n")
    body = {
        "table": {"name": "customers", "distinct": True},
        "columns": {"customer_id": "u", "gender": "g", "registered_at": "r"},
    }
    report = ingest(source, ColumnMap.model_validate(body), tmp_path / "lake", created=NOW)
    assert (report.rows_read, report.rows_merged, report.rows_in) == (4, 1, 3)
    assert (report.rows_stored, report.rows_quarantined) == (2, 1)


def test_rating_factors_are_stored_beside_the_columns(tmp_path):
    source = tmp_path / "p.csv"
    source.write_text("id,age,from\n1,44,2024-05-01\n2,old,2024-05-01\n")
    body = {
        "table": {"name": "policies"},
        "columns": {
            "policy_id": "id",
            "product": "'motor'",
            "customer_id": "id",
            "quoted_at": '"from"::TIMESTAMP',
            "inception_at": '"from"::TIMESTAMP',
            "expiry_at": '"from"::TIMESTAMP + INTERVAL 1 YEAR',
            "premium_minor": "100",
            "channel": "'direct'",
        },
        "risk": {"driver_age": "age::INTEGER"},
    }
    report = ingest(source, ColumnMap.model_validate(body), tmp_path / "lake", created=NOW)
    assert report.reasons == {"driver_age: not computable": 1}
    with connect(tmp_path / "lake") as connection:
        assert connection.execute("SELECT product, driver_age FROM policies").fetchall() == [("motor", 44)]


def test_maps_that_do_not_fit_are_refused(tmp_path):
    source = write(tmp_path / "orders.csv", GOOD)
    lake = tmp_path / "lake"
    with pytest.raises(ColumnMapError, match="no column 'prise'.*did you mean 'price'"):
        ingest(source, order_map(amount_minor="prise"), lake, created=NOW)
    with pytest.raises(ColumnMapError, match="did you mean 'amount_minor'"):
        ingest(source, order_map(amount_minr="price"), lake, created=NOW)
    with pytest.raises(ColumnMapError, match="not valid"):
        ingest(source, order_map(amount_minor="price +"), lake, created=NOW)
    with pytest.raises(SourceError, match="no file"):
        ingest(tmp_path / "none.csv", order_map(), lake, created=NOW)
    broken = tmp_path / "broken.parquet"
    broken.write_text("no parquet")
    with pytest.raises(SourceError, match="cannot be read"):
        ingest(broken, order_map(), lake, created=NOW)
    assert not (lake / "orders").exists()


def test_map_files_are_checked(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text('[table]\nname = "orders"\nspeed = 3\n[columns]\norder_id = "id"\n')
    with pytest.raises(ColumnMapError, match="table.speed: Extra inputs"):
        load_column_map(path)
    path.write_text('[table]\nname = "orders"\n[columns]\norder_id = "id"\n')
    with pytest.raises(ColumnMapError, match="orders.customer_id, which may not be missing"):
        load_column_map(path)
    path.write_text(
        '[table]\nname = "customers"\n[columns]\ncustomer_id = "u"\nregistered_at = "r"\n[risk]\na = "b"\n'
    )
    with pytest.raises(ColumnMapError, match="takes no rating factors"):
        load_column_map(path)
    path.write_text("[table")
    with pytest.raises(ColumnMapError, match="not TOML"):
        load_column_map(path)


def test_dangling_references_are_found(tmp_path):
    lake = tmp_path / "lake"
    ingest(write(tmp_path / "orders.csv", GOOD), order_map(), lake, created=NOW)
    people = tmp_path / "c.csv"
    people.write_text("u,r\n8,2024-01-01\n")
    body = {"table": {"name": "customers"}, "columns": {"customer_id": "u", "registered_at": "r"}}
    ingest(people, ColumnMap.model_validate(body), lake, created=NOW)
    assert check_lake(lake)["orders"] == {"customer_id -> customers.customer_id": 1}
    with pytest.raises(ContractBreachError, match="1 rows of table 'orders'"):
        require_sound(lake)
