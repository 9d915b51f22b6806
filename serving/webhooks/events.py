"""From what is written to what is told: an event for each step of a quote, a row for each who asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import insert, select

from serving.clock import to_micros, utc_text
from serving.records.tables import QUOTES
from serving.webhooks.tables import DELIVERIES, WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from serving.records.rows import Write

# State that a step leads to -> event. Only the decision of a person leads a quote back to `quoted`.
OF_STEP: Final[Mapping[str, str]] = {
    "quoted": "quote.reviewed",
    "accepted": "quote.accepted",
    "declined": "quote.declined",
    "referred": "quote.referred",
    "revoked": "quote.revoked",
    "superseded": "quote.superseded",
}
# State a quote begins in -> event. Others than who asked must learn of these.
OF_QUOTE: Final[Mapping[str, str]] = {"referred": "quote.referred", "declined": "quote.declined"}
EVENTS: Final = tuple(sorted({*OF_STEP.values(), *OF_QUOTE.values()}))


@dataclass(frozen=True)
class Event:
    """Something became of a quote.

    Attributes
    ----------
    event_id, name
        Identity, the same however often it is delivered; one of `EVENTS`.
    quote_id, channel, product, state, step, at
        What became of which quote, by which of its steps (0: its begin), and when (UTC without zone).
    """

    event_id: str
    name: str
    quote_id: str
    channel: str
    product: str
    state: str
    step: int
    at: datetime

    def body(self) -> bytes:
        """Give the event as it is sent: no personal data; the receiver reads the quote by its own key."""
        shown = {
            "id": self.event_id,
            "type": self.name,
            "created_at": utc_text(self.at),
            "data": {
                "quote_id": self.quote_id,
                "channel": self.channel,
                "product": self.product,
                "status": self.state,
                "step": self.step,
            },
        }
        return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()


def enqueue(connection: Connection, writes: Sequence[Write]) -> None:
    """Store the events of some writes for who asked for them, in the transaction of the writes."""
    told = any(write.steps or any(quote.status in OF_QUOTE for quote in write.quotes) for write in writes)
    if not told:  # as with most quotes; they pay nothing for webhooks
        return
    hooks = connection.execute(select(WEBHOOKS).where(WEBHOOKS.c.removed_us.is_(None))).all()
    if not hooks:
        return
    rows = [
        _row(event, hook.webhook_id)
        for event in _events(connection, writes)
        for hook in hooks
        if hook.channel in (None, event.channel) and event.name in hook.events.split()
    ]
    if rows:
        connection.execute(insert(DELIVERIES), rows)


def _events(connection: Connection, writes: Sequence[Write]) -> list[Event]:
    """Give the events in the order of what they tell of; sandbox quotes tell nobody anything."""
    sold = {
        quote.quote_id: (quote.channel, quote.product, quote.sandbox)
        for write in writes
        for quote in write.quotes
    }
    known = {step.quote_id for write in writes for step in write.steps} - set(sold)
    columns = (QUOTES.c.quote_id, QUOTES.c.channel, QUOTES.c.product, QUOTES.c.sandbox)
    for quote_id, *sale in connection.execute(select(*columns).where(QUOTES.c.quote_id.in_(known))):
        sold[quote_id] = tuple(sale)
    found: list[tuple[str, str, str, int, datetime]] = []
    for write in writes:
        found += [
            (OF_QUOTE[quote.status], quote.quote_id, quote.status, 0, quote.created_at)
            for quote in write.quotes
            if quote.status in OF_QUOTE
        ]
        found += [
            (OF_STEP[step.state], step.quote_id, step.state, step.number, step.at)
            for step in write.steps
            if step.state in OF_STEP
        ]
    return [
        Event(f"evt-{quote_id}-{number}", name, quote_id, channel, product, state, number, at)
        for name, quote_id, state, number, at in found
        for channel, product, sandbox in [sold[quote_id]]
        if not sandbox
    ]


def _row(event: Event, webhook_id: str) -> dict[str, Any]:
    at = to_micros(event.at)
    return {
        "event_id": event.event_id,
        "webhook_id": webhook_id,
        "quote_id": event.quote_id,
        "event": event.name,
        "body": event.body(),
        "state": "pending",
        "attempts": 0,
        "since_us": at,
        "due_us": at,
        "detail": "",
    }
