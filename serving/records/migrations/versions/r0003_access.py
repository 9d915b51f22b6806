"""Keys of callers, and what was denied.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "access_keys",
        sa.Column("key_id", sa.String(12), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("channel", sa.String(64)),
        sa.Column("sub_channels", sa.Text, nullable=False),
        sa.Column("products", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("licence", sa.String(128)),
        sa.Column("sandbox", sa.Boolean, nullable=False),
        sa.Column("rate", sa.Integer),
        sa.Column("secret", sa.Integer, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("previous", sa.LargeBinary(32)),
        sa.Column("overlap_us", sa.BigInteger),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.Column("rotated_us", sa.BigInteger),
        sa.Column("rotated_by", sa.String(128)),
        sa.Column("revoked_us", sa.BigInteger),
        sa.Column("revoked_by", sa.String(128)),
    )
    op.create_table(
        "access_changes",
        sa.Column("row", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "access_denials",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("first_us", sa.BigInteger, nullable=False),
        sa.Column("last_us", sa.BigInteger, nullable=False),
        sa.Column("times", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("why", sa.String(32), nullable=False),
        sa.Column("key_id", sa.String(12)),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("path", sa.String(128), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
    )
