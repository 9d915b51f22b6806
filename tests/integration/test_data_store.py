import datetime as dt
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.contracts import contract
from data.errors import ContractError, ManifestError, StoreError, TableMissingError
from data.manifest import read_manifest
from data.store import (
    TableWrite,
    append_table,
    connect,
    read_table,
    scan_batches,
    table_files,
    write_parquet_atomic,
    write_table,
)

NOW = dt.datetime(2026, 1, 1)


def quotes(ids, product, day, **factors):
    n = len(ids)
    rows = {c.name: [None] * n for c in contract("quotes").columns}
    at = dt.datetime(2025, 1, day)
    rows |= {"quote_id": ids, "product": [product] * n, "customer_id": [1] * n, "quoted_at": [at] * n}
    rows |= {
        "channel": ["direct"] * n,
        "technical_minor": [9] * n,
        "price_minor": [9] * n,
        "accepted": [False] * n,
    }
    table = pa.table(rows, schema=contract("quotes").schema)
    for name, value in factors.items():
        table = table.append_column(name, pa.array([value] * n))
    return table


def test_factor_named_month_survives_the_partition(tmp_path):
    write_table(tmp_path, "quotes", quotes([1, 2], "flight_delay", 5, month=7), created=NOW, source="a")
    append_table(tmp_path, "quotes", quotes([3], "motor", 6, driver_age=40), created=NOW, source="b")
    found = read_table(tmp_path, "quotes").sort_by("quote_id").to_pylist()
    assert [(r["product"], r["month"], r["driver_age"]) for r in found] == [
        ("flight_delay", 7, None),
        ("flight_delay", 7, None),
        ("motor", None, 40),
    ]
    own = list(contract("quotes").names)
    assert read_table(tmp_path, "quotes").schema.names[: len(own)] == own
    paths = [file.path for file in read_manifest(tmp_path / "quotes").files]
    assert [path.rsplit("/", 1)[0] for path in paths] == [
        "product=flight_delay/quoted_month=2025-01",
        "product=motor/quoted_month=2025-01",
    ]


def test_same_source_is_replaced_and_others_stay(tmp_path):
    append_table(tmp_path, "quotes", quotes([1, 2], "motor", 5), created=NOW, source="a")
    append_table(tmp_path, "quotes", quotes([3], "motor", 6), created=NOW, source="b")
    append_table(tmp_path, "quotes", quotes([4], "motor", 7), created=NOW, source="a")
    assert sorted(read_table(tmp_path, "quotes", ["quote_id"]).column(0).to_pylist()) == [3, 4]
    assert len(list((tmp_path / "quotes").rglob("*.parquet"))) == 2


def test_failed_write_leaves_the_table_as_it_was(tmp_path):
    write_table(tmp_path, "quotes", quotes([1], "motor", 5), created=NOW)
    before = read_manifest(tmp_path / "quotes")
    with pytest.raises(RuntimeError), TableWrite(tmp_path, "quotes", created=NOW, source="x") as write:
        path = write.stage()
        pq.write_table(quotes([2], "motor", 6).drop_columns("product"), path)
        write.add(path, "product=motor/quoted_month=2025-01")
        raise RuntimeError
    assert read_manifest(tmp_path / "quotes") == before
    assert read_table(tmp_path, "quotes").num_rows == 1
    assert list((tmp_path / ".staging").iterdir()) == []


def test_files_that_the_manifest_does_not_list_are_invisible(tmp_path):
    write_table(tmp_path, "quotes", quotes([1], "motor", 5), created=NOW)
    (file,) = table_files(tmp_path, "quotes")
    stray = file.with_name("part-0123456789abcdef.parquet")
    pq.write_table(quotes([2], "motor", 5).drop_columns("product"), stray)
    assert read_table(tmp_path, "quotes").num_rows == 1
    assert sum(b.num_rows for b in scan_batches(tmp_path / "quotes")) == 1
    append_table(tmp_path, "quotes", quotes([3], "motor", 6), created=NOW, source="b")
    assert not stray.exists()


def test_wrong_schemas_are_refused_before_anything_is_written(tmp_path):
    table = quotes([1], "motor", 5)
    with pytest.raises(ContractError, match="needs column 'price_minor'"):
        write_table(tmp_path, "quotes", table.drop_columns("price_minor"), created=NOW)
    place = table.schema.get_field_index("price_minor")
    wrong = table.set_column(place, "price_minor", pa.array([9.0]))
    with pytest.raises(ContractError, match="is double, the contract says int64"):
        write_table(tmp_path, "quotes", wrong, created=NOW)
    customers = contract("customers").schema.empty_table()
    with pytest.raises(ContractError, match="no column 'genders'; did you mean 'gender'"):
        write_table(
            tmp_path, "customers", customers.append_column("genders", pa.array([], pa.string())), created=NOW
        )
    assert list(tmp_path.iterdir()) == []


def test_missing_and_damaged_tables_are_named(tmp_path):
    with pytest.raises(TableMissingError):
        read_table(tmp_path, "orders")
    write_table(tmp_path, "quotes", quotes([1], "motor", 5), created=NOW)
    with pytest.raises(ContractError, match="did you mean 'accepted'"):
        read_table(tmp_path, "quotes", ["acepted"])
    path = tmp_path / "quotes" / "_manifest.json"
    body = json.loads(path.read_text())
    body["files"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(body))
    with pytest.raises(ManifestError, match="states checksum"):
        connect(tmp_path)


def test_empty_table_still_has_its_columns(tmp_path):
    write_table(tmp_path, "orders", contract("orders").schema.empty_table(), created=NOW)
    found = read_table(tmp_path, "orders")
    assert found.num_rows == 0
    assert found.schema.types == contract("orders").schema.types


def test_parquet_is_whole_or_absent(tmp_path):
    def batches():
        yield pa.record_batch({"a": [1, 2]})
        raise OSError("disk full")

    target = tmp_path / "out" / "a.parquet"
    with pytest.raises(OSError, match="disk full"):
        write_parquet_atomic(batches(), target)
    assert list(target.parent.iterdir()) == []
    assert write_parquet_atomic(pa.table({"a": [1, 2, 3]}), target) == 3
    assert [b.num_rows for b in scan_batches(target, ["a"], 2)] == [2, 1]
    with pytest.raises(StoreError, match="No batch"):
        write_parquet_atomic([], target)
