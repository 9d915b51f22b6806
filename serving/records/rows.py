"""Rows of the record store as values, and what is written together."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from serving.errors import ErasedQuoteError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

EMPTY = b"{}"


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Write what a row holds as JSON.

    Raises
    ------
    ValueError
        If a number is not finite: JSON has no word for it.
    """
    text = to_json(body)
    if b"NaN" in text or b"Infinity" in text:  # a number that is not finite, or a text that says so
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return text


@dataclass(frozen=True)
class QuoteRecord:
    """A quote as it was given; what became of it since is in its steps.

    Attributes
    ----------
    quote_id
        Identity.
    created_at, expires_at
        UTC without zone.
    channel, sub_channel, product
        Who asked, and for what.
    status
        With which the quote came into being: `quoted`, `referred`, `declined` or `draft`.
    price_minor
        Price in minor units; None unless quoted.
    text
        JSON object of inputs, profile, model, plan, ladder, reasons and rule outcomes, as they were used.
    customer_id
        Whose quote it is; None where nobody was named.
    sandbox
        Whether it was given for practice, so that nobody learns from it.
    key_id
        Random id of the customer's key; the store knows it.
    erased
        Whether that key was dropped: `text` and `customer_id` are lost then.
    """

    quote_id: str
    created_at: datetime
    expires_at: datetime
    channel: str
    product: str
    status: str
    price_minor: int | None
    text: bytes
    customer_id: int | None = None
    sub_channel: str | None = None
    sandbox: bool = False
    key_id: str | None = field(default=None, compare=False)
    erased: bool = False

    @cached_property
    def body(self) -> dict[str, Any]:
        """What `text` holds.

        Raises
        ------
        ErasedQuoteError
            If nobody can read it any more.
        """
        if self.erased:
            raise ErasedQuoteError(f"the contents of quote {self.quote_id!r} were erased")
        body: dict[str, Any] = json.loads(self.text)
        return body


@dataclass(frozen=True)
class Step:
    """One step in the life of a quote.

    Attributes
    ----------
    quote_id, number
        Which quote, and which step of it, from 1: two steps of one number cannot both be taken.
    state
        In which the quote is from then on.
    at
        UTC without zone.
    actor
        Who took it: id of a key, name of a user, or `service`.
    reason
        Why, in words; kept as secret as `body`.
    body
        What belongs to it beside.
    """

    quote_id: str
    number: int
    state: str
    at: datetime
    actor: str
    reason: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """What was answered to a request that may come again.

    Attributes
    ----------
    channel, key
        Who asked, and the idempotency key of the request; together they are unique.
    digest
        Of the request, so that another one under the same key is seen.
    status, headers, body
        The answer.
    at, until
        When it was given, and how long it is kept; UTC without zone.
    quote_id
        The quote that it tells of: the reply is readable as long as that is; None where there is none.
    """

    channel: str
    key: str
    digest: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    at: datetime
    until: datetime
    quote_id: str | None = None


@dataclass(frozen=True)
class Exposure:
    """Something that was shown to a customer, from which it can be learned later.

    Attributes
    ----------
    exposure_id
        Identity.
    at
        UTC without zone.
    channel, kind
        Where it was shown, and what: `recommendation`, ...
    body
        What was shown, with which propensity, by which version.
    customer_id
        To whom; None where nobody was named.
    """

    exposure_id: str
    at: datetime
    channel: str
    kind: str
    body: Mapping[str, Any]
    customer_id: int | None = None


@dataclass(frozen=True)
class Write:
    """What becomes durable together or not at all."""

    quotes: tuple[QuoteRecord, ...] = ()
    steps: tuple[Step, ...] = ()
    replies: tuple[Reply, ...] = ()
    exposures: tuple[Exposure, ...] = ()


@dataclass(frozen=True)
class Page:
    """Some quotes, newest first, and the cursor of those before them; None after the last."""

    records: tuple[QuoteRecord, ...]
    cursor: str | None
