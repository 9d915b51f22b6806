"""Erase a customer from the records by dropping the key; the chain of seals stands and tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select

from serving.clock import to_micros
from serving.errors import UnknownQuoteError
from serving.records.chain import read_head, seal_of
from serving.records.tables import ERASURES, KEYS, QUOTES, REPLIES, SEALS

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from serving.records.keys import Vault


def key_of_customer(connection: Connection, vault: Vault, customer_id: int) -> str | None:
    """Give the id of a customer's key; None when no record is of this customer, or no longer."""
    name = vault.name("customer", str(customer_id))
    found: str | None = connection.execute(select(KEYS.c.key_id).where(KEYS.c.customer == name)).scalar()
    return found


def key_of_quote(connection: Connection, quote_id: str) -> str:
    """Give the id of the key of a quote: the customer's, or its own where nobody was named.

    Raises
    ------
    UnknownQuoteError
        If no quote has this id.
    """
    found: str | None = connection.execute(
        select(QUOTES.c.key_id).where(QUOTES.c.quote_id == quote_id)
    ).scalar()
    if found is None:
        raise UnknownQuoteError(f"no quote has the id {quote_id!r}")
    return found


def drop_key(connection: Connection, key_id: str, at: datetime, actor: str) -> int:
    """Drop a key and seal that it was; give the number of quotes that nobody can read any more."""
    dropped = connection.execute(delete(KEYS).where(KEYS.c.key_id == key_id)).rowcount
    if not dropped:
        return 0
    quotes = select(QUOTES.c.quote_id).where(QUOTES.c.key_id == key_id)
    connection.execute(delete(REPLIES).where(REPLIES.c.quote_id.in_(quotes)))
    row = {"key_id": key_id, "at_us": to_micros(at), "actor": actor}
    connection.execute(insert(ERASURES), row)
    number, before = read_head(connection)
    seal = seal_of(before, number + 1, "erasure", row)
    sealed = {"number": number + 1, "kind": "erasure", "row_id": key_id, "seal": seal}
    connection.execute(insert(SEALS), sealed)
    return connection.execute(
        select(func.count()).select_from(QUOTES).where(QUOTES.c.key_id == key_id)
    ).scalar_one()
