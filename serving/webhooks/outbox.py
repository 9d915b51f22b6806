"""The outbox: who wants to be told, what is to be delivered, and what became of it.

Each function is the work of one transaction. Who claims a delivery has it for `LEASE`; a deliverer that dies
loses it then, and another sends it again: an event is sent at least once, by one deliverer at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import SystemRandom
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from sqlalchemy import and_, exists, func, insert, select, update

from serving.errors import WebhookError
from serving.records.keys import decrypt, encrypt
from serving.webhooks.events import EVENTS
from serving.webhooks.send import read_target
from serving.webhooks.tables import DELIVERIES, WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from serving.records.keys import Vault

SECOND: Final = 1_000_000
LEASE: Final = 60 * SECOND
FIRST_WAIT: Final = 5 * SECOND
LONGEST_WAIT: Final = 3_600 * SECOND
GIVEN_UP: Final = 86_400 * SECOND
_RANDOM = SystemRandom()


@dataclass(frozen=True)
class Webhook:
    """Who is told.

    Attributes
    ----------
    webhook_id, channel, url, events
        Identity, whose quotes (None: of all channels), where, and what of.
    """

    webhook_id: str
    channel: str | None
    url: str
    events: tuple[str, ...]


@dataclass(frozen=True)
class Delivery:
    """An event on its way to one receiver.

    Attributes
    ----------
    number, event_id, body
        Place in the outbox, identity of the event, and what is sent.
    url, secret
        Where to, and by which secret it is signed.
    attempts
        How often it was tried, this time included.
    since_us
        Since when, in microseconds since 1970.
    """

    number: int
    event_id: str
    body: bytes
    url: str
    secret: bytes
    attempts: int
    since_us: int


def subscribe(
    connection: Connection, vault: Vault, url: str, channel: str | None, events: Sequence[str], now_us: int
) -> tuple[str, str]:
    """Tell a receiver of events from now on; give the id of the webhook and its secret, which is shown once.

    Raises
    ------
    WebhookError
        If the URL or an event is not allowed.
    """
    read_target(url)
    unknown = [name for name in events if name not in EVENTS]
    if unknown:
        raise WebhookError(f"there is no event {unknown[0]!r}; allowed: {', '.join(EVENTS)}")
    webhook_id, secret = str(uuid4()), f"whsec_{token_hex(32)}"
    row = {
        "webhook_id": webhook_id,
        "channel": channel,
        "url": url,
        "events": " ".join(events or EVENTS),
        "secret": encrypt(vault.store_key, secret.encode(), "webhook", webhook_id),
        "at_us": now_us,
        "removed_us": None,
    }
    connection.execute(insert(WEBHOOKS), row)
    return webhook_id, secret


def unsubscribe(connection: Connection, webhook_id: str, now_us: int) -> None:
    """Tell a receiver of nothing more; what was not delivered yet is kept as dead.

    Raises
    ------
    WebhookError
        If there is no such webhook.
    """
    known = and_(WEBHOOKS.c.webhook_id == webhook_id, WEBHOOKS.c.removed_us.is_(None))
    if connection.execute(select(WEBHOOKS.c.url).where(known)).scalar() is None:
        raise WebhookError(f"there is no webhook {webhook_id!r}. Hint: premia webhook list")
    connection.execute(update(WEBHOOKS).where(known).values(removed_us=now_us))
    left = and_(DELIVERIES.c.webhook_id == webhook_id, DELIVERIES.c.state == "pending")
    connection.execute(update(DELIVERIES).where(left).values(state="dead", detail="the webhook was removed"))


def list_webhooks(connection: Connection) -> list[tuple[Webhook, dict[str, int]]]:
    """Give who is told, and how many deliveries are pending, delivered and dead."""
    counts: dict[str, dict[str, int]] = {}
    query = select(DELIVERIES.c.webhook_id, DELIVERIES.c.state, func.count()).group_by(
        DELIVERIES.c.webhook_id, DELIVERIES.c.state
    )
    for webhook_id, state, count in connection.execute(query):
        counts.setdefault(webhook_id, {})[state] = count
    hooks = connection.execute(
        select(WEBHOOKS).where(WEBHOOKS.c.removed_us.is_(None)).order_by(WEBHOOKS.c.at_us)
    )
    return [
        (
            Webhook(hook.webhook_id, hook.channel, hook.url, tuple(hook.events.split())),
            counts.get(hook.webhook_id, {}),
        )
        for hook in hooks
    ]


def replay(connection: Connection, webhook_id: str, event_id: str | None, now_us: int) -> int:
    """Send an event again, or all that were given up; give their number.

    Raises
    ------
    WebhookError
        If there is no such webhook or event.
    """
    if webhook_id not in {hook.webhook_id for hook, _ in list_webhooks(connection)}:
        raise WebhookError(f"there is no webhook {webhook_id!r}. Hint: premia webhook list")
    which = DELIVERIES.c.state == "dead" if event_id is None else DELIVERIES.c.event_id == event_id
    again = (
        update(DELIVERIES)
        .where(DELIVERIES.c.webhook_id == webhook_id, which)
        .values(state="pending", attempts=0, since_us=now_us, due_us=now_us, detail="")
    )
    found = connection.execute(again).rowcount
    if event_id is not None and not found:
        raise WebhookError(f"no event {event_id!r} was for this webhook")
    return found


def any_due(connection: Connection, now_us: int) -> bool:
    """Tell whether something may be sent now."""
    due = and_(DELIVERIES.c.state == "pending", DELIVERIES.c.due_us <= now_us)
    return connection.execute(select(DELIVERIES.c.number).where(due).limit(1)).scalar() is not None


def claim(connection: Connection, vault: Vault, now_us: int, most: int) -> list[Delivery]:
    """Take deliveries that are due, of each quote only the first that its receiver has not got yet."""
    first = DELIVERIES.alias("first")
    earlier = exists().where(
        first.c.webhook_id == DELIVERIES.c.webhook_id,
        first.c.quote_id == DELIVERIES.c.quote_id,
        first.c.state == "pending",
        first.c.number < DELIVERIES.c.number,
    )
    query = (
        select(DELIVERIES, WEBHOOKS.c.url, WEBHOOKS.c.secret)
        .join(WEBHOOKS, WEBHOOKS.c.webhook_id == DELIVERIES.c.webhook_id)
        .where(DELIVERIES.c.state == "pending", DELIVERIES.c.due_us <= now_us, ~earlier)
        .order_by(DELIVERIES.c.number)
        .limit(most)
    )
    rows = connection.execute(query).all()
    for row in rows:
        taken = {"attempts": row.attempts + 1, "due_us": now_us + LEASE}
        connection.execute(update(DELIVERIES).where(DELIVERIES.c.number == row.number).values(**taken))
    return [
        Delivery(
            row.number,
            row.event_id,
            row.body,
            row.url,
            decrypt(vault.store_key, row.secret, "webhook", row.webhook_id),
            row.attempts + 1,
            row.since_us,
        )
        for row in rows
    ]


def settle(connection: Connection, delivery: Delivery, fault: str | None, now_us: int) -> str:
    """Note what became of a delivery; give its state from then on.

    One that was claimed again in the meantime, as its lease had run out, is left to whoever has it now.
    """
    due = now_us + wait_after(delivery.attempts)
    if fault is None:
        found: dict[str, Any] = {"state": "delivered", "detail": ""}
    elif due - delivery.since_us > GIVEN_UP:
        found = {"state": "dead", "detail": fault}
    else:
        found = {"state": "pending", "detail": fault, "due_us": due}
    own = and_(
        DELIVERIES.c.number == delivery.number,
        DELIVERIES.c.attempts == delivery.attempts,
        DELIVERIES.c.state == "pending",
    )
    connection.execute(update(DELIVERIES).where(own).values(**found))
    return str(found["state"])


def wait_after(attempts: int) -> int:
    """Give how long to wait after so many attempts, in microseconds: 5 s, doubled each time, an hour at most.

    A tenth more or less by chance keeps those that failed together from coming back together.
    """
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempts - 1, 20))
    return int(wait * _RANDOM.uniform(0.9, 1.1))


def count_states(connection: Connection) -> dict[str, int]:
    """Give how many deliveries are pending, delivered and dead."""
    query = select(DELIVERIES.c.state, func.count()).group_by(DELIVERIES.c.state)
    return {str(state): int(count) for state, count in connection.execute(query)}
