"""Events that came in one by one, in the lake: a ledger of all of them, and what the tables owe to it.

The ledger ``_events`` is only added to. From it and from the company's own tables follows what a table holds,
whatever came first and however often it is done:

- An order or a claim that no table of the company has brought is a row of the source `EVENTS`. When a table
  brings a row with that key, the table's row stands and the other one goes, in the same step.
- A return is the time of its order's row where the table left it open, and stays with it when the table is
  ingested anew.
- What breaks the contract waits in the quarantine of the source, with the reason, until it no longer does.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data.checks import reasons_sql
from data.contracts import contract
from data.manifest import Manifest, fsync_path, manifest_or_none
from data.sql import sql_text
from data.store import view_sql
from data.table_write import COPY_OPTIONS, TableWrite, copy_partitioned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from data.manifest import TableFile

__all__ = [
    "EVENTS",
    "LEDGER",
    "LEDGER_SCHEMA",
    "SETTLED",
    "Settlement",
    "archive_events",
    "settle",
    "settle_table",
]

LEDGER = "_events"
EVENTS = "events"
"""Source of the rows that stand on events alone."""
SETTLED = ("orders", "claims")
FUTURE_TOLERANCE = dt.timedelta(hours=1)
"""How far a clock may run ahead before its events are quarantined as lying in the future."""

LEDGER_SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("received_at", pa.timestamp("us"), nullable=False),
        pa.field("customer_id", pa.int64(), nullable=False),
        pa.field("seller_id", pa.int64()),
        pa.field("order_id", pa.int64()),
        pa.field("claim_id", pa.int64()),
        pa.field("policy_id", pa.int64()),
        pa.field("product", pa.string()),
        pa.field("category", pa.string()),
        pa.field("amount_minor", pa.int64()),
        pa.field("freight_minor", pa.int64()),
        pa.field("paid_minor", pa.int64()),
        *(
            pa.field(name, pa.timestamp("us"))
            for name in ("ordered_at", "returned_at", "occurred_at", "reported_at")
        ),
    ]
)
"""An event: `kind` is ``order``, ``return`` or ``claim`` and says which of the columns it sets."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a table owes to events.

    Parameters
    ----------
    table : str
        The table.
    stored : int
        Rows that stand on events alone.
    returned : int
        Orders of the company's tables whose return was set now.
    waiting : int
        Events, or orders with their return, that break the contract as things are.
    reasons : dict of str to int
        Why they wait; one may have several reasons.
    quarantine : Path or None
        File of those that wait, laid out as that of an ingest.
    """

    table: str
    stored: int
    returned: int
    waiting: int
    reasons: dict[str, int]
    quarantine: Path | None


def archive_events(root: Path, events: pa.Table, *, created: dt.datetime) -> int:
    """Add events to the ledger; those whose id it holds are passed over.

    Parameters
    ----------
    root : Path
        The lake.
    events : pyarrow.Table
        Columns of `LEDGER_SCHEMA`.
    created : datetime
        Time for the manifest, naive UTC.

    Returns
    -------
    int
        Events added.

    Raises
    ------
    TableLockedError
        If another process is adding to the ledger.
    """
    name = f"received-{created:%Y-%m-%d}-{uuid4().hex[:12]}"
    write = TableWrite(root, LEDGER, created=created, source=name, keep_others=True)
    with write, duckdb.connect(config={"threads": 1}) as connection:
        connection.register("given", events.select(LEDGER_SCHEMA.names).cast(LEDGER_SCHEMA))
        ledger = manifest_or_none(root / LEDGER)
        held = (
            f"WHERE event_id NOT IN (SELECT event_id FROM {_files_sql(root, ledger)})"  # noqa: S608 - quoted
            if ledger and ledger.files
            else ""
        )
        new = connection.sql(f"SELECT * FROM given {held} ORDER BY event_id").to_arrow_table()  # noqa: S608
        if new.num_rows:
            path = write.stage()
            pq.write_table(new, path, compression="zstd")
            write.add(path)
    return int(new.num_rows)


def settle_table(root: Path, name: str, *, created: dt.datetime) -> Settlement:
    """Bring a table to what its company's rows and the ledger say; done again it changes nothing.

    Parameters
    ----------
    root : Path
        The lake.
    name : str
        One of `SETTLED`.
    created : datetime
        Now, naive UTC: for the manifest, and no event may lie more than an hour after it.

    Raises
    ------
    TableLockedError
        If another process is writing the table.
    """
    if not any(root.glob(f"{LEDGER}/part-*")):
        return Settlement(name, 0, 0, 0, {}, None)
    with TableWrite(root, name, created=created, source=EVENTS, keep_others=True) as write:
        return settle(root, write, created + FUTURE_TOLERANCE)


def settle(root: Path, write: TableWrite, latest: dt.datetime) -> Settlement:
    """Make an open write of a table hold what events add to the rows that it will publish.

    Parameters
    ----------
    root : Path
        The lake.
    write : TableWrite
        Write of a table, with the rows of its own source staged.
    latest : datetime
        No event may lie after it.
    """
    ledger = manifest_or_none(root / LEDGER)
    if ledger is None or not ledger.files or write.name not in SETTLED:
        return Settlement(write.name, 0, 0, 0, {}, None)
    write.take_over(EVENTS, ledger.checksum)
    others = write.listed()
    # One thread keeps the order of rows, so that files that did not change keep their checksum.
    with duckdb.connect(config={"threads": 1}) as connection:
        # Of two events on one order, return or claim the first one counts.
        connection.execute(
            f"CREATE VIEW ledger AS SELECT * FROM {_files_sql(root, ledger)} QUALIFY row_number() OVER "  # noqa: S608
            "(PARTITION BY kind, coalesce(claim_id, order_id) ORDER BY received_at, event_id) = 1"
        )
        connection.execute(f"CREATE VIEW others AS {_rows_sql(write.name, others)}")
        _judge(connection, root, write.name, latest)
        copy_partitioned(connection, "sound", write, EVENTS)
        returned = _set_returns(connection, write, others) if write.name == "orders" else 0
        return _settlement(connection, write, returned)


def _files_sql(root: Path, ledger: Manifest) -> str:
    files = ", ".join(sql_text(root / LEDGER / file.path) for file in ledger.files)
    return f"read_parquet([{files}])"


def _rows_sql(name: str, files: Sequence[tuple[Path, TableFile]]) -> str:
    """Give the SQL of the rows of a table that do not stand on events, with the file of each."""
    rules = contract(name)
    columns = [c for c in rules.columns if not (rules.partition.by_product and c.name == "product")]
    if not files:
        empty = ", ".join(f"CAST(NULL AS {c.sql_type}) AS {c.name}" for c in columns)
        return f"SELECT {empty}, '' AS filename WHERE false"  # noqa: S608 - names from the contract
    listed = ", ".join(sql_text(path) for path, _ in files)
    names = ", ".join(c.name for c in columns)
    return (
        f"SELECT {names}, filename FROM read_parquet([{listed}], filename = true, "  # noqa: S608 - quoted
        "hive_partitioning = false, union_by_name = true)"
    )


_NEW_ORDERS = """
    SELECT order_id, customer_id, seller_id, category, ordered_at, amount_minor,
        CAST(NULL AS BIGINT) AS freight_minor, CAST(NULL AS TIMESTAMP) AS delivered_at,
        CAST(NULL AS TIMESTAMP) AS returned_at
    FROM ledger WHERE kind = 'order' AND order_id NOT IN (SELECT order_id FROM others)
"""
# The policy of a claim that names none: the one of customer, product and order that was in force.
_NEW_CLAIMS = """
    SELECT claim_id, coalesce(e.policy_id, p.policy_id) AS policy_id, product, customer_id, seller_id,
        order_id, occurred_at, reported_at, paid_minor
    FROM ledger e LEFT JOIN (
        SELECT e.claim_id, min(p.policy_id) AS policy_id FROM ledger e JOIN policies p
            ON p.customer_id = e.customer_id AND p.product = e.product
            AND (e.order_id IS NULL OR p.order_id = e.order_id)
            AND p.inception_at <= e.occurred_at AND p.expiry_at > e.occurred_at
        WHERE e.kind = 'claim' GROUP BY e.claim_id HAVING count(*) = 1
    ) p USING (claim_id)
    WHERE kind = 'claim' AND claim_id NOT IN (SELECT claim_id FROM others)
"""
_RETURNS = """
    SELECT t.* REPLACE (r.returned_at AS returned_at,
                        coalesce(t.freight_minor, r.freight_minor) AS freight_minor),
        r.order_id AS return_of, r.customer_id AS returned_by
    FROM ledger r LEFT JOIN (
        SELECT * FROM others UNION ALL BY NAME
        SELECT * EXCLUDE (reasons) FROM new_rows WHERE len(reasons) = 0
    ) t ON t.order_id = r.order_id
    WHERE r.kind = 'return' AND t.returned_at IS NULL
"""


def _judge(connection: duckdb.DuckDBPyConnection, root: Path, name: str, latest: dt.datetime) -> None:
    """Make the view ``sound`` of new rows, and the table ``waiting`` of events with the reasons why."""
    rules = contract(name)
    kind, query = ("order", _NEW_ORDERS) if name == "orders" else ("claim", _NEW_CLAIMS)
    more = _known_customers(connection, root)
    if name == "claims":
        policies = manifest_or_none(root / "policies") or Manifest("policies", "", {}, {}, ())
        connection.execute(f"CREATE VIEW policies AS {view_sql(root / 'policies', policies)}")
    reasons = reasons_sql(rules, latest=latest, more=more)
    connection.execute(f"CREATE TABLE new_rows AS SELECT *, {reasons} AS reasons FROM ({query})")  # noqa: S608
    connection.execute(
        f"CREATE TABLE waiting AS SELECT reasons, e FROM new_rows n JOIN ledger e "  # noqa: S608 - our own names
        f"ON e.{rules.key} = n.{rules.key} AND e.kind = '{kind}' WHERE len(reasons) > 0"
    )
    if name == "orders":
        _judge_returns(connection, latest)
    ordered = f"SELECT {', '.join(rules.names)} FROM new_rows WHERE len(reasons) = 0 ORDER BY {rules.key}"  # noqa: S608
    connection.execute(f"CREATE VIEW sound AS {ordered}")


def _known_customers(connection: duckdb.DuckDBPyConnection, root: Path) -> list[tuple[str, str]]:
    customers = manifest_or_none(root / "customers")
    if customers is None:
        return []
    connection.execute(f"CREATE VIEW customers AS {view_sql(root / 'customers', customers)}")
    unknown = "customer_id NOT IN (SELECT customer_id FROM customers)"
    return [(unknown, "customer_id: unknown customer")]


def _judge_returns(connection: duckdb.DuckDBPyConnection, latest: dt.datetime) -> None:
    """Set the sound returns of new rows; those of the company's rows stand in the table ``returns``."""
    more = [("returned_by <> customer_id", "customer_id: not the customer of the order")]
    reasons = reasons_sql(contract("orders"), latest=latest, more=more)
    connection.execute(
        "CREATE TABLE returns AS SELECT *, CASE WHEN order_id IS NULL "  # noqa: S608
        f"THEN ['order_id: return of an unknown order'] ELSE {reasons} END AS reasons FROM ({_RETURNS})"
    )
    connection.execute(
        "INSERT INTO waiting SELECT reasons, e FROM returns n JOIN ledger e "
        "ON e.order_id = n.return_of AND e.kind = 'return' WHERE len(reasons) > 0"
    )
    connection.execute(
        "UPDATE new_rows SET returned_at = r.returned_at, freight_minor = r.freight_minor "
        "FROM returns r WHERE r.order_id = new_rows.order_id AND len(r.reasons) = 0"
    )


def _set_returns(
    connection: duckdb.DuckDBPyConnection, write: TableWrite, others: Sequence[tuple[Path, TableFile]]
) -> int:
    """Set the returns that the company's rows leave open, file by file; give their number."""
    found = connection.execute(
        "SELECT filename, count(*) FROM returns WHERE len(reasons) = 0 AND filename IS NOT NULL "
        "GROUP BY filename ORDER BY filename"
    ).fetchall()
    entries = {str(path): entry for path, entry in others}
    for filename, _ in found:
        path = write.stage()
        rows = f"read_parquet({sql_text(filename)}, hive_partitioning = false, file_row_number = true)"
        connection.execute(
            "COPY (SELECT f.* EXCLUDE (file_row_number) REPLACE ("  # noqa: S608 - quoted
            "coalesce(f.returned_at, r.returned_at) AS returned_at, "
            "coalesce(f.freight_minor, r.freight_minor) AS freight_minor) "
            f"FROM {rows} f LEFT JOIN (SELECT * FROM returns WHERE len(reasons) = 0) r "
            f"ON r.order_id = f.order_id ORDER BY f.file_row_number) TO {sql_text(path)} ({COPY_OPTIONS})"
        )
        write.replace(entries[filename], path, entries[filename].rows)
    return sum(int(count) for _, count in found)


def _settlement(connection: duckdb.DuckDBPyConnection, write: TableWrite, returned: int) -> Settlement:
    """Report, and replace the quarantine before the table is committed, so that no event is lost sight of."""
    counted = connection.execute(
        "SELECT why, count(*) FROM (SELECT unnest(reasons) AS why FROM waiting) GROUP BY why ORDER BY why"
    ).fetchall()
    stored, waiting = (
        int(connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0])  # noqa: S608
        for relation in ("sound", "waiting")
    )
    target = write.folder.parent / "quarantine" / write.name / f"{EVENTS}.parquet"
    if waiting:
        staged = write.stage()
        connection.execute(
            "COPY (SELECT row_number() OVER (ORDER BY e.received_at, e.event_id) AS source_row, reasons, "  # noqa: S608
            "CAST(to_json(e) AS VARCHAR) AS row, e.customer_id AS customer_id FROM waiting ORDER BY 1) "
            f"TO {sql_text(staged)} ({COPY_OPTIONS})"
        )
        fsync_path(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(target)
        fsync_path(target.parent)
    else:
        target.unlink(missing_ok=True)
    reasons = {str(why): int(count) for why, count in counted}
    return Settlement(write.name, stored, returned, waiting, reasons, target if waiting else None)
