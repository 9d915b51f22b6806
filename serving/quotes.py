"""The quote store: every quote is here, durably, before it is answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
)

from serving.errors import UnknownQuoteError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

METADATA = MetaData()
QUOTES = Table(
    "quotes",
    METADATA,
    Column("quote_id", String(36), primary_key=True),
    Column("created_at", DateTime, nullable=False, index=True),
    Column("expires_at", DateTime, nullable=False),
    Column("channel", String(64), nullable=False),
    Column("product", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("price_minor", Integer),
    Column("record", Text, nullable=False),
)


@dataclass(frozen=True)
class QuoteRecord:
    """Everything that is known of one quote.

    Attributes
    ----------
    quote_id
        Identity.
    created_at, expires_at
        UTC without zone.
    channel, product, status
        Who asked, for what, and whether it is `quoted`, `referred` or `declined`.
    price_minor
        Price in minor units; None unless quoted.
    body
        Inputs, profile, model, plan, ladder, reasons and rule outcomes, as they were used.
    """

    quote_id: str
    created_at: datetime
    expires_at: datetime
    channel: str
    product: str
    status: str
    price_minor: int | None
    body: dict[str, Any]


class QuoteStore:
    """Append and read quotes in one SQLite file.

    Parameters
    ----------
    path
        The file; it and its folder are made when absent.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _durable)
        METADATA.create_all(self._engine)

    def append(self, quote: QuoteRecord) -> None:
        """Store a quote; when this returns it is on the disk."""
        row = {
            "quote_id": quote.quote_id,
            "created_at": quote.created_at,
            "expires_at": quote.expires_at,
            "channel": quote.channel,
            "product": quote.product,
            "status": quote.status,
            "price_minor": quote.price_minor,
            "record": json.dumps(quote.body, ensure_ascii=False, allow_nan=False),
        }
        with self._engine.begin() as connection:
            connection.execute(insert(QUOTES), row)

    def get(self, quote_id: str) -> QuoteRecord:
        """Read a quote.

        Raises
        ------
        UnknownQuoteError
            If no quote has this id.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(QUOTES).where(QUOTES.c.quote_id == quote_id)).one_or_none()
        if row is None:
            raise UnknownQuoteError(f"no quote has the id {quote_id!r}")
        fields = row._asdict()
        return QuoteRecord(body=json.loads(fields.pop("record")), **fields)

    def close(self) -> None:
        """Give the file back."""
        self._engine.dispose()


def _durable(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection has no common type
    """Write ahead, and wait for the disk at each commit: an answered quote survives a power cut."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
