"""Webhooks and their outbox.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "webhooks",
        sa.Column("webhook_id", sa.String(40), primary_key=True),
        sa.Column("channel", sa.String(64)),
        sa.Column("url", sa.String(2_000), nullable=False),
        sa.Column("events", sa.String(400), nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("removed_us", sa.BigInteger),
    )
    op.create_table(
        "deliveries",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("event_id", sa.String(96), nullable=False),
        sa.Column("webhook_id", sa.String(40), nullable=False),
        sa.Column("quote_id", sa.String(64), nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("since_us", sa.BigInteger, nullable=False),
        sa.Column("due_us", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.String(200), nullable=False),
    )
    op.create_index("deliveries_of_event", "deliveries", ["event_id", "webhook_id"], unique=True)
    op.create_index("deliveries_due", "deliveries", ["state", "due_us"])
    op.create_index("deliveries_of_quote", "deliveries", ["webhook_id", "quote_id", "state", "number"])
