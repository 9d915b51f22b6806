import datetime as dt
import os
import subprocess
import sys

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data.checks import check_lake
from data.column_map import ColumnMap
from data.contracts import CONTRACTS
from data.erase import erase_customer
from data.errors import TableLockedError, TableMissingError
from data.ingest import ingest
from data.manifest import read_manifest
from data.runs import run_log
from data.simulate import simulate
from data.store import TableWrite, connect, read_table

NOW = dt.datetime(2026, 2, 1)
KILLED = """
import datetime as dt, os, sys
from pathlib import Path
import data.table_write as table_write
from data.erase import erase_customer
left = int(sys.argv[3])
whole = table_write.write_manifest
def write_manifest(folder, manifest):
    global left
    whole(folder, manifest)
    left -= 1
    if left == 0:
        os._exit(9)
table_write.write_manifest = write_manifest
erase_customer(Path(sys.argv[1]), int(sys.argv[2]), created=dt.datetime(2026, 2, 1))
"""
ORDERS = {
    "table": {"name": "orders"},
    "columns": {
        "order_id": "id",
        "customer_id": "who",
        "seller_id": "shop",
        "category": "kind",
        "ordered_at": "day",
        "amount_minor": "price",
    },
}
LINES = """id,who,shop,kind,day,price
900000000001,{owner},3,toys,2025-03-01,12
900000000002,{owner},3,toys,2025-03-01,-12
900000000003,2,3,toys,2025-03-01,-{owner}
900000000004,{owner},3,toys,2025-03-01,1,more
900000000005,2,{owner}1,toys,2025-03-01,1,more
900000000006,99999999,3,toys,2025-03-01,12
"""


def make_lake(root, folder):
    """Simulate an insurer, add a company's file, and pick a customer with rows in every table."""
    simulate(root, 1_500, seed=3, orders_per_customer=4)
    with connect(root) as connection:
        owner = connection.execute(
            "SELECT customer_id FROM customers WHERE owned_seller_id IS NOT NULL "
            "AND customer_id IN (SELECT customer_id FROM claims) ORDER BY customer_id DESC LIMIT 1"
        ).fetchall()[0][0]
    source = folder / "more.csv"
    source.write_text(LINES.format(owner=owner))
    ingest(source, ColumnMap.model_validate(ORDERS), root, created=NOW)
    return owner


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("erase")
    return folder / "lake", make_lake(folder / "lake", folder)


@pytest.fixture
def lake(original, tmp_path):
    root, owner = original
    subprocess.run(["/bin/cp", "-a", str(root), str(tmp_path / "lake")], check=True)  # noqa: S603
    return tmp_path / "lake", owner


def parquet_files(root):
    return [path for path in root.rglob("*") if path.is_file() and b"PAR1" in path.read_bytes()[:4]]


def naming(root, owner, policies):
    """Find every file below the lake, listed by a manifest or not, that has a row of the customer."""
    found = []
    for path in parquet_files(root):
        table = pq.ParquetFile(path).read()
        for key, values in (
            ("customer_id", {owner}),
            ("owner_customer_id", {owner}),
            ("policy_id", policies),
        ):
            if key in table.column_names and values & set(table.column(key).to_pylist()):
                found.append(path)
    return found


def policies_of(root, owner):
    table = read_table(root, "policies", ["policy_id", "customer_id"])
    return set(table.filter(pc.equal(table.column("customer_id"), owner)).column(0).to_pylist())


def without(root, owner, policies):
    """Give the content of all files as it is to be: rows in order, by table, the customer's left out."""
    content = {}
    for path in sorted(parquet_files(root)):
        table = pq.ParquetFile(path).read()
        if "owner_customer_id" in table.column_names:
            place = table.schema.get_field_index("owner_customer_id")
            owners = [0 if who == owner else who for who in table.column(place).to_pylist()]
            table = table.set_column(place, "owner_customer_id", [owners])
        key = "customer_id" if "customer_id" in table.column_names else "policy_id"
        if key in table.column_names:
            gone = {owner} if key == "customer_id" else policies
            table = table.filter([value not in gone for value in table.column(key).to_pylist()])
        if table.num_rows:
            folder = path.parent.relative_to(root).as_posix()
            content.setdefault(folder, []).append(table.to_pylist())
    return {folder: sorted(tables, key=repr) for folder, tables in content.items()}


def test_no_row_of_the_customer_is_left_and_all_others_stay(lake):
    root, owner = lake
    policies = policies_of(root, owner)
    assert policies
    log = run_log(root, "orders").read_bytes()
    before = without(root, owner, policies)
    quarantine = before.pop("quarantine/orders")
    report = erase_customer(root, owner, created=NOW)
    assert naming(root, owner, policies) == []
    after = without(root, -1, set())
    left = after.pop("quarantine/orders")
    assert after == before
    assert set(report.removed) == {
        *CONTRACTS,
        *("truth/customers", "truth/policies", "truth/claims", "quarantine/orders"),
    }
    assert report.unlinked == 1
    assert report.removed["policies"] == report.removed["truth/policies"] == len(policies)
    assert [name.split("-")[0] for name in report.sources] == ["more", "simulation"]
    # Rows 2 and 4 are the customer's; row 3 only names the number as its price, row 5 within a longer one.
    assert report.removed["quarantine/orders"] == 2
    assert [row["source_row"] for row in left[0]] == [3, 5, 6]
    assert [row["source_row"] for row in quarantine[0]] == [3, 4, 5, 6]
    assert run_log(root, "orders").read_bytes() == log
    assert not any(check_lake(root).values())


def test_erasing_again_finds_nothing_to_do(lake):
    root, owner = lake
    erase_customer(root, owner, created=NOW)
    manifests = {name: read_manifest(root / name) for name in CONTRACTS}
    again = erase_customer(root, owner, created=NOW + dt.timedelta(days=1))
    assert (again.removed, again.files, again.sources) == ({}, 0, ())
    assert {name: read_manifest(root / name) for name in CONTRACTS} == manifests


@pytest.mark.slow
def test_an_erasure_killed_after_any_table_can_be_run_again(original, tmp_path):
    root, owner = original
    policies = policies_of(root, owner)
    for tables in (1, 5, 9):
        copy = tmp_path / f"lake{tables}"
        subprocess.run(["/bin/cp", "-a", str(root), str(copy)], check=True)  # noqa: S603
        command = [sys.executable, "-c", KILLED, str(copy), str(owner), str(tables)]
        assert subprocess.run(command, check=False).returncode == 9  # noqa: S603
        # The manifest is new, the old files still lie there: the kill came between the two.
        assert naming(copy, owner, policies)
        erase_customer(copy, owner, created=NOW)
        assert naming(copy, owner, policies) == []
        assert check_lake(copy) == check_lake(root)


def test_what_a_killed_ingest_left_goes_too(lake):
    root, owner = lake
    stale = root / ".staging" / f"{os.getpid()}-orders-0123abcd"
    stale.mkdir()
    (stale / "half.parquet").write_bytes(b"PAR1")
    erase_customer(root, owner, created=NOW)
    assert not stale.exists()


def test_a_table_that_is_being_written_stops_the_erasure(lake):
    root, owner = lake
    with (
        TableWrite(root, "orders", created=NOW, source="other", keep_others=True),
        pytest.raises(TableLockedError, match="'orders'"),
    ):
        erase_customer(root, owner, created=NOW)
    erase_customer(root, owner, created=NOW)
    assert policies_of(root, owner) == set()


def test_a_lake_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(TableMissingError, match="no lake"):
        erase_customer(tmp_path / "none", 1, created=NOW)
