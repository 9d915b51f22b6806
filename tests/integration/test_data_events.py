"""Events and the company's own tables meet in the lake: nothing is lost, nothing stands twice."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.column_map import ColumnMap
from data.contracts import contract
from data.erase import erase_customer
from data.events import LEDGER_SCHEMA, archive_events, settle_table
from data.ingest import ingest
from data.manifest import read_manifest
from data.store import read_table, write_table

ROOT = Path(__file__).parents[2]
NOW = dt.datetime(2026, 1, 1)
T0 = dt.datetime(2025, 11, 28, 12)
DAY = dt.timedelta(days=1)


def event(kind: str, key: int, **more: Any) -> dict[str, Any]:
    row = {"event_id": f"{kind}-{key}", "kind": kind, "received_at": NOW, "customer_id": 7, "seller_id": 3}
    row |= {"claim_id" if kind == "claim" else "order_id": key, "category": "toys", "amount_minor": 500}
    if kind == "order":
        row["ordered_at"] = T0
    if kind == "return":
        row |= {"returned_at": T0 + 9 * DAY, "freight_minor": 80}
    if kind == "claim":
        row |= {"product": "motor", "occurred_at": T0, "reported_at": T0 + DAY, "paid_minor": 900}
    return row | more


def archive(root: Path, *events: dict[str, Any]) -> int:
    return archive_events(root, pa.Table.from_pylist(list(events), schema=LEDGER_SCHEMA), created=NOW)


def orders(root: Path) -> dict[int, tuple[int, dt.datetime | None, int | None]]:
    rows = read_table(root, "orders").to_pylist()
    assert len({row["order_id"] for row in rows}) == len(rows)
    return {row["order_id"]: (row["amount_minor"], row["returned_at"], row["freight_minor"]) for row in rows}


def company(root: Path, name: str, *rows: dict[str, Any]) -> Any:
    """Ingest rows of the company's own orders."""
    shared = {"customer_id": 7, "seller_id": 3, "category": "toys", "ordered_at": T0, "amount_minor": 500}
    table = pa.Table.from_pylist([shared | row for row in rows], schema=contract("orders").schema)
    pq.write_table(table, root.parent / name)
    columns = {column: column for column in contract("orders").names}
    body = {"table": {"name": "orders"}, "columns": columns}
    return ingest(root.parent / name, ColumnMap.model_validate(body), root, created=NOW)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lake = tmp_path / "lake"
    people = [{"customer_id": key, "registered_at": T0 - 400 * DAY} for key in (7, 8)]
    write_table(
        lake, "customers", pa.Table.from_pylist(people, schema=contract("customers").schema), created=NOW
    )
    return lake


def test_orders_and_returns_become_rows_once_however_often_they_come(root: Path) -> None:
    assert archive(root, event("order", 1), event("return", 1)) == 2
    assert archive(root, event("order", 1), event("order", 2)) == 1
    done = settle_table(root, "orders", created=NOW)
    assert (done.stored, done.returned, done.waiting) == (2, 0, 0)
    assert orders(root) == {1: (500, T0 + 9 * DAY, 80), 2: (500, None, None)}
    before = read_manifest(root / "orders").checksum
    settle_table(root, "orders", created=NOW + DAY)
    assert read_manifest(root / "orders").checksum == before


def test_the_company_s_row_takes_the_place_of_the_event_s_and_keeps_its_return(root: Path) -> None:
    archive(root, event("order", 1), event("return", 1), event("order", 2), event("return", 3))
    assert settle_table(root, "orders", created=NOW).reasons == {"order_id: return of an unknown order": 1}
    delivered = {"delivered_at": T0 + 2 * DAY}
    for _ in range(2):  # the same file again replaces its rows, and the returns stay
        report = company(
            root, "a.parquet", {"order_id": 1, "amount_minor": 510, **delivered}, {"order_id": 3}
        )
        assert (report.rows_stored, report.rows_quarantined) == (2, 0)
        assert orders(root) == {1: (510, T0 + 9 * DAY, 80), 2: (500, None, None), 3: (500, T0 + 9 * DAY, 80)}
    assert not (root / "quarantine" / "orders" / "events.parquet").exists()
    assert settle_table(root, "orders", created=NOW).stored == 1
    files = read_manifest(root / "orders").files
    assert {file.source.split("-")[0]: file.rows for file in files} == {"a": 2, "events": 1}


def test_a_return_changes_the_company_s_row_only_where_it_was_open(root: Path) -> None:
    company(root, "a.parquet", {"order_id": 1}, {"order_id": 2, "returned_at": T0 + DAY}, {"order_id": 4})
    archive(root, event("return", 1), event("return", 2), event("return", 4, customer_id=8))
    done = settle_table(root, "orders", created=NOW)
    assert (done.stored, done.returned) == (0, 1)
    assert done.reasons == {"customer_id: not the customer of the order": 1}
    assert orders(root) == {1: (500, T0 + 9 * DAY, 80), 2: (500, T0 + DAY, None), 4: (500, None, None)}
    assert settle_table(root, "orders", created=NOW).returned == 0


def test_what_breaks_the_contract_waits_with_its_reason_until_it_does_not(root: Path) -> None:
    archive(
        root,
        event("order", 1, customer_id=99),
        event("order", 2, ordered_at=NOW + 2 * DAY),
        event("order", 3, amount_minor=-1),
        event("order", 4),
        event("return", 4, returned_at=T0 - DAY),
    )
    done = settle_table(root, "orders", created=NOW)
    assert done.reasons == {
        "amount_minor: negative money": 1,
        "check: returned_at >= ordered_at": 1,
        "customer_id: unknown customer": 1,
        "ordered_at: in the future": 1,
    }
    assert orders(root) == {4: (500, None, None)}
    assert done.quarantine is not None
    kept = pq.read_table(done.quarantine).to_pylist()
    assert [json.loads(row["row"])["event_id"] for row in kept] == [
        "order-1",
        "order-2",
        "order-3",
        "return-4",
    ]
    assert [row["customer_id"] for row in kept] == [99, 7, 7, 7]
    people = [{"customer_id": 99, "registered_at": T0}]
    table = pa.Table.from_pylist(people, schema=contract("customers").schema)
    write_table(root, "customers", table, created=NOW, source="more", keep_others=True)
    assert settle_table(root, "orders", created=NOW + 3 * DAY).waiting == 2
    assert set(orders(root)) == {1, 2, 4}


def test_a_claim_finds_its_policy_or_waits(root: Path) -> None:
    policy = {"product": "motor", "customer_id": 7, "channel": "direct", "premium_minor": 1}
    policy |= {"quoted_at": T0 - DAY, "inception_at": T0, "expiry_at": T0 + 365 * DAY}
    rows = [policy | {"policy_id": 10}, policy | {"policy_id": 11, "customer_id": 8}]
    rows += [policy | {"policy_id": 12, "customer_id": 8}]
    table = pa.Table.from_pylist(rows, schema=contract("policies").schema)
    write_table(root, "policies", table, created=NOW)
    archive(
        root,
        event("claim", 1),
        event("claim", 2, customer_id=8),
        event("claim", 3, customer_id=8, policy_id=12),
        event("claim", 4, occurred_at=T0 - 2 * DAY),
    )
    done = settle_table(root, "claims", created=NOW)
    assert (done.stored, done.reasons) == (2, {"policy_id: missing": 2})
    found = read_table(root, "claims").to_pylist()
    assert {row["claim_id"]: row["policy_id"] for row in found} == {1: 10, 3: 12}


def test_an_erased_customer_does_not_come_back_from_the_ledger(root: Path) -> None:
    archive(root, event("order", 1), event("order", 2, customer_id=8), event("return", 5))
    settle_table(root, "orders", created=NOW)
    report = erase_customer(root, 7, created=NOW)
    assert report.removed == {"_events": 2, "orders": 1, "customers": 1, "quarantine/orders": 1}
    assert settle_table(root, "orders", created=NOW).waiting == 0
    assert set(orders(root)) == {2}


KILLED = """
    import datetime as dt, os, signal, sys
    from pathlib import Path
    from data import table_write
    from data.events import settle_table
    step, root = sys.argv[1], Path(sys.argv[2])
    die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    if step == "before":
        table_write.write_manifest = die
    else:
        table_write._drop_unlisted = die
    settle_table(root, "orders", created=dt.datetime(2026, 1, 1))
"""


@pytest.mark.parametrize("step", ["before", "after"])
def test_killed_and_run_again_it_ends_as_if_it_had_not_been(root: Path, step: str) -> None:
    company(root, "a.parquet", {"order_id": 3})
    archive(root, event("order", 1), event("return", 1), event("return", 3))
    killed = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", textwrap.dedent(KILLED), step, str(root)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    before = {3: (500, None, None)}
    after = {1: (500, T0 + 9 * DAY, 80), 3: (500, T0 + 9 * DAY, 80)}
    assert orders(root) == (before if step == "before" else after)
    settle_table(root, "orders", created=NOW)
    assert orders(root) == after
    listed = {file.path for file in read_manifest(root / "orders").files}
    found = (root / "orders").rglob("*.parquet")
    assert {path.relative_to(root / "orders").as_posix() for path in found} == listed
