"""The quote store: every quote is here, durably, before it is answered.

Each quote is sealed: its seal is the sha256 of the seal before it and of the whole row. A row that is changed
or removed later no longer fits its own seal, and a seal that is made to fit no longer fits the next one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

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
    from collections.abc import Iterator, Mapping
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
SEALS = Table(
    "quote_seals",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("quote_id", String(36), nullable=False, unique=True),
    Column("seal", String(64), nullable=False),
)
Seal = Literal["unchanged", "changed", "not sealed"]


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
            # The insert comes first: it takes the lock, so that no other writer can seal in between.
            connection.execute(insert(QUOTES), row)
            last = connection.execute(select(SEALS.c.seal).order_by(SEALS.c.number.desc()).limit(1)).scalar()
            seal = _seal(last or "", row)
            connection.execute(insert(SEALS), {"quote_id": quote.quote_id, "seal": seal})

    def get(self, quote_id: str) -> QuoteRecord:
        """Read a quote.

        Raises
        ------
        UnknownQuoteError
            If no quote has this id.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(QUOTES).where(QUOTES.c.quote_id == quote_id)).one_or_none()
            sealed = connection.execute(select(SEALS.c.number).where(SEALS.c.quote_id == quote_id)).scalar()
        if row is None:
            gone = "" if sealed is None else ", though one was sealed under it: it was removed from the store"
            raise UnknownQuoteError(f"no quote has the id {quote_id!r}{gone}")
        fields = row._asdict()
        return QuoteRecord(body=json.loads(fields.pop("record")), **fields)

    def check_seal(self, quote_id: str) -> Seal:
        """Say whether a quote is what was stored: by its own seal, and by that of the quote after it.

        A store whose every seal from this quote on was made anew cannot be told from an honest one.
        """
        with self._engine.connect() as connection:
            own = connection.execute(select(SEALS).where(SEALS.c.quote_id == quote_id)).one_or_none()
            if own is None:
                return "not sealed"
            near = {
                number: (seal, quote)
                for number, quote, seal in connection.execute(
                    select(SEALS).where(SEALS.c.number.between(own.number - 1, own.number + 1))
                )
            }
            rows = {
                row.quote_id: row._asdict()
                for row in connection.execute(
                    select(QUOTES).where(QUOTES.c.quote_id.in_([quote for _, quote in near.values()]))
                )
            }
        for number in (own.number, own.number + 1):
            if number not in near:
                continue
            seal, quote = near[number]
            before = near[number - 1][0] if number - 1 in near else ""
            if quote not in rows or seal != _seal(before, rows[quote]):
                return "changed"
        return "unchanged"

    def of_product(self, product: str) -> Iterator[QuoteRecord]:
        """Give the quotes of a product, oldest first."""
        query = select(QUOTES).where(QUOTES.c.product == product).order_by(QUOTES.c.created_at)
        with self._engine.connect().execution_options(yield_per=1000) as connection:
            for row in connection.execute(query):
                fields = row._asdict()
                yield QuoteRecord(body=json.loads(fields.pop("record")), **fields)

    def close(self) -> None:
        """Give the file back."""
        self._engine.dispose()


def _seal(before: str, row: Mapping[str, Any]) -> str:
    """Give the seal of a row that follows another."""
    text = json.dumps({**row, "before": before}, sort_keys=True, ensure_ascii=False, default=_isoformat)
    return hashlib.sha256(text.encode()).hexdigest()


def _isoformat(moment: datetime) -> str:
    return moment.isoformat()


def _durable(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection has no common type
    """Write ahead, and wait for the disk at each commit: an answered quote survives a power cut."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
