"""Events that channels and claims systems send: what each must say, and what is answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from serving.clock import to_micros
from serving.wire import Code, Identity, Moment, Wire

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MOST_EVENTS = 1_000
LONGEST_SHOWN = 64
Minor = Annotated[int, Field(ge=0, le=2**53)]
Category = Annotated[str, Field(min_length=1, max_length=64)]


class OrderEvent(Wire):
    """An order was placed."""

    type: Literal["order"]
    event_id: Code
    order_id: Identity
    customer_id: Identity
    seller_id: Identity
    category: Category
    amount_minor: Minor
    ordered_at: Moment


class ReturnEvent(Wire):
    """The return of an order became known."""

    type: Literal["return"]
    event_id: Code
    order_id: Identity
    customer_id: Identity
    seller_id: Identity
    category: Category
    amount_minor: Minor
    freight_minor: Minor | None = None
    returned_at: Moment


class ClaimEvent(Wire):
    """A claim was reported."""

    type: Literal["claim"]
    event_id: Code
    claim_id: Identity
    policy_id: Identity | None = None
    product: Code
    customer_id: Identity
    seller_id: Identity | None = None
    order_id: Identity | None = None
    paid_minor: Minor
    occurred_at: Moment
    reported_at: Moment


Event = Annotated[OrderEvent | ReturnEvent | ClaimEvent, Field(discriminator="type")]
_EVENT: TypeAdapter[OrderEvent | ReturnEvent | ClaimEvent] = TypeAdapter(Event)

EventStatus = Literal["accepted", "duplicate", "conflict", "in_the_future", "invalid"]


class EventBatch(Wire):
    """Up to 1,000 events; each gets its own answer, one that is refused does not stop the others."""

    events: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_EVENTS)]


class EventAnswer(Wire):
    """What became of one event.

    `accepted`: the next quote sees it. `duplicate`: the same event was accepted before; nothing changed.
    `conflict`: its id, or its order or claim, was accepted before with another content. `in_the_future`,
    `invalid`: refused. Every refused event is kept with the reason.
    """

    index: int
    event_id: str | None
    status: EventStatus
    detail: str = ""


class EventAnswers(Wire):
    """What became of a batch."""

    received: int
    counts: dict[EventStatus, int]
    answers: list[EventAnswer]


@dataclass(frozen=True)
class Fact:
    """An event as a row of a table of the lake, of which it sets some times.

    Attributes
    ----------
    event_id, kind, key
        Identity of the message; `order`, `return` or `claim`; id of the order or claim it is about.
    table, times
        Table of the lake, and the time columns that this event sets.
    row
        Column -> value; times are microseconds since 1970.
    known_us
        When the event became known to the sender.
    """

    event_id: str
    kind: str
    key: int
    table: str
    times: frozenset[str]
    row: dict[str, int | str | None]
    known_us: int


def read_event(content: dict[str, Any]) -> Fact:
    """Read one event.

    Raises
    ------
    ValueError
        Saying which fields are wrong, and what is allowed; a `ValidationError` is one.
    """
    event = _EVENT.validate_json(json.dumps(content))
    row: dict[str, int | str | None] = {
        name: to_micros(value) if isinstance(value, datetime) else value
        for name, value in event.model_dump(exclude={"type", "event_id"}).items()
    }
    if isinstance(event, OrderEvent):
        times, table, key, known = {"ordered_at"}, "orders", event.order_id, "ordered_at"
    elif isinstance(event, ReturnEvent):
        times, table, key, known = {"returned_at"}, "orders", event.order_id, "returned_at"
    else:
        times, table, key, known = {"occurred_at", "reported_at"}, "claims", event.claim_id, "reported_at"
        if event.occurred_at > event.reported_at:
            raise ValueError(
                "occurred_at: lies after reported_at; a claim is reported when or after it occurs"
            )
    known_us = row[known]
    assert isinstance(known_us, int)  # noqa: S101 - the times of an event are never null
    return Fact(event.event_id, event.type, key, table, frozenset(times), row, known_us)


def explain(error: ValueError) -> str:
    """Say in words what is wrong with an event."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(map(_sentence, error.errors()))


def _sentence(fault: ErrorDetails) -> str:
    if fault["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        given = fault.get("ctx", {}).get("tag")
        what = "absent" if given is None else f"{given!r} is no kind of event"
        return f"type: {what}; allowed: order, return, claim"
    where = ".".join(str(part) for part in fault["loc"][1:]) or "event"
    given = fault["input"]
    shown = isinstance(given, str | int | float) and len(str(given)) <= LONGEST_SHOWN
    return f"{where}: {fault['msg']}" + (f", not {given!r}" if shown else "")
