"""Move what the service was told into the tables of the lake, which training and nightly profiles read.

The log of the service stays as it is: an event leaves it when a snapshot holds it, and until then both know
it by the same id. So the job can be killed at any moment, run again, and run beside the service.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa

from data.events import LEDGER_SCHEMA, SETTLED, archive_events, settle_table
from serving.live import LiveStore

if TYPE_CHECKING:
    from datetime import datetime

    from data.events import Settlement
    from features.spec import FeatureSpec
    from serving.events import Fact
    from serving.settings import Settings

BATCH = 100_000


def ingest_live(settings: Settings, spec: FeatureSpec, now: datetime) -> tuple[int, list[Settlement]]:
    """Add the events of the log to the ledger of the lake, and settle its tables.

    Parameters
    ----------
    settings, spec
        Where things are, and the feature definitions, which the log is opened with.
    now
        Naive UTC; an event more than an hour later waits.

    Returns
    -------
    tuple
        Events that the ledger did not hold yet, and what became of each table.
    """
    added = 0
    if settings.live.is_file():
        with closing(LiveStore(settings.live, spec)) as live:
            rows: list[dict[str, int | str | None]] = []
            for fact, received_us in live.facts():
                rows.append(_row(fact, received_us))
                if len(rows) == BATCH:
                    added += archive_events(settings.lake, _table(rows), created=now)
                    rows = []
            if rows:
                added += archive_events(settings.lake, _table(rows), created=now)
    return added, [settle_table(settings.lake, name, created=now) for name in SETTLED]


def _row(fact: Fact, received_us: int) -> dict[str, int | str | None]:
    return {**fact.row, "event_id": fact.event_id, "kind": fact.kind, "received_at": received_us}


def _table(rows: list[dict[str, int | str | None]]) -> pa.Table:
    columns = {
        field.name: pa.array(
            [row.get(field.name) for row in rows],
            pa.int64() if pa.types.is_timestamp(field.type) else field.type,
        ).cast(field.type)
        for field in LEDGER_SCHEMA
    }
    return pa.table(columns, schema=LEDGER_SCHEMA)
