"""Read the record store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from serving.clock import from_micros, to_micros
from serving.errors import CursorError, UnknownQuoteError
from serving.records.rows import Exposure, Page, QuoteRecord, Reply, Step
from serving.records.tables import EXPOSURES, QUOTES, REPLIES, SEALS, STEPS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from sqlalchemy import Connection, Row, Select


def read_quote(connection: Connection, quote_id: str) -> QuoteRecord:
    """Read a quote.

    Raises
    ------
    UnknownQuoteError
        If no quote has this id.
    """
    row = connection.execute(select(QUOTES).where(QUOTES.c.quote_id == quote_id)).one_or_none()
    if row is None:
        sealed = select(SEALS.c.number).where(SEALS.c.kind == "quote", SEALS.c.row_id == quote_id)
        gone = (
            ""
            if connection.execute(sealed).scalar() is None
            else ", though one was sealed under it: it was removed from the store"
        )
        raise UnknownQuoteError(f"no quote has the id {quote_id!r}{gone}")
    return _quote(row)


def read_steps(connection: Connection, quote_id: str) -> tuple[Step, ...]:
    """Read the steps of a quote in their order."""
    query = select(STEPS).where(STEPS.c.quote_id == quote_id).order_by(STEPS.c.step)
    return tuple(_step(row) for row in connection.execute(query))


def read_last_steps(connection: Connection, quote_ids: Collection[str]) -> dict[str, Step]:
    """Read the last step of each quote that has one."""
    last = (
        select(STEPS.c.quote_id, func.max(STEPS.c.step).label("step"))
        .where(STEPS.c.quote_id.in_(quote_ids))
        .group_by(STEPS.c.quote_id)
        .subquery()
    )
    query = select(STEPS).join(last, (STEPS.c.quote_id == last.c.quote_id) & (STEPS.c.step == last.c.step))
    return {row.quote_id: _step(row) for row in connection.execute(query)}


def read_page(
    connection: Connection,
    channel: str | None,
    cursor: str | None,
    limit: int,
    sub_channels: Collection[str] | None,
    product: str | None,
) -> Page:
    """Read some quotes of a channel, newest first.

    Raises
    ------
    CursorError
        If the cursor is none that a page has given.
    """
    query = select(QUOTES)
    if channel is not None:
        query = query.where(QUOTES.c.channel == channel)
    if sub_channels is not None:
        query = query.where(QUOTES.c.sub_channel.in_(sub_channels))
    if product is not None:
        query = query.where(QUOTES.c.product == product)
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 18):
            raise CursorError(f"cursor {cursor!r} is none that a page has given. Hint: leave it out")
        query = query.where(QUOTES.c.number < int(cursor))
    rows = connection.execute(query.order_by(QUOTES.c.number.desc()).limit(limit + 1)).all()
    following = str(rows[limit - 1].number) if len(rows) > limit else None
    return Page(tuple(_quote(row) for row in rows[:limit]), following)


def read_reply(connection: Connection, channel: str, key: str, now: datetime) -> Reply | None:
    """Read what was answered to a request; None when nothing was, or it is no longer kept."""
    query = select(REPLIES).where(
        REPLIES.c.channel == channel, REPLIES.c.key == key, REPLIES.c.until_us > to_micros(now)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    head, _, body = row.body.partition(b"\n")
    return Reply(
        channel=row.channel,
        key=row.key,
        digest=row.digest,
        status=row.status,
        headers=json.loads(head)["headers"],
        body=body,
        at=from_micros(row.at_us),
        until=from_micros(row.until_us),
        quote_id=row.quote_id,
    )


def quotes_of_product(product: str) -> Select[Any]:
    """Select the quotes of a product, oldest first."""
    return select(QUOTES).where(QUOTES.c.product == product).order_by(QUOTES.c.number)


def exposures_of_kind(kind: str) -> Select[Any]:
    """Select what was shown, oldest first."""
    return select(EXPOSURES).where(EXPOSURES.c.kind == kind).order_by(EXPOSURES.c.at_us)


def as_quotes(rows: Collection[Row[Any]]) -> Iterator[QuoteRecord]:
    """Give rows of `quotes_of_product` as records."""
    return (_quote(row) for row in rows)


def as_exposures(rows: Collection[Row[Any]]) -> Iterator[Exposure]:
    """Give rows of `exposures_of_kind` as exposures."""
    return (_exposure(row) for row in rows)


def _quote(row: Row[Any]) -> QuoteRecord:
    return QuoteRecord(
        quote_id=row.quote_id,
        created_at=from_micros(row.created_us),
        expires_at=from_micros(row.expires_us),
        channel=row.channel,
        product=row.product,
        status=row.status,
        price_minor=row.price_minor,
        text=row.body,
        sub_channel=row.sub_channel,
        sandbox=row.sandbox,
    )


def _step(row: Row[Any]) -> Step:
    held = json.loads(row.body)
    return Step(
        row.quote_id, row.step, row.state, from_micros(row.at_us), row.actor, held["reason"], held["body"]
    )


def _exposure(row: Row[Any]) -> Exposure:
    held = json.loads(row.body)
    at = from_micros(row.at_us)
    return Exposure(row.exposure_id, at, row.channel, row.kind, held["body"], held["customer_id"])
