"""Read quotes: pages of them, the steps of one, and what a certificate is worth."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Any

from serving.clock import utc_text
from serving.errors import CursorError, UnknownQuoteError
from serving.life_cycle import as_it_stands

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from serving.access.caller import Caller
    from serving.life_cycle import QuoteLife
    from serving.records import QuoteRecord, Step
    from serving.service import QuoteService
    from serving.wire import Certificate

FORGED = {"genuine": False, "current": False, "status": None}
SUMMARY = ("status", "product", "channel", "sub_channel", "price", "created_at", "expires_at")
STANDING = frozenset({"quoted", "accepted"})


async def page(
    service: QuoteService, caller: Caller, cursor: str | None, limit: int, product: str | None
) -> dict[str, Any]:
    """Give some quotes of the caller's channel, newest first.

    Raises
    ------
    CursorError
        If the cursor is none that a page has given.
    """
    now = service.clock()
    found = await service.records.list(
        caller.channel, _opened(cursor), limit, caller.sub_channels or None, product
    )
    last = await service.records.last_steps([record.quote_id for record in found.records])
    quotes = []
    for record in found.records:
        moved = record.quote_id in last
        history = await service.records.steps(record.quote_id) if moved else ()
        quotes.append(_summary(record, history, now))
    return {"quotes": quotes, "next": None if found.cursor is None else _sealed(found.cursor)}


def _summary(record: QuoteRecord, history: Sequence[Step], now: datetime) -> dict[str, Any]:
    """Give one line of a page; of an erased quote what its row says."""
    try:
        answer = as_it_stands(record, history, now)
    except UnknownQuoteError:
        answer = {
            "status": record.status,
            "product": record.product,
            "channel": record.channel,
            "sub_channel": record.sub_channel,
            "price": None,
            "created_at": utc_text(record.created_at),
            "expires_at": utc_text(record.expires_at),
        }
    return {"quote_id": record.quote_id, **{name: answer[name] for name in SUMMARY}}


async def steps(life: QuoteLife, quote_id: str, caller: Caller) -> dict[str, Any]:
    """Give the life of a quote; what a reviewer saw is for reviewers."""
    found = await life.load(quote_id, caller)
    hidden = set() if "quotes:review" in caller.scopes else {"indication"}
    hidden |= {"ladder", "settlement"}  # of the answer, by its own rules
    begin = {
        "number": 0,
        "state": found.record.status,
        "at": utc_text(found.record.created_at),
        "actor": found.record.channel,
        "reason": None,
        "details": {},
    }
    return {
        "quote_id": quote_id,
        "status": found.state,
        "steps": [begin, *(_step(step, hidden) for step in found.steps)],
    }


def _step(step: Step, hidden: set[str]) -> dict[str, Any]:
    details = {name: value for name, value in step.body.items() if name != "changes"}
    changes = {name: value for name, value in step.body.get("changes", {}).items() if name not in hidden}
    return {
        "number": step.number,
        "state": step.state,
        "at": utc_text(step.at),
        "actor": step.actor,
        "reason": step.reason,
        "details": {**details, **changes},
    }


async def verify(service: QuoteService, certificate: Certificate) -> dict[str, Any]:
    """Tell a certificate from a forgery, and say how its quote stands."""
    if not service.signer.is_genuine(certificate.model_dump()):
        return FORGED
    try:
        record = await service.records.get(certificate.quote_id)
        answer = as_it_stands(record, await service.records.steps(record.quote_id), service.clock())
    except UnknownQuoteError:
        return {**FORGED, "genuine": True}
    newest = answer["certificate"] == certificate.model_dump()
    return {
        "genuine": True,
        "current": newest and answer["status"] in STANDING,
        "status": answer["status"],
    }


def _sealed(cursor: str) -> str:
    return urlsafe_b64encode(f"q{cursor}".encode()).rstrip(b"=").decode()


def _opened(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (Base64Error, ValueError) as error:
        raise CursorError(f"cursor {cursor!r} is none that a page has given. Hint: leave it out") from error
    if not text.startswith("q") or _sealed(text[1:]) != cursor:
        raise CursorError(f"cursor {cursor!r} is none that a page has given. Hint: leave it out")
    return text[1:]
