"""Tables of the record store as migrations make them; times are microseconds since 1970."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

METADATA = MetaData()

# One row for each row of the append-only tables, in the order in which they came.
SEALS = Table(
    "seals",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("row_id", String(96), nullable=False),
    Column("seal", LargeBinary(32), nullable=False),
)
# What encrypts the bodies of one customer, or of one quote of nobody; a key that is gone is an erasure.
KEYS = Table(
    "keys",
    METADATA,
    Column("key_id", String(32), primary_key=True),
    Column("customer", LargeBinary(32), unique=True),
    Column("wrapped", LargeBinary, nullable=False),
)
ERASURES = Table(
    "erasures",
    METADATA,
    Column("key_id", String(32), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("actor", String(128), nullable=False),
)
# Whose master key wraps the keys.
MASTERS = Table("masters", METADATA, Column("fingerprint", String(16), primary_key=True))
QUOTES = Table(
    "quotes",
    METADATA,
    Column("quote_id", String(64), primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("channel", String(64), nullable=False),
    Column("sub_channel", String(64)),
    Column("product", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("price_minor", BigInteger),
    Column("sandbox", Boolean, nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("body", LargeBinary, nullable=False),
)
STEPS = Table(
    "steps",
    METADATA,
    Column("quote_id", String(64), ForeignKey("quotes.quote_id"), primary_key=True),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("body", LargeBinary, nullable=False),
)
REPLIES = Table(
    "replies",
    METADATA,
    Column("channel", String(64), primary_key=True),
    Column("key", LargeBinary(32), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("until_us", BigInteger, nullable=False),
    Column("quote_id", String(64)),
    Column("body", LargeBinary, nullable=False),
)
EXPOSURES = Table(
    "exposures",
    METADATA,
    Column("exposure_id", String(64), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("channel", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("body", LargeBinary, nullable=False),
)
