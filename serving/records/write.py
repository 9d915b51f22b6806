"""Write what belongs together, and seal it, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from serving.clock import to_micros
from serving.errors import ReplyConflictError, StepConflictError, StoreError, UnknownQuoteError
from serving.records.chain import read_head, row_id, seal_of
from serving.records.rows import encode_body
from serving.records.tables import EXPOSURES, QUOTES, REPLIES, SEALS, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from serving.records.rows import Exposure, QuoteRecord, Reply, Step, Write


def append(connection: Connection, writes: Sequence[Write]) -> None:
    """Insert and seal the rows of some writes, in a transaction that locks other writers out."""
    number, seal = read_head(connection)
    rows: dict[str, list[dict[str, Any]]] = {"quote": [], "step": [], "exposure": []}
    seals = []
    for kind, row in (found for write in writes for found in _sealed_rows(write)):
        number += 1
        if kind == "quote":
            row["number"] = number
        seal = seal_of(seal, number, kind, row)
        rows[kind].append(row)
        seals.append({"number": number, "kind": kind, "row_id": row_id(kind, row), "seal": seal})
    replies = [_reply_row(reply) for write in writes for reply in write.replies]
    for table, found in (
        (QUOTES, rows["quote"]),
        (STEPS, rows["step"]),
        (EXPOSURES, rows["exposure"]),
        (REPLIES, replies),
        (SEALS, seals),
    ):
        if found:
            connection.execute(insert(table), found)


def refusal(connection: Connection, write: Write) -> Exception:
    """Say why the database refused a write that breaks one of its rules."""
    for step in write.steps:
        taken = select(STEPS.c.state).where(STEPS.c.quote_id == step.quote_id, STEPS.c.step == step.number)
        state = connection.execute(taken).scalar()
        if state is not None:
            return StepConflictError(
                f"step {step.number} of quote {step.quote_id!r} has been taken already: it is {state}"
            )
        known = select(QUOTES.c.quote_id).where(QUOTES.c.quote_id == step.quote_id)
        if connection.execute(known).scalar() is None:
            return UnknownQuoteError(f"no quote has the id {step.quote_id!r}")
    for reply in write.replies:
        given = select(REPLIES.c.digest).where(REPLIES.c.channel == reply.channel, REPLIES.c.key == reply.key)
        if connection.execute(given).scalar() is not None:
            return ReplyConflictError(f"a request under the key {reply.key!r} has been answered already")
    names = [quote.quote_id for quote in write.quotes] + [one.exposure_id for one in write.exposures]
    return StoreError(f"the record store refused {', '.join(names) or 'a write'}: stored already")


def _sealed_rows(write: Write) -> Iterator[tuple[str, dict[str, Any]]]:
    for quote in write.quotes:
        yield "quote", _quote_row(quote)
    for step in write.steps:
        yield "step", _step_row(step)
    for exposure in write.exposures:
        yield "exposure", _exposure_row(exposure)


def _quote_row(quote: QuoteRecord) -> dict[str, Any]:
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
        "body": quote.text,
    }


def _step_row(step: Step) -> dict[str, Any]:
    return {
        "quote_id": step.quote_id,
        "step": step.number,
        "state": step.state,
        "at_us": to_micros(step.at),
        "actor": step.actor,
        "body": encode_body({"reason": step.reason, "body": dict(step.body)}),
    }


def _reply_row(reply: Reply) -> dict[str, Any]:
    return {
        "channel": reply.channel,
        "key": reply.key,
        "digest": reply.digest,
        "status": reply.status,
        "at_us": to_micros(reply.at),
        "until_us": to_micros(reply.until),
        "quote_id": reply.quote_id,
        "body": encode_body({"headers": dict(reply.headers)}) + b"\n" + reply.body,
    }


def _exposure_row(exposure: Exposure) -> dict[str, Any]:
    return {
        "exposure_id": exposure.exposure_id,
        "at_us": to_micros(exposure.at),
        "channel": exposure.channel,
        "kind": exposure.kind,
        "body": encode_body({"customer_id": exposure.customer_id, "body": dict(exposure.body)}),
    }
