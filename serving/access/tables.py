"""Tables of access, in the database of the records. Times are microseconds since 1970."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, String, Table, Text

from serving.records.tables import METADATA

# `secret` counts the secrets that the key has had; the last but one is good until `overlap_us`.
KEYS = Table(
    "access_keys",
    METADATA,
    Column("key_id", String(12), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("channel", String(64)),
    Column("sub_channels", Text, nullable=False),
    Column("products", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("licence", String(128)),
    Column("sandbox", Boolean, nullable=False),
    Column("rate", Integer),
    Column("secret", Integer, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("previous", LargeBinary(32)),
    Column("overlap_us", BigInteger),
    Column("created_us", BigInteger, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("rotated_us", BigInteger),
    Column("rotated_by", String(128)),
    Column("revoked_us", BigInteger),
    Column("revoked_by", String(128)),
)
# One row: moved on by each change of a key, so that a process sees by one number whether to read them anew.
CHANGES = Table(
    "access_changes",
    METADATA,
    Column("row", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)
DENIALS = Table(
    "access_denials",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("first_us", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("status", Integer, nullable=False),
    Column("why", String(32), nullable=False),
    Column("key_id", String(12)),
    Column("address", String(64), nullable=False),
    Column("method", String(16), nullable=False),
    Column("path", String(128), nullable=False),
    Column("request_id", String(64), nullable=False),
)
