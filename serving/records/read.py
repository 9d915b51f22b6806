"""Read the record store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from serving.clock import from_micros, to_micros
from serving.errors import CursorError, StoreError, UnknownQuoteError
from serving.records.keys import decrypt
from serving.records.rows import EMPTY, Exposure, Page, QuoteRecord, Reply, Step
from serving.records.tables import ERASURES, EXPOSURES, KEYS, QUOTES, REPLIES, SEALS, STEPS

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from sqlalchemy import ColumnElement, Connection, Row, Select

    from serving.records.keys import Vault

# Rows read at once by those who read everything.
CHUNK = 1000
_KEY = (KEYS.c.wrapped, ERASURES.c.key_id.label("dropped"))


def _with_keys(table: Any) -> Select[Any]:  # noqa: ANN401 - a table or a join of tables
    """Select quotes or exposures with their keys, or the erasure of these."""
    return (
        select(table, *_KEY)
        .outerjoin(KEYS, KEYS.c.key_id == table.c.key_id)
        .outerjoin(ERASURES, ERASURES.c.key_id == table.c.key_id)
    )


def read_quote(connection: Connection, vault: Vault, quote_id: str) -> QuoteRecord:
    """Read a quote.

    Raises
    ------
    UnknownQuoteError
        If no quote has this id.
    """
    row = connection.execute(_with_keys(QUOTES).where(QUOTES.c.quote_id == quote_id)).one_or_none()
    if row is None:
        sealed = select(SEALS.c.number).where(SEALS.c.kind == "quote", SEALS.c.row_id == quote_id)
        gone = (
            ""
            if connection.execute(sealed).scalar() is None
            else ", though one was sealed under it: it was removed from the store"
        )
        raise UnknownQuoteError(f"no quote has the id {quote_id!r}{gone}")
    return _quote(vault, row)


def read_steps(connection: Connection, vault: Vault, quote_id: str) -> tuple[Step, ...]:
    """Read the steps of a quote in their order."""
    query = _steps(STEPS.c.quote_id == quote_id).order_by(STEPS.c.step)
    return tuple(_step(vault, row) for row in connection.execute(query))


def read_last_steps(connection: Connection, vault: Vault, quote_ids: Collection[str]) -> dict[str, Step]:
    """Read the last step of each quote that has one."""
    other = STEPS.alias()
    last = select(func.max(other.c.step)).where(other.c.quote_id == STEPS.c.quote_id).scalar_subquery()
    query = _steps(STEPS.c.quote_id.in_(quote_ids) & (STEPS.c.step == last))
    return {row.quote_id: _step(vault, row) for row in connection.execute(query)}


def _steps(which: ColumnElement[bool]) -> Select[Any]:
    return (
        select(STEPS, QUOTES.c.key_id, *_KEY)
        .join(QUOTES, QUOTES.c.quote_id == STEPS.c.quote_id)
        .outerjoin(KEYS, KEYS.c.key_id == QUOTES.c.key_id)
        .outerjoin(ERASURES, ERASURES.c.key_id == QUOTES.c.key_id)
        .where(which)
    )


def read_page(
    connection: Connection,
    vault: Vault,
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
    query = _with_keys(QUOTES)
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
    return Page(tuple(_quote(vault, row) for row in rows[:limit]), following)


def read_reply(connection: Connection, vault: Vault, channel: str, key: str, now: datetime) -> Reply | None:
    """Read what was answered to a request; None when nothing was, or it is no longer kept."""
    name = vault.name("reply", key)
    query = (
        select(REPLIES, QUOTES.c.key_id, *_KEY)
        .outerjoin(QUOTES, QUOTES.c.quote_id == REPLIES.c.quote_id)
        .outerjoin(KEYS, KEYS.c.key_id == QUOTES.c.key_id)
        .outerjoin(ERASURES, ERASURES.c.key_id == QUOTES.c.key_id)
        .where(REPLIES.c.channel == channel, REPLIES.c.key == name, REPLIES.c.until_us > to_micros(now))
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    cipher = vault.store_key if row.quote_id is None else _key(vault, row)
    if cipher is None:
        return None
    head, _, body = decrypt(cipher, row.body, "reply", f"{channel}/{name.hex()}").partition(b"\n")
    return Reply(
        channel=row.channel,
        key=key,
        digest=row.digest,
        status=row.status,
        headers=json.loads(head)["headers"],
        body=body,
        at=from_micros(row.at_us),
        until=from_micros(row.until_us),
        quote_id=row.quote_id,
    )


def read_quotes(
    connection: Connection, vault: Vault, which: ColumnElement[bool], after: int
) -> list[tuple[int, QuoteRecord]]:
    """Read the next `CHUNK` quotes after a number, oldest first."""
    query = _with_keys(QUOTES).where(which, QUOTES.c.number > after).order_by(QUOTES.c.number).limit(CHUNK)
    return [(row.number, _quote(vault, row)) for row in connection.execute(query)]


def read_exposures(connection: Connection, vault: Vault, kind: str) -> list[Exposure]:
    """Read what was shown, oldest first, but for what was erased."""
    query = _with_keys(EXPOSURES).where(EXPOSURES.c.kind == kind).order_by(EXPOSURES.c.at_us)
    found = (_exposure(vault, row) for row in connection.execute(query))
    return [one for one in found if one is not None]


def _key(vault: Vault, row: Row[Any]) -> AESGCM | None:
    """Give the key of a row; None when it was dropped on purpose."""
    if row.wrapped is not None:
        return vault.unwrap(row.key_id, row.wrapped)
    if row.dropped is None:
        raise StoreError(
            f"key {row.key_id} is missing, and no erasure has dropped it. Hint: restore the table of keys"
        )
    return None


def _quote(vault: Vault, row: Row[Any]) -> QuoteRecord:
    key = _key(vault, row)
    owner, text = b"", EMPTY
    if key is not None:
        owner, _, text = decrypt(key, row.body, "quote", row.quote_id).partition(b"\n")
    return QuoteRecord(
        quote_id=row.quote_id,
        created_at=from_micros(row.created_us),
        expires_at=from_micros(row.expires_us),
        channel=row.channel,
        product=row.product,
        status=row.status,
        price_minor=row.price_minor,
        text=text,
        customer_id=int(owner) if owner else None,
        sub_channel=row.sub_channel,
        sandbox=row.sandbox,
        key_id=row.key_id,
        erased=key is None,
    )


def _step(vault: Vault, row: Row[Any]) -> Step:
    key = _key(vault, row)
    held: dict[str, Any] = {"reason": None, "body": {}}
    if row.body and key is not None:
        held = json.loads(decrypt(key, row.body, "step", f"{row.quote_id}/{row.step}"))
    at = from_micros(row.at_us)
    return Step(row.quote_id, row.step, row.state, at, row.actor, held["reason"], held["body"])


def _exposure(vault: Vault, row: Row[Any]) -> Exposure | None:
    key = _key(vault, row)
    if key is None:
        return None
    held = json.loads(decrypt(key, row.body, "exposure", row.exposure_id))
    at = from_micros(row.at_us)
    return Exposure(row.exposure_id, at, row.channel, row.kind, held["body"], held["customer_id"])
