"""Tables of the webhooks, beside the records: an event is stored by the commit of what it tells of."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table

from serving.records.tables import METADATA

WEBHOOKS = Table(
    "webhooks",
    METADATA,
    Column("webhook_id", String(40), primary_key=True),
    Column("channel", String(64)),
    Column("url", String(2_000), nullable=False),
    Column("events", String(400), nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("removed_us", BigInteger),
)
DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("event_id", String(96), nullable=False),
    Column("webhook_id", String(40), nullable=False),
    Column("quote_id", String(64), nullable=False),
    Column("event", String(32), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("since_us", BigInteger, nullable=False),
    Column("due_us", BigInteger, nullable=False),
    Column("detail", String(200), nullable=False),
    Index("deliveries_of_event", "event_id", "webhook_id", unique=True),
    Index("deliveries_due", "state", "due_us"),
    Index("deliveries_of_quote", "webhook_id", "quote_id", "state", "number"),
)
