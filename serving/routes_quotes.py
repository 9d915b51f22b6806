"""Routes of quotes: thin, over `QuoteLife`, `comparison` and `reading`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from serving import comparison, reading
from serving.access.caller import (  # noqa: TC001 - FastAPI reads annotations at run time
    Caller,
    Comparer,
    QuoteAccepter,
    QuoteReader,
    QuoteReviewer,
    QuoteWriter,
)
from serving.answers import parts, visible
from serving.bundles import price_bundle
from serving.examples import REQUESTS
from serving.life_cycle import QuoteLife  # noqa: TC001 - likewise
from serving.records import encode_body
from serving.repeats import Asked, Repeats, digest_of
from serving.service import QuoteService  # noqa: TC001 - likewise
from serving.wire import BundleQuote, BundleRequest, Certificate, Problem, QuoteAnswer, QuoteRequest
from serving.wire_quotes import (
    AcceptRequest,
    BatchAnswers,
    BatchRequest,
    CompareRequest,
    Comparison,
    Completion,
    DecisionRequest,
    DeclineRequest,
    QuotePage,
    ReviewRequest,
    RevokeRequest,
    Steps,
    Verification,
    VerificationKeys,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from serving.repeats import Deed

Responses: TypeAlias = "dict[int | str, dict[str, Any]]"
TEXTS = {
    304: "Not changed since the answer with this ETag",
    400: "The body is no text that JSON can be",
    403: "The key, or the lack of a licence, does not allow this",
    404: "Not found, or another channel's",
    409: "The quote is past this step, another request was first, or the plan is not in force today",
    422: "The request names what is wrong and what is allowed",
    503: "The service cannot store or price just now",
}
router = APIRouter()


def refusals(*statuses: int) -> Responses:
    """Document the problems of a route."""
    found: Responses = {}
    for status in sorted({400, 403, 422, 503, *statuses}):
        found[status] = {"description": TEXTS[status]}
        if status >= 400:
            found[status]["model"] = Problem
    return found


def example(name: str) -> dict[str, Any]:
    """Show a request of the document, which a test sends."""
    media = {"application/json": {"examples": REQUESTS[name]}}
    return {"requestBody": {"content": media}}


def encode(answer: Mapping[str, Any]) -> bytes:
    """Write an answer as JSON."""
    return encode_body(answer)


@dataclass(frozen=True)
class Call:
    """What a route of quotes has at hand: the request, the service, and how it is to be answered."""

    request: Request
    service: QuoteService
    life: QuoteLife
    repeats: Repeats
    expand: str | None
    key: str | None

    async def do(
        self,
        caller: Caller,
        work: Callable[[], Awaitable[Deed]],
        show: Callable[[Mapping[str, Any]], bytes] | None = None,
    ) -> Response:
        """Do a deed once, and answer it as its caller may see it."""
        shown = parts(caller, self.expand)
        digest = ""
        if self.key is not None:
            route = f"{self.request.method} {self.request.url.path}?{self.request.url.query}"
            digest = digest_of(route, await self.request.body())
        asked = Asked(caller.channel or "*", self.key, digest)

        def quote(answer: Mapping[str, Any]) -> bytes:
            return encode(visible(answer, caller, shown))

        found = await self.repeats.once(asked, work, show or quote)
        return Response(found.body, found.status, dict(found.headers), "application/json")

    def answer(self, answer: Mapping[str, Any]) -> Response:
        """Answer, or say that nothing has changed."""
        body = encode(answer)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        known = self.request.headers.get("if-none-match", "")
        if tag in {part.strip().removeprefix("W/") for part in known.split(",")} or known.strip() == "*":
            return Response(status_code=304, headers={"ETag": tag})
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        return Response(body, headers=headers, media_type="application/json")


Expand = Annotated[
    str | None,
    Query(
        max_length=64,
        description="Parts of the quote, by commas: `ladder`, `reasons`, `commission`; each needs its scope. "
        "Absent: all that the scopes allow; empty: none.",
    ),
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=64,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key with the same request gets the same answer for 24 hours.",
    ),
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", max_length=1000, description="ETag of an earlier answer.")
]


async def writing(request: Request, expand: Expand = None, key: Key = None) -> Call:
    """Give what a route that writes needs."""
    state = request.app.state
    return Call(request, state.service, state.life, state.repeats, expand, key)


async def looking(request: Request, expand: Expand = None, tag: IfNoneMatch = None) -> Call:  # noqa: ARG001
    """Give what a route that reads needs."""
    state = request.app.state
    return Call(request, state.service, state.life, state.repeats, expand, None)


async def plain(request: Request, tag: IfNoneMatch = None) -> Call:  # noqa: ARG001
    """Give what a route needs whose answer has no parts."""
    return await looking(request)


Writing = Annotated[Call, Depends(writing)]
Looking = Annotated[Call, Depends(looking)]
Plain = Annotated[Call, Depends(plain)]
QuoteId = Annotated[str, Path(max_length=64)]


@router.post(
    "/v1/quotes",
    status_code=201,
    response_model=QuoteAnswer,
    responses=refusals(404, 409),
    openapi_extra=example("create_quote"),
)
async def create_quote(body: QuoteRequest, call: Writing, who: QuoteWriter) -> Response:
    """Price a risk; the quote is stored before it is answered."""
    return await call.do(who, lambda: call.life.create(body, who))


@router.post(
    "/v1/quotes:bundle",
    status_code=201,
    response_model=BundleQuote,
    responses=refusals(409),
    openapi_extra=example("create_bundle"),
)
async def create_bundle(body: BundleRequest, call: Writing, who: QuoteWriter) -> Response:
    """Price products that are sold together as one offer; all quotes are stored before it is answered."""

    async def work() -> Deed:
        return price_bundle(call.service, body, who)

    shown = parts(who, call.expand)

    def show(answer: Mapping[str, Any]) -> bytes:
        return encode({**answer, "quotes": [visible(quote, who, shown) for quote in answer["quotes"]]})

    return await call.do(who, work, show)


@router.post(
    "/v1/quotes:draft",
    status_code=201,
    response_model=QuoteAnswer,
    responses=refusals(),
    openapi_extra=example("draft_quote"),
)
async def draft_quote(body: QuoteRequest, call: Writing, who: QuoteWriter) -> Response:
    """Keep an incomplete request, and say what is missing."""
    return await call.do(who, lambda: call.life.draft(body, who))


@router.post(
    "/v1/quotes:preview",
    response_model=QuoteAnswer,
    responses=refusals(409),
    openapi_extra=example("preview_quote"),
)
async def preview_quote(body: QuoteRequest, call: Looking, who: QuoteWriter) -> Response:
    """Price a risk for a look: nothing is stored, nobody is bound. Licensed channels only."""
    shown = parts(who, call.expand)
    return Response(encode(comparison.preview(call.service, body, who, shown)), media_type="application/json")


@router.post(
    "/v1/quotes:compare",
    response_model=Comparison,
    responses=refusals(),
    openapi_extra=example("compare_quotes"),
)
async def compare_quotes(body: CompareRequest, call: Looking, who: Comparer) -> Response:
    """Put covers side by side in the order of the request. Licensed channels only; nothing is stored."""
    shown = parts(who, call.expand)
    return Response(encode(comparison.compare(call.service, body, who, shown)), media_type="application/json")


@router.post(
    "/v1/quotes:batch",
    response_model=BatchAnswers,
    responses=refusals(409),
    openapi_extra=example("batch_quotes"),
)
async def batch_quotes(body: BatchRequest, call: Writing, who: QuoteWriter) -> Response:
    """Price up to 100 requests, each with its own answer; all quotes are stored in one commit."""
    shown = parts(who, call.expand)
    return await call.do(who, lambda: comparison.batch(call.life, body, who, shown), encode)


@router.post(
    "/v1/quotes:verify",
    response_model=Verification,
    responses=refusals(),
    openapi_extra=example("verify_quote"),
)
async def verify_quote(body: Certificate, call: Plain) -> Response:
    """Tell a certificate from a forgery, and say how its quote stands; whoever holds one may ask."""
    return Response(encode(await reading.verify(call.service, body)), media_type="application/json")


@router.get("/v1/verification-keys", response_model=VerificationKeys, responses=refusals(304))
async def verification_keys(call: Plain) -> Response:
    """Give the public keys by which certificates are verified without the service."""
    keys = [
        {"key_id": name, "algorithm": "Ed25519", "public_key": key, "signs": signs}
        for name, key, signs in call.service.signer.public_keys()
    ]
    return call.answer({"keys": keys})


@router.get("/v1/quotes", response_model=QuotePage, responses=refusals(304))
async def list_quotes(
    call: Plain,
    who: QuoteReader,
    cursor: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    product: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> Response:
    """List the quotes of the own channel, newest first."""
    return call.answer(await reading.page(call.service, who, cursor, limit, product))


@router.get("/v1/quotes/{quote_id}", response_model=QuoteAnswer, responses=refusals(304, 404))
async def read_quote(quote_id: QuoteId, call: Looking, who: QuoteReader) -> Response:
    """Give a quote as it stands now."""
    life = await call.life.load(quote_id, who)
    return call.answer(visible(life.answer, who, parts(who, call.expand)))


@router.get("/v1/quotes/{quote_id}/steps", response_model=Steps, responses=refusals(304, 404))
async def read_steps(quote_id: QuoteId, call: Plain, who: QuoteReader) -> Response:
    """Give the life of a quote so far, step by step."""
    return call.answer(await reading.steps(call.life, quote_id, who))


@router.post(
    "/v1/quotes/{quote_id}/complete",
    status_code=201,
    response_model=QuoteAnswer,
    responses=refusals(404, 409),
    openapi_extra=example("complete_quote"),
)
async def complete_quote(quote_id: QuoteId, body: Completion, call: Writing, who: QuoteWriter) -> Response:
    """Price a draft with what was missing; the new quote takes the place of the draft."""
    return await call.do(who, lambda: call.life.complete(quote_id, body, who))


@router.post(
    "/v1/quotes/{quote_id}/accept",
    response_model=QuoteAnswer,
    responses=refusals(404, 409),
    openapi_extra=example("accept_quote"),
)
async def accept_quote(quote_id: QuoteId, body: AcceptRequest, call: Writing, who: QuoteAccepter) -> Response:
    """Accept a quote at the price that it says."""
    return await call.do(who, lambda: call.life.accept(quote_id, body, who))


@router.post(
    "/v1/quotes/{quote_id}/decline",
    response_model=QuoteAnswer,
    responses=refusals(404, 409),
    openapi_extra=example("decline_quote"),
)
async def decline_quote(
    quote_id: QuoteId, body: DeclineRequest, call: Writing, who: QuoteAccepter
) -> Response:
    """Say that the customer does not want it, and why."""
    return await call.do(who, lambda: call.life.decline(quote_id, body, who))


@router.post(
    "/v1/quotes/{quote_id}/review",
    response_model=QuoteAnswer,
    responses=refusals(404, 409),
    openapi_extra=example("review_quote"),
)
async def review_quote(quote_id: QuoteId, body: ReviewRequest, call: Writing, who: QuoteWriter) -> Response:
    """Have a person look at a quote, as every customer may ask."""
    return await call.do(who, lambda: call.life.review(quote_id, body, who))


@router.post(
    "/v1/quotes/{quote_id}/decision",
    response_model=QuoteAnswer,
    responses=refusals(404, 409),
    openapi_extra=example("decide_quote"),
)
async def decide_quote(
    quote_id: QuoteId, body: DecisionRequest, call: Writing, who: QuoteReviewer
) -> Response:
    """Record what a person decides on a referred quote."""
    return await call.do(who, lambda: call.life.decide(quote_id, body, who))


@router.post(
    "/v1/quotes/{quote_id}/revoke",
    response_model=QuoteAnswer,
    responses=refusals(404, 409),
    openapi_extra=example("revoke_quote"),
)
async def revoke_quote(quote_id: QuoteId, body: RevokeRequest, call: Writing, who: QuoteReviewer) -> Response:
    """Take a quote back, on behalf of the insurer."""
    return await call.do(who, lambda: call.life.revoke(quote_id, body, who))
