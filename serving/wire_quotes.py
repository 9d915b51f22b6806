"""Wire types of the life of a quote, of comparisons, batches and certificates."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from serving.wire import (
    LARGEST_INTEGER,
    LocalText,
    Moment,
    MoneyAmount,
    Problem,
    QuoteAnswer,
    QuoteRequest,
    RiskValue,
    Wire,
    _text,
)

MOST_IN_BATCH = 100
MOST_COMPARED = 10
Why = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_text)]
Minor = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
DeclineReason = Literal["price", "cover", "competitor", "not_needed", "timing", "trust", "other"]


class AcceptRequest(Wire):
    """Accept a quote at its price."""

    price_minor: Minor = Field(description="The price that the customer saw; it must be that of the quote.")


class DeclineRequest(Wire):
    """Say that the customer does not want it."""

    reason: DeclineReason = Field(description="Counts for what is learned of demand.")
    text: Why | None = None


class ReviewRequest(Wire):
    """Ask that a person looks at it."""

    text: Why = Field(description="What the customer says.")


class RevokeRequest(Wire):
    """Take a quote back."""

    reason: Why


class DecisionRequest(Wire):
    """What a person decides on a referred quote."""

    decision: Literal["quote", "decline", "confirm"] = Field(
        description="`confirm`: what was answered before the customer asked for a review stands."
    )
    price_minor: Minor | None = Field(None, description="With `quote`; inside what is filed.")
    reason: Why


class Completion(Wire):
    """What was missing in a draft."""

    customer_id: Annotated[int, Field(ge=0, le=LARGEST_INTEGER)] | None = None
    seller_id: Annotated[int, Field(ge=0, le=LARGEST_INTEGER)] | None = None
    sub_channel: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    risk: Annotated[dict[str, RiskValue], Field(max_length=200)] = Field(default_factory=dict)


class StepView(Wire):
    """One step in the life of a quote."""

    number: int
    state: str
    at: Moment
    actor: str
    reason: str | None
    details: dict[str, Any]


class Steps(Wire):
    """The life of a quote so far; number 0 is its begin."""

    quote_id: str
    status: str
    steps: list[StepView]


class QuoteSummary(Wire):
    """A quote in a list."""

    quote_id: str
    status: str
    product: str
    channel: str
    sub_channel: str | None
    price: MoneyAmount | None
    created_at: Moment
    expires_at: Moment


class QuotePage(Wire):
    """Some quotes, newest first."""

    quotes: list[QuoteSummary]
    next: str | None = Field(description="`cursor` of the page after this; null on the last.")


class BatchRequest(Wire):
    """Ask for many quotes at once."""

    requests: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_IN_BATCH)] = Field(
        description="Each is a request as of POST /v1/quotes, and has its own answer."
    )


class BatchAnswer(Wire):
    """What came of one request of a batch."""

    status: int
    quote: QuoteAnswer | None = None
    problem: Problem | None = None


class BatchAnswers(Wire):
    """What came of each request, in their order."""

    answers: list[BatchAnswer]


class CompareOption(Wire):
    """One of the covers that are compared."""

    label: Annotated[str, Field(max_length=64), AfterValidator(_text)] | None = None
    request: QuoteRequest


class CompareRequest(Wire):
    """Put covers side by side."""

    options: Annotated[list[CompareOption], Field(min_length=2, max_length=MOST_COMPARED)]


class ComparedOption(Wire):
    """One option with its price, or why it has none."""

    label: str | None
    product: str
    name: LocalText | None
    quote: QuoteAnswer | None = None
    problem: Problem | None = None


class CoverRow(Wire):
    """One field of the covers, an entry for each option; null where an option has none."""

    field: str
    values: list[str | int | None]
    same: bool


class Comparison(Wire):
    """Covers side by side. The order is that of the request: nothing is ranked, least of all by price."""

    order: Literal["request"]
    notice: LocalText
    options: list[ComparedOption]
    cover: list[CoverRow]


class VerificationKey(Wire):
    """The public half of a key that signs quotes."""

    key_id: str
    algorithm: Literal["Ed25519"]
    public_key: str = Field(description="32 bytes, base64url without padding.")
    signs: bool = Field(description="Whether it signs new quotes; older keys verify older ones.")


class VerificationKeys(Wire):
    """Keys by which certificates are verified, newest first."""

    keys: list[VerificationKey]


class Verification(Wire):
    """What a certificate is worth."""

    genuine: bool = Field(description="Whether the service signed it exactly as it stands.")
    current: bool = Field(
        description="Whether it is the newest certificate of its quote, and the quote stands."
    )
    status: str | None = Field(description="State of the quote now; null for a forgery.")
