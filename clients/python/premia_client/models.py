"""Models of the Premia quote service, written by generate.py from its OpenAPI document."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it at run time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Base of the models; fields that a newer service adds are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class AcceptRequest(Model):
    """Accept a quote at its price."""

    price_minor: int


class ActionRequest(Model):
    """Ask whether and how a customer should be contacted."""

    customer_id: int
    seller_id: int | None = None
    scene: Literal['order', 'trip'] | None = None
    needs: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    risks: dict[str, dict[str, bool | int | float | str | None]] = Field(default_factory=dict)


class BatchAnswer(Model):
    """What came of one request of a batch."""

    status: int
    quote: QuoteAnswer | None = None
    problem: Problem | None = None


class BatchAnswers(Model):
    """What came of each request, in their order."""

    answers: list[BatchAnswer]


class BatchRequest(Model):
    """Ask for many quotes at once."""

    requests: list[dict[str, Any]]


class BundleMember(Model):
    """What one product of a bundle is priced from."""

    sub_channel: str | None = None
    risk: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    needs: dict[str, bool | int | float | str | None] = Field(default_factory=dict)


class BundleOffer(Model):
    """A bundle all of whose members the customer may buy."""

    bundle: str
    name: LocalText
    members: list[str]


class BundleQuote(Model):
    """Quotes of products that are sold together, as one offer."""

    bundle: str
    bundle_id: str | None
    name: LocalText
    status: Literal['quoted', 'referred', 'declined']
    price: MoneyAmount | None
    expires_at: datetime
    quotes: list[QuoteAnswer]


class BundleRequest(Model):
    """Ask for the price of products that are sold together."""

    bundle: str
    channel: str
    customer_id: int
    seller_id: int | None = None
    withdrawn_purposes: list[str] = Field(default_factory=list)
    members: dict[str, BundleMember]
    context: dict[str, bool | int | float | str | None] = Field(default_factory=dict)


class Certificate(Model):
    """What a quote says, signed: whoever holds it can tell it from a forgery, without the service, too."""

    key_id: str
    quote_id: str
    product: str
    price_minor: int | None
    currency: str
    expires_at: str
    cover_hash: str
    signature: str


class ChannelRefusal(Model):
    """A channel that may not be used now, and why."""

    channel: str
    code: str


class CompareOption(Model):
    """One of the covers that are compared."""

    label: str | None = None
    request: QuoteRequest


class CompareRequest(Model):
    """Put covers side by side."""

    options: list[CompareOption]


class ComparedOption(Model):
    """One option with its price, or why it has none."""

    label: str | None
    product: str
    name: LocalText | None
    quote: QuoteAnswer | None = None
    problem: Problem | None = None


class Comparison(Model):
    """Covers side by side. The order is that of the request: nothing is ranked, least of all by price."""

    order: Literal['request']
    notice: LocalText
    options: list[ComparedOption]
    cover: list[CoverRow]


class Completion(Model):
    """What was missing in a draft."""

    customer_id: int | None = None
    seller_id: int | None = None
    sub_channel: str | None = None
    risk: dict[str, bool | int | float | str | None] = Field(default_factory=dict)


class ConsentRequest(Model):
    """Grant or withdraw the consent for a purpose."""

    granted: bool


class Consents(Model):
    """What a customer has granted or withdrawn; a purpose that is not listed has not been decided."""

    customer_id: int
    purposes: dict[str, bool]


class CoverRow(Model):
    """One field of the covers, an entry for each option; null where an option has none."""

    field: str
    values: list[str | int | None]
    same: bool


class CustomerScore(Model):
    """Score of a customer for one product, as of the last scoring."""

    product: str
    points: int
    band: str
    reasons: list[str]
    as_of: datetime


class CustomerSegment(Model):
    """Who this customer is, for a salesperson."""

    code: str
    name: LocalText
    portrait: LocalText


class DecisionRequest(Model):
    """What a person decides on a referred quote."""

    decision: Literal['quote', 'decline', 'confirm']
    price_minor: int | None = None
    reason: str


class DeclineRequest(Model):
    """Say that the customer does not want it."""

    reason: Literal['price', 'cover', 'competitor', 'not_needed', 'timing', 'trust', 'other']
    text: str | None = None


class EventAnswer(Model):
    """What became of one event."""

    index: int
    event_id: str | None
    status: Literal['accepted', 'duplicate', 'conflict', 'in_the_future', 'invalid']
    detail: str = ''


class EventAnswers(Model):
    """What became of a batch."""

    received: int
    counts: dict[str, int]
    answers: list[EventAnswer]


class EventBatch(Model):
    """Up to 1,000 events; each gets its own answer, one that is refused does not stop the others."""

    events: list[dict[str, Any]]


class Excluded(Model):
    """A product that was not considered, and why."""

    product: str
    codes: list[str]


class FactorInfo(Model):
    """A rating factor as a channel must give it."""

    name: str
    label: LocalText
    type: str
    unit: str | None
    minimum: float | None
    maximum: float | None
    levels: list[str] | None
    required: bool


class Health(Model):
    """Whether the service lives, or is ready."""

    status: Literal['ok', 'unready']
    products: list[str] = Field(default_factory=list)
    out_of_service: dict[str, str] = Field(default_factory=dict)
    refused: dict[str, str] = Field(default_factory=dict)
    generation: int = 0


class LadderStep(Model):
    """One step of the price; the steps add up to it exactly."""

    step: str
    label: LocalText
    amount: str
    minor: int
    payee: str | None = None


class LocalText(Model):
    """A text in the languages that customers read."""

    en: str
    zh: str


class MoneyAmount(Model):
    """An amount: a decimal string for people, minor units for sums."""

    amount: str
    minor: int
    currency: str


class NeedAnswer(Model):
    """One answer that may be chosen."""

    code: str
    text: LocalText


class NeedInfo(Model):
    """A question on what the customer needs, as a channel must ask it."""

    code: str
    text: LocalText
    type: str
    answers: list[NeedAnswer]
    minimum: float | None
    maximum: float | None
    required: bool


class NextAction(Model):
    """The contact of the highest expected value, logged as made; or nothing, with the reason."""

    customer_id: int
    as_of: datetime
    action: Literal['contact', 'nothing']
    code: str | None
    contact_id: str | None = None
    channel: str | None = None
    product: str | None = None
    name: LocalText | None = None
    reasons: list[LocalText] = Field(default_factory=list)
    expected_value_minor: int | None = None
    refused: list[ChannelRefusal]


class Offer(Model):
    """A product that suits, with the reason."""

    product: str
    name: LocalText
    rate: float
    reasons: list[LocalText]
    margin_basis: Literal['customer', 'product', 'none'] = 'none'


class Problem(Model):
    """Problem details, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    trace_id: str | None = None
    links: dict[str, str] = Field(default_factory=dict)
    errors: list[ProblemItem] = Field(default_factory=list)


class ProblemItem(Model):
    """One fault of a request."""

    pointer: str
    code: str
    detail: str
    value: Any = None
    allowed: str | None = None


class ProductInfo(Model):
    """A product in service."""

    code: str
    version: int
    name: LocalText
    currency: str
    cover: dict[str, Any]
    needs: list[str]
    factors: list[FactorInfo]
    questions: list[NeedInfo] = Field(default_factory=list)
    channels: list[str]
    sub_channels: dict[str, list[str]] = Field(default_factory=dict)
    plan: str
    model_version: str


class ProfileFeature(Model):
    """One feature of a risk profile."""

    name: str
    value: float | int | None
    unit: str
    description: LocalText


class QuoteAnswer(Model):
    """A quote as its reader gets to see it, with what has become of it since."""

    quote_id: str
    bundle_id: str | None = None
    status: Literal['draft', 'quoted', 'referred', 'declined', 'accepted', 'expired', 'revoked', 'superseded']
    product: str
    channel: str
    sub_channel: str | None = None
    expiring_premium_minor: int | None = None
    customer_id: int | None
    seller_id: int | None
    customer_known: bool
    sandbox: bool = False
    created_at: datetime
    expires_at: datetime
    as_of: datetime
    price: MoneyAmount | None
    accepted_price_minor: int | None = None
    indication: MoneyAmount | None = None
    settlement: Settled | None = None
    score: RiskScore | None = None
    outcomes: list[RuleOutcome]
    risk: dict[str, float | str | None]
    profile: dict[str, float | int | None]
    withheld: list[str] = Field(default_factory=list)
    missing: list[ProblemItem] = Field(default_factory=list)
    supersedes: str | None = None
    certificate: Certificate | None = None
    ladder: list[LadderStep] | None
    reasons: list[Reason] | None
    versions: Versions | None


class QuotePage(Model):
    """Some quotes, newest first."""

    quotes: list[QuoteSummary]
    next: str | None


class QuoteRequest(Model):
    """Ask for a price."""

    product: str
    channel: str
    sub_channel: str | None = None
    expiring_premium_minor: int | None = None
    customer_id: int | None = None
    seller_id: int | None = None
    withdrawn_purposes: list[str] = Field(default_factory=list)
    risk: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    exposure_id: str | None = None
    supersedes: str | None = None
    needs: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    context: dict[str, bool | int | float | str | None] = Field(default_factory=dict)


class QuoteSummary(Model):
    """A quote in a list."""

    quote_id: str
    status: str
    product: str
    channel: str
    sub_channel: str | None
    price: MoneyAmount | None
    created_at: datetime
    expires_at: datetime


class Reason(Model):
    """What an input does to the risk premium (by model or plan), or a cap that binds to the premium."""

    input: str
    value: float | str | None
    relativity: float
    text: LocalText


class RecommendationRequest(Model):
    """Ask which products suit a customer."""

    customer_id: int
    k: int = 3
    scene: Literal['order', 'trip'] | None = None
    needs: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    channel: str | None = None
    sub_channel: str | None = None
    page: str | None = None
    seller_id: int | None = None
    risks: dict[str, dict[str, bool | int | float | str | None]] = Field(default_factory=dict)
    personalised: bool = True


class Recommendations(Model):
    """Ranked offers; everything else with the reason why not."""

    customer_id: int
    as_of: datetime
    mode: Literal['personal', 'general']
    model: str | None
    exposure_id: str | None = None
    notice: LocalText
    offers: list[Offer]
    bundles: list[BundleOffer] = Field(default_factory=list)
    excluded: list[Excluded]


class ReviewRequest(Model):
    """Ask that a person looks at it."""

    text: str


class RevokeRequest(Model):
    """Take a quote back."""

    reason: str


class RiskProfile(Model):
    """What the history of a customer says, as of now."""

    customer_id: int
    as_of: datetime
    features: list[ProfileFeature]
    withheld: list[str]
    segment: CustomerSegment | None
    scores: list[CustomerScore]
    held: list[str]
    feature_spec_hash: str


class RiskScore(Model):
    """How risky this risk is on the product's scale: 500 is its reference, more is riskier."""

    points: int
    band: str
    name: LocalText


class RuleOutcome(Model):
    """A rule that was not met, or why there is no price."""

    code: str
    effect: Literal['decline', 'refer']
    message: LocalText


class Settled(Model):
    """What is owed of a price as it was charged; tax, commission and the rest add up to it."""

    payee: str
    tax: MoneyAmount
    commission: MoneyAmount
    kept: MoneyAmount


class StepView(Model):
    """One step in the life of a quote."""

    number: int
    state: str
    at: datetime
    actor: str
    reason: str | None
    details: dict[str, Any]


class Steps(Model):
    """The life of a quote so far; number 0 is its begin."""

    quote_id: str
    status: str
    steps: list[StepView]


class TokenAnswer(Model):
    """A token (RFC 6749 section 5.1)."""

    access_token: str
    token_type: str = 'Bearer'
    expires_in: int
    scope: str


class TokenError(Model):
    """Why there is no token (RFC 6749 section 5.2)."""

    error: str
    error_description: str


class Verification(Model):
    """What a certificate is worth."""

    genuine: bool
    current: bool
    status: str | None


class VerificationKey(Model):
    """The public half of a key that signs quotes."""

    key_id: str
    algorithm: Literal['Ed25519']
    public_key: str
    signs: bool


class VerificationKeys(Model):
    """Keys by which certificates are verified, newest first."""

    keys: list[VerificationKey]


class Versions(Model):
    """What priced the quote, each with the hash of its content."""

    product_version: int
    product_hash: str
    plan: str
    plan_version: int
    plan_hash: str
    filing: str
    model: str
    model_version: str
    model_hash: str
    feature_spec_hash: str
