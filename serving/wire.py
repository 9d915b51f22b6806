"""Wire types: what goes over HTTP. Domain types stay behind them."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from pricing.ladder import LARGEST_EXPIRING_MINOR
from serving.clock import utc_text, without_zone

LARGEST_INTEGER = 2**63 - 1
LONGEST_TEXT = 200
MOST_CONTEXT = 50


def _text(value: str) -> str:
    """Refuse half a surrogate pair, which JSON can spell and UTF-8 cannot hold."""
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise PydanticCustomError("text", "Input should be valid Unicode text")
    return value


def _scalar(value: object) -> object:
    """Refuse what is no finite scalar as one fault, before the union would name one for each of its kinds."""
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise PydanticCustomError("text", "Input should have at most 200 characters")
        return _text(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and abs(value) <= LARGEST_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise PydanticCustomError("scalar", "Input should be a finite number, a text, true, false or null")


def _moment(value: datetime) -> datetime:
    try:
        return without_zone(value)
    except OverflowError as error:
        raise PydanticCustomError("datetime", "Input should be a time of the years 1 to 9999 UTC") from error


Moment = Annotated[
    datetime,
    AfterValidator(_moment),
    PlainSerializer(utc_text, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-08T00:00:00Z"]}),
]
"""A time: inside UTC without a zone; on the wire RFC 3339 with `Z`, read with any offset (none: UTC)."""
RiskValue = Annotated[
    bool | int | float | str | None, Field(union_mode="left_to_right"), BeforeValidator(_scalar)
]
FactorName = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(_text)]
Code = Annotated[str, Field(min_length=1, max_length=64)]
Answers = Annotated[dict[FactorName, RiskValue], Field(max_length=MOST_CONTEXT)]
Risks = Annotated[dict[Code, dict[FactorName, RiskValue]], Field(max_length=MOST_CONTEXT)]
RISKS = "Rating factors by product, where they are known: the margin is then that of this risk."
ANSWERS = "Answers to the product's questions on needs, by code: GET /v1/products."
Identity = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]


class Wire(BaseModel):
    """Base of the wire types: unknown fields are refused, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class LocalText(Wire):
    """A text in the languages that customers read."""

    en: str
    zh: str


class QuoteRequest(Wire):
    """Ask for a price."""

    product: Code = Field(description="Code of the product, see GET /v1/products.")
    channel: Code = Field(description="Sales channel; it must be one of the rating plan's.")
    sub_channel: Code | None = Field(
        None, description="Who sells within the channel, where the plan names them: GET /v1/products."
    )
    expiring_premium_minor: Annotated[int, Field(ge=1, le=LARGEST_EXPIRING_MINOR)] | None = Field(
        None,
        description="At renewal, the price of the cover that expires, minor units; absent: new business.",
    )
    customer_id: Identity | None = Field(None, description="Who buys; needed where history is priced.")
    seller_id: Identity | None = Field(None, description="Who sells the goods (per-order covers).")
    withdrawn_purposes: list[Code] = Field(
        default_factory=list,
        description="Purposes for which the customer's consent is missing, beside those on record.",
    )
    risk: dict[FactorName, RiskValue] = Field(
        default_factory=dict,
        description="Rating factors by name, see GET /v1/products.",
        examples=[{"order_amount": 129.0, "category": "apparel"}],
    )
    exposure_id: Code | None = Field(
        None, description="Of the offers that this quote comes of, see POST /v1/recommendations."
    )
    supersedes: Code | None = Field(
        None, description="Id of an earlier quote, not accepted, that this one takes the place of."
    )
    needs: Answers = Field(default_factory=dict, description=ANSWERS, examples=[{"treatment_planned": False}])
    context: Annotated[dict[FactorName, RiskValue], Field(max_length=MOST_CONTEXT)] = Field(
        default_factory=dict,
        description="What else the channel knows, such as device or campaign: stored with the quote, never "
        "priced.",
        examples=[{"device": "phone", "campaign": "spring"}],
    )


class MoneyAmount(Wire):
    """An amount: a decimal string for people, minor units for sums."""

    amount: Annotated[str, Field(examples=["12.50"])]
    minor: Annotated[int, Field(examples=[1250])]
    currency: Annotated[str, Field(examples=["CNY"])]


class LadderStep(Wire):
    """One step of the price; the steps add up to it exactly."""

    step: str
    label: LocalText
    amount: str
    minor: int
    payee: str | None = Field(None, description="Of the commission: `channel` or `channel/sub_channel`.")


class Settled(Wire):
    """What is owed of a price as it was charged; tax, commission and the rest add up to it."""

    payee: str = Field(description="Who gets the commission: `channel` or `channel/sub_channel`.")
    tax: MoneyAmount
    commission: MoneyAmount
    kept: MoneyAmount


class Reason(Wire):
    """What an input does to the risk premium (by model or plan), or a cap that binds to the premium."""

    input: str
    value: float | str | None
    relativity: float
    text: LocalText


class RuleOutcome(Wire):
    """A rule that was not met, or why there is no price."""

    code: str
    effect: Literal["decline", "refer"]
    message: LocalText


class RiskScore(Wire):
    """How risky this risk is on the product's scale: 500 is its reference, more is riskier."""

    points: Annotated[int, Field(ge=0, le=1000)]
    band: str
    name: LocalText


class Versions(Wire):
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


class ProblemItem(Wire):
    """One fault of a request."""

    pointer: str = Field(description="JSON pointer to the field.", examples=["/risk/driver_age"])
    code: str
    detail: str
    value: Any = None
    allowed: str | None = None


class Certificate(Wire):
    """What a quote says, signed: whoever holds it can tell it from a forgery, without the service, too.

    The signature (Ed25519, base64url) is over the JSON of the other fields: keys sorted, no spaces, UTF-8.
    """

    key_id: Annotated[str, Field(max_length=64)] = Field(description="See GET /v1/verification-keys.")
    quote_id: Code
    product: Code
    price_minor: Annotated[int, Field(ge=0, le=LARGEST_INTEGER)] | None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    expires_at: Annotated[str, Field(max_length=40)] = Field(examples=["2026-01-08T00:00:00Z"])
    cover_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    signature: Annotated[str, Field(max_length=128)]


class QuoteBase(Wire):
    """What every quote says."""

    quote_id: str
    bundle_id: str | None = Field(
        None, description="Of a bundle: who accepts one quote with this id accepts all of them."
    )
    status: Literal["draft", "quoted", "referred", "declined", "accepted", "expired", "revoked", "superseded"]
    product: str
    channel: str
    sub_channel: str | None = None
    expiring_premium_minor: int | None = None
    customer_id: int | None
    seller_id: int | None
    customer_known: bool
    sandbox: bool = Field(False, description="For trial: it binds nobody and teaches no model.")
    created_at: Moment
    expires_at: Moment
    as_of: Moment
    price: MoneyAmount | None
    accepted_price_minor: int | None = Field(None, description="What was bought, once it is accepted.")
    indication: MoneyAmount | None = Field(
        None, description="Of a referred quote, for the person who decides: a price that nobody has offered."
    )
    settlement: Settled | None = None
    score: RiskScore | None = None
    outcomes: list[RuleOutcome]
    risk: dict[str, float | str | None]
    profile: dict[str, float | int | None]
    withheld: list[str] = Field(
        default_factory=list, description="Profile features that were not evaluated for lack of consent."
    )
    missing: list[ProblemItem] = Field(
        default_factory=list, description="Of a draft: what keeps it from being priced."
    )
    supersedes: str | None = None
    certificate: Certificate | None = Field(None, description="None for a draft, which binds nobody.")


class Quote(QuoteBase):
    """A quote as it was priced and stored, whole."""

    ladder: list[LadderStep]
    reasons: list[Reason]
    versions: Versions


class QuoteAnswer(QuoteBase):
    """A quote as its reader gets to see it, with what has become of it since.

    Parts that the scopes of the reader or `expand` leave out are null; so are the versions of a draft.
    """

    ladder: list[LadderStep] | None
    reasons: list[Reason] | None
    versions: Versions | None


class BundleMember(Wire):
    """What one product of a bundle is priced from."""

    sub_channel: Code | None = None
    risk: dict[FactorName, RiskValue] = Field(default_factory=dict, description="Rating factors by name.")
    needs: Answers = Field(default_factory=dict, description=ANSWERS)


class BundleRequest(Wire):
    """Ask for the price of products that are sold together."""

    bundle: Code = Field(description="Code of the bundle, see `bundles` of recommendations.")
    channel: Code
    customer_id: Identity
    seller_id: Identity | None = None
    withdrawn_purposes: list[Code] = Field(default_factory=list)
    members: Annotated[dict[Code, BundleMember], Field(max_length=6)] = Field(
        description="By product, each member of the bundle.",
        examples=[{"motor": {"risk": {"driver_age": 35}}, "accident": {"risk": {"age": 35}}}],
    )
    context: Annotated[dict[FactorName, RiskValue], Field(max_length=MOST_CONTEXT)] = Field(
        default_factory=dict
    )


class BundleQuote(Wire):
    """Quotes of products that are sold together, as one offer."""

    bundle: str
    bundle_id: str | None = Field(
        description="None where a member has no price: the quotes then stand each by itself, undiscounted."
    )
    name: LocalText
    status: Literal["quoted", "referred", "declined"]
    price: MoneyAmount | None = Field(description="Sum of the prices of the members, to the minor unit.")
    expires_at: Moment
    quotes: list[QuoteAnswer]


class BundleOffer(Wire):
    """A bundle all of whose members the customer may buy."""

    bundle: str
    name: LocalText
    members: list[str]


class ProfileFeature(Wire):
    """One feature of a risk profile."""

    name: str
    value: float | int | None
    unit: str
    description: LocalText


class CustomerSegment(Wire):
    """Who this customer is, for a salesperson."""

    code: str
    name: LocalText
    portrait: LocalText


class CustomerScore(Wire):
    """Score of a customer for one product, as of the last scoring."""

    product: str
    points: Annotated[int, Field(ge=0, le=1000)]
    band: str
    reasons: list[str] = Field(description="Inputs that move the risk most, each with `:up` or `:down`.")
    as_of: Moment


class RiskProfile(Wire):
    """What the history of a customer says, as of now."""

    customer_id: int
    as_of: Moment
    features: list[ProfileFeature]
    withheld: list[str]
    segment: CustomerSegment | None = Field(description="None where consent for its features is missing.")
    scores: list[CustomerScore]
    held: list[str]
    feature_spec_hash: str


class ConsentRequest(Wire):
    """Grant or withdraw the consent for a purpose."""

    granted: bool


class Consents(Wire):
    """What a customer has granted or withdrawn; a purpose that is not listed has not been decided."""

    customer_id: int
    purposes: dict[str, bool]


class RecommendationRequest(Wire):
    """Ask which products suit a customer."""

    customer_id: Identity
    k: Annotated[int, Field(ge=1, le=50)] = 3
    scene: Literal["order", "trip"] | None = Field(
        None, description="The purchase in which it is asked; annual covers are always considered."
    )
    needs: Answers = Field(
        default_factory=dict, description="Answers to the questions of any products in service, by code."
    )
    channel: Code | None = Field(
        None, description="Through whom the offers are made; with `risks`, the margin of each is worked out."
    )
    sub_channel: Code | None = None
    page: Code | None = Field(
        None, description="Product whose page is open; it comes first where nothing personal counts."
    )
    seller_id: Identity | None = None
    risks: Risks = Field(default_factory=dict, description=RISKS)
    personalised: bool = Field(
        True, description="False for an order in which nothing personal counts beyond who may buy what."
    )


class ActionRequest(Wire):
    """Ask whether and how a customer should be contacted."""

    customer_id: Identity
    seller_id: Identity | None = None
    scene: Literal["order", "trip"] | None = None
    needs: Answers = Field(default_factory=dict)
    risks: Risks = Field(default_factory=dict, description=RISKS)


class ChannelRefusal(Wire):
    """A channel that may not be used now, and why."""

    channel: str
    code: str


class NextAction(Wire):
    """The contact of the highest expected value, logged as made; or nothing, with the reason."""

    customer_id: int
    as_of: Moment
    action: Literal["contact", "nothing"]
    code: str | None = Field(description="Why nothing is done.")
    contact_id: str | None = None
    channel: str | None = None
    product: str | None = None
    name: LocalText | None = None
    reasons: list[LocalText] = Field(default_factory=list)
    expected_value_minor: int | None = Field(
        None, description="Propensity x lift x margin - cost of the contact."
    )
    refused: list[ChannelRefusal]


class Offer(Wire):
    """A product that suits, with the reason."""

    product: str
    name: LocalText
    rate: float = Field(description="Share of eligible customers like this one who buy it in a month.")
    reasons: list[LocalText]
    margin_basis: Literal["customer", "product", "none"] = Field(
        "none", description="Margin that moved the order: of this risk, of the product on average, or none."
    )


class Excluded(Wire):
    """A product that was not considered, and why."""

    product: str
    codes: list[str]


class Recommendations(Wire):
    """Ranked offers; everything else with the reason why not."""

    customer_id: int
    as_of: Moment
    mode: Literal["personal", "general"] = Field(
        description="`general` without personalisation, without the consent for `recommendation`, and for "
        "the share of customers from whom it is learned how good the ranking is."
    )
    model: str | None = Field(description="Checksum of the propensities that ranked; None without any.")
    exposure_id: str | None = Field(
        None, description="Name it in the quotes that come of these offers, so that it is learned from them."
    )
    notice: LocalText
    offers: list[Offer]
    bundles: list[BundleOffer] = Field(
        default_factory=list, description="Bundles all of whose members the customer may buy."
    )
    excluded: list[Excluded]


class FactorInfo(Wire):
    """A rating factor as a channel must give it."""

    name: str
    label: LocalText
    type: str
    unit: str | None
    minimum: float | None
    maximum: float | None
    levels: list[str] | None
    required: bool


class NeedAnswer(Wire):
    """One answer that may be chosen."""

    code: str
    text: LocalText


class NeedInfo(Wire):
    """A question on what the customer needs, as a channel must ask it."""

    code: str
    text: LocalText
    type: str
    answers: list[NeedAnswer]
    minimum: float | None
    maximum: float | None
    required: bool = Field(description="Without an answer a person decides, and the product is not offered.")


class ProductInfo(Wire):
    """A product in service."""

    code: str
    version: int
    name: LocalText
    currency: str
    cover: dict[str, Any]
    needs: list[str] = Field(description="Fields that say whose history is priced: customer_id, seller_id.")
    factors: list[FactorInfo]
    questions: list[NeedInfo] = Field(
        default_factory=list, description="What `needs` of a quote or of recommendations answer."
    )
    channels: list[str]
    sub_channels: dict[str, list[str]] = Field(
        default_factory=dict, description="By channel, the sub-channels of which one must be named."
    )
    plan: str
    model_version: str


class Health(Wire):
    """Whether the service lives, or is ready."""

    status: Literal["ok", "unready"]
    products: list[str] = Field(default_factory=list, description="In service.")
    out_of_service: dict[str, str] = Field(
        default_factory=dict, description="Product and why it does not serve."
    )
    refused: dict[str, str] = Field(
        default_factory=dict,
        description="What is on the disk and cannot serve, and why; the last good one serves in its place.",
    )
    generation: int = Field(0, description="Number of the generation that prices, from 1 on since the start.")


class Problem(BaseModel):
    """Problem details, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    trace_id: str | None = Field(
        None, description="Of the request, as its `traceparent` header; name it in a report."
    )
    links: dict[str, str] = Field(default_factory=dict, description="What can be done instead, by name.")
    errors: list[ProblemItem] = Field(default_factory=list)
