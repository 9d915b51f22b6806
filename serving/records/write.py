"""Write what belongs together, encrypt and seal it, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from serving.clock import to_micros
from serving.errors import (
    ErasedQuoteError,
    ReplyConflictError,
    StepConflictError,
    StoreError,
    UnknownQuoteError,
)
from serving.records.chain import read_head, row_id, seal_of
from serving.records.hot import fetch_keys, insert_rows
from serving.records.keys import encrypt
from serving.records.rows import encode_body
from serving.records.tables import EXPOSURES, KEYS, QUOTES, REPLIES, SEALS, STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from sqlalchemy import Connection

    from serving.records.keys import Vault
    from serving.records.rows import Exposure, QuoteRecord, Reply, Step, Write

Key = tuple[str, "AESGCM | None"]


@dataclass
class _Group:
    """Rows of some writes, and the keys that encrypt them."""

    vault: Vault
    number: int
    seal: bytes
    of_customer: dict[int, Key] = field(default_factory=dict)
    of_quote: dict[str, Key] = field(default_factory=dict)
    rows: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {"key": [], "quote": [], "step": [], "exposure": [], "reply": [], "seal": []}
    )

    def key_for(self, customer_id: int | None) -> Key:
        """Give the key of a customer; who has none, and nobody each time, gets a new one."""
        found = None if customer_id is None else self.of_customer.get(customer_id)
        if found is not None:
            return found
        key_id, wrapped = self.vault.new_key()
        hashed = None if customer_id is None else self.vault.name("customer", str(customer_id))
        self.rows["key"].append({"key_id": key_id, "customer": hashed, "wrapped": wrapped})
        key = key_id, self.vault.unwrap(key_id, wrapped)
        if customer_id is not None:
            self.of_customer[customer_id] = key
        return key

    def key_of(self, quote_id: str) -> AESGCM:
        """Give the key of a quote that is stored, or is about to be."""
        if quote_id not in self.of_quote:
            raise UnknownQuoteError(f"no quote has the id {quote_id!r}")
        key = self.of_quote[quote_id][1]
        if key is None:
            raise ErasedQuoteError(f"the contents of quote {quote_id!r} were erased: nothing can be added")
        return key

    def add_sealed(self, kind: str, row: dict[str, Any]) -> None:
        """Seal a row after the one before."""
        self.number += 1
        if kind == "quote":
            row["number"] = self.number
        self.seal = seal_of(self.seal, self.number, kind, row)
        self.rows[kind].append(row)
        sealed = {"number": self.number, "kind": kind, "row_id": row_id(kind, row), "seal": self.seal}
        self.rows["seal"].append(sealed)


def append(connection: Connection, vault: Vault, writes: Sequence[Write]) -> None:
    """Insert and seal the rows of some writes, in a transaction that locks other writers out."""
    group = _Group(vault, *read_head(connection))
    _find_keys(connection, group, writes)
    for write in writes:
        for quote in write.quotes:
            group.add_sealed("quote", _quote_row(group, quote))
        for step in write.steps:
            group.add_sealed("step", _step_row(group, step))
        for exposure in write.exposures:
            group.add_sealed("exposure", _exposure_row(group, exposure))
        group.rows["reply"] += [_reply_row(group, reply) for reply in write.replies]
    for table, kind in (
        (KEYS, "key"),
        (QUOTES, "quote"),
        (STEPS, "step"),
        (EXPOSURES, "exposure"),
        (REPLIES, "reply"),
        (SEALS, "seal"),
    ):
        if group.rows[kind]:
            insert_rows(connection, table, group.rows[kind])


def _find_keys(connection: Connection, group: _Group, writes: Sequence[Write]) -> None:
    """Look up which keys exist: another process may have made one, or dropped it, since we last looked."""
    vault = group.vault
    owned = [quote.customer_id for write in writes for quote in write.quotes]
    owned += [exposure.customer_id for write in writes for exposure in write.exposures]
    names = {vault.name("customer", str(owner)): owner for owner in owned if owner is not None}
    if names:
        for key_id, customer, wrapped in fetch_keys(connection, tuple(names)):
            group.of_customer[names[customer]] = key_id, vault.unwrap(key_id, wrapped)
    new = {quote.quote_id for write in writes for quote in write.quotes}
    named = {step.quote_id for write in writes for step in write.steps}
    named |= {reply.quote_id for write in writes for reply in write.replies if reply.quote_id is not None}
    if named - new:
        stored = (
            select(QUOTES.c.quote_id, QUOTES.c.key_id, KEYS.c.wrapped)
            .outerjoin(KEYS, KEYS.c.key_id == QUOTES.c.key_id)
            .where(QUOTES.c.quote_id.in_(named - new))
        )
        for quote_id, key_id, wrapped in connection.execute(stored):
            key = None if wrapped is None else vault.unwrap(key_id, wrapped)
            group.of_quote[quote_id] = key_id, key


def refusal(connection: Connection, vault: Vault, write: Write) -> Exception:
    """Say why the database refused a write that breaks one of its rules."""
    for step in write.steps:
        taken = select(STEPS.c.state).where(STEPS.c.quote_id == step.quote_id, STEPS.c.step == step.number)
        state = connection.execute(taken).scalar()
        if state is not None:
            return StepConflictError(
                f"step {step.number} of quote {step.quote_id!r} has been taken already: it is {state}"
            )
    for reply in write.replies:
        name = vault.name("reply", reply.key)
        given = select(REPLIES.c.digest).where(REPLIES.c.channel == reply.channel, REPLIES.c.key == name)
        if connection.execute(given).scalar() is not None:
            return ReplyConflictError(f"a request under the key {reply.key!r} has been answered already")
    names = [quote.quote_id for quote in write.quotes] + [one.exposure_id for one in write.exposures]
    return StoreError(f"the record store refused {', '.join(names) or 'a write'}: stored already")


def _quote_row(group: _Group, quote: QuoteRecord) -> dict[str, Any]:
    key_id, key = group.of_quote[quote.quote_id] = group.key_for(quote.customer_id)
    assert key is not None  # noqa: S101 - found or made just now
    owner = b"" if quote.customer_id is None else str(quote.customer_id).encode()
    return {
        "quote_id": quote.quote_id,
        "number": 0,
        "created_us": to_micros(quote.created_at),
        "expires_us": to_micros(quote.expires_at),
        "channel": quote.channel,
        "sub_channel": quote.sub_channel,
        "product": quote.product,
        "status": quote.status,
        "price_minor": quote.price_minor,
        "sandbox": quote.sandbox,
        "key_id": key_id,
        "body": encrypt(key, owner + b"\n" + quote.text, "quote", quote.quote_id),
    }


def _step_row(group: _Group, step: Step) -> dict[str, Any]:
    text = b"" if step.reason is None and not step.body else _words(step)
    body = text and encrypt(group.key_of(step.quote_id), text, "step", f"{step.quote_id}/{step.number}")
    return {
        "quote_id": step.quote_id,
        "step": step.number,
        "state": step.state,
        "at_us": to_micros(step.at),
        "actor": step.actor,
        "body": body,
    }


def _words(step: Step) -> bytes:
    return encode_body({"reason": step.reason, "body": dict(step.body)})


def _reply_row(group: _Group, reply: Reply) -> dict[str, Any]:
    key = group.vault.store_key if reply.quote_id is None else group.key_of(reply.quote_id)
    name = group.vault.name("reply", reply.key)
    text = encode_body({"headers": dict(reply.headers)}) + b"\n" + reply.body
    return {
        "channel": reply.channel,
        "key": name,
        "digest": reply.digest,
        "status": reply.status,
        "at_us": to_micros(reply.at),
        "until_us": to_micros(reply.until),
        "quote_id": reply.quote_id,
        "body": encrypt(key, text, "reply", f"{reply.channel}/{name.hex()}"),
    }


def _exposure_row(group: _Group, exposure: Exposure) -> dict[str, Any]:
    key_id, key = group.key_for(exposure.customer_id)
    assert key is not None  # noqa: S101 - found or made just now
    text = encode_body({"customer_id": exposure.customer_id, "body": dict(exposure.body)})
    return {
        "exposure_id": exposure.exposure_id,
        "at_us": to_micros(exposure.at),
        "channel": exposure.channel,
        "kind": exposure.kind,
        "key_id": key_id,
        "body": encrypt(key, text, "exposure", exposure.exposure_id),
    }
