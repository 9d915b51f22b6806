"""From errors to problem details (RFC 9457): one table, tested to be complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from models.errors import FittedMissingError
from pricing.errors import (
    CorridorError,
    NeedsError,
    PlanNotEffectiveError,
    QuoteStateError,
    RiskError,
    UnknownChannelError,
)
from serving.errors import (
    BundleMembersError,
    CursorError,
    DecisionError,
    ErasedQuoteError,
    ExpandError,
    InFlightError,
    MemberError,
    MissingEntityError,
    NotAllowedError,
    PriceMismatchError,
    RepeatError,
    ReplyConflictError,
    StepConflictError,
    StoreError,
    UnknownBundleError,
    UnknownCustomerError,
    UnknownProductError,
    UnknownPurposeError,
    UnknownQuoteError,
    WithdrawnPurposeError,
)
from serving.http.exchange import current
from serving.wire import Problem, ProblemItem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fastapi import FastAPI, Request

MEDIA_TYPE = "application/problem+json"
BASE = "https://premia.example/problems/"


def _risk_items(error: RiskError | NeedsError) -> list[ProblemItem]:
    part = "needs" if isinstance(error, NeedsError) else "risk"
    return [
        ProblemItem(
            pointer=f"/{part}/{_escape(item.field)}",
            code=item.code,
            detail=str(item),
            value=jsonable_encoder(item.value),
            allowed=item.allowed,
        )
        for item in error.problems
    ]


def _channel_items(error: UnknownChannelError) -> list[ProblemItem]:
    allowed = "one of " + ", ".join(error.allowed) if error.allowed else "none; leave it out"
    return [
        ProblemItem(
            pointer=f"/{error.field}",
            code=error.code,
            detail=str(error),
            value=error.channel,
            allowed=allowed,
        )
    ]


def _product_items(error: UnknownProductError) -> list[ProblemItem]:
    allowed = "one of " + ", ".join(error.known) if error.known else "none yet"
    return [
        ProblemItem(
            pointer="/product", code="unknown", detail=str(error), value=error.product, allowed=allowed
        )
    ]


def _entity_items(error: MissingEntityError) -> list[ProblemItem]:
    return [
        ProblemItem(pointer=f"/{error.field}", code="missing", detail=str(error), allowed="an integer id")
    ]


def _purpose_items(error: WithdrawnPurposeError) -> list[ProblemItem]:
    return [
        ProblemItem(
            pointer=f"/withdrawn_purposes/{error.place}",
            code="unknown",
            detail=str(error),
            value=error.purpose,
            allowed="one of " + ", ".join(error.known),
        )
    ]


def _denied_items(error: NotAllowedError) -> list[ProblemItem]:
    if error.pointer is None:
        return []
    return [ProblemItem(pointer=error.pointer, code=error.code, detail=str(error), value=error.value)]


def _price_items(error: PriceMismatchError) -> list[ProblemItem]:
    price = str(error.price_minor)
    return [
        ProblemItem(
            pointer="/price_minor",
            code="not_the_price",
            detail=str(error),
            value=error.asked_minor,
            allowed=price,
        )
    ]


def _decision_items(error: DecisionError) -> list[ProblemItem]:
    return [ProblemItem(pointer=error.pointer, code=error.code, detail=str(error), allowed=error.allowed)]


def _corridor_items(error: CorridorError) -> list[ProblemItem]:
    return [
        ProblemItem(
            pointer="/price_minor",
            code="outside_corridor",
            detail=str(error),
            value=error.price_minor,
            allowed=f"{error.lowest_minor} to {error.highest_minor}",
        )
    ]


def _bundle_items(error: UnknownBundleError) -> list[ProblemItem]:
    allowed = "one of " + ", ".join(error.known) if error.known else "none"
    return [
        ProblemItem(pointer="/bundle", code="unknown", detail=str(error), value=error.bundle, allowed=allowed)
    ]


def _bundle_members_items(error: BundleMembersError) -> list[ProblemItem]:
    return [
        ProblemItem(
            pointer="/members",
            code="members",
            detail=str(error),
            value=list(error.given),
            allowed=", ".join(error.members),
        )
    ]


def _member_items(error: MemberError) -> list[ProblemItem]:
    """Point into the member; the customer and the channel are those of the whole request."""
    whole = ("/customer_id", "/seller_id", "/channel")
    items = PROBLEMS[type(error.error)][3](error.error)
    member = f"/{error.part}/{_escape(error.product)}"
    if error.part == "risks":
        items = [one.model_copy(update={"pointer": one.pointer.removeprefix("/risk")}) for one in items]
    return [
        item if item.pointer in whole else item.model_copy(update={"pointer": member + item.pointer})
        for item in items
    ]


def _no_items(_error: Exception) -> list[ProblemItem]:
    return []


# error -> (status, type, title, items)
PROBLEMS: dict[type[Exception], tuple[int, str, str, Callable[[Any], list[ProblemItem]]]] = {
    RiskError: (422, "risk-not-usable", "The risk cannot be priced as described", _risk_items),
    NeedsError: (422, "needs-not-usable", "An answer on needs cannot be used", _risk_items),
    UnknownChannelError: (422, "unknown-channel", "The channel is not in the rating plan", _channel_items),
    UnknownProductError: (422, "unknown-product", "The product is not in service", _product_items),
    UnknownPurposeError: (404, "unknown-purpose", "No feature is used for this purpose", _no_items),
    WithdrawnPurposeError: (
        422,
        "withdrawn-purpose",
        "No feature is used for this purpose",
        _purpose_items,
    ),
    UnknownBundleError: (422, "unknown-bundle", "The bundle is not in service", _bundle_items),
    BundleMembersError: (422, "bundle-members", "These are not its members", _bundle_members_items),
    MemberError: (422, "bundle-member", "A member cannot be priced as described", _member_items),
    MissingEntityError: (
        422,
        "missing-entity",
        "The product needs to know whose history it prices",
        _entity_items,
    ),
    NotAllowedError: (403, "not-allowed", "The key does not allow this", _denied_items),
    PlanNotEffectiveError: (409, "plan-not-effective", "The rating plan is not in force today", _no_items),
    CorridorError: (422, "outside-corridor", "The price lies outside what is filed", _corridor_items),
    PriceMismatchError: (409, "price-mismatch", "The quote has another price", _price_items),
    DecisionError: (422, "no-decision", "This cannot be decided", _decision_items),
    ExpandError: (422, "unknown-expand", "The answer has no such part", _no_items),
    RepeatError: (422, "key-reused", "The idempotency key belongs to another request", _no_items),
    InFlightError: (409, "in-flight", "The request under this key is under way", _no_items),
    QuoteStateError: (409, "quote-state", "The quote is past this step", _no_items),
    FittedMissingError: (
        503,
        "history-not-ready",
        "The fitted features of this month are missing",
        _no_items,
    ),
    StoreError: (503, "store-not-ready", "The serving store does not cover this moment", _no_items),
    StepConflictError: (409, "step-conflict", "The quote has been taken on in the meantime", _no_items),
    ReplyConflictError: (409, "reply-conflict", "The request has been answered in the meantime", _no_items),
    CursorError: (422, "invalid-cursor", "The cursor is none that a page has given", _no_items),
    ErasedQuoteError: (410, "quote-erased", "The contents of the quote were erased", _no_items),
    UnknownQuoteError: (404, "unknown-quote", "There is no such quote", _no_items),
    UnknownCustomerError: (404, "unknown-customer", "There is no such customer", _no_items),
}


def _escape(name: str) -> str:
    """Write a name as a token of a JSON pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")


def problem(
    path: str,
    status: int,
    kind: str,
    title: str,
    detail: str,
    errors: Sequence[ProblemItem] = (),
    links: Mapping[str, str] | None = None,
) -> Problem:
    """Say what is wrong with a request for a path."""
    exchange = current()
    return Problem(
        type=BASE + kind,
        title=title,
        status=status,
        detail=detail,
        instance=path,
        trace_id=exchange.trace_id if exchange else None,
        links=dict(links or {}),
        errors=list(errors),
    )


def problem_of(error: Exception, path: str) -> Problem:
    """Give a known error as a problem."""
    status, kind, title, items = PROBLEMS[type(error)]
    expired = isinstance(error, QuoteStateError) and error.state == "expired"
    links = {"requote": "/v1/quotes"} if expired else {}
    return problem(path, status, kind, title, str(error), items(error), links)


def invalid_problem(faults: Sequence[Any], path: str) -> Problem:
    """Give the faults that pydantic found as a problem."""
    items = [
        ProblemItem(
            pointer=_pointer(fault),
            code=str(fault["type"]),
            detail=str(fault["msg"]),
            value=_shown(fault.get("input")),
            allowed=_allowed(fault),
        )
        for fault in faults
    ]
    title = "The request is not of the documented form"
    return problem(path, 422, "invalid-request", title, f"{len(items)} fault(s)", items)


def problem_response(
    request: Request, status: int, kind: str, title: str, detail: str, errors: Sequence[ProblemItem] = ()
) -> JSONResponse:
    """Give a problem as an HTTP answer."""
    return _respond(problem(str(request.url.path), status, kind, title, detail, errors))


def _respond(found: Problem) -> JSONResponse:
    headers = {"Retry-After": "1"} if found.status == 503 else None  # what stands still may go on any moment
    return JSONResponse(found.model_dump(mode="json"), found.status, headers, MEDIA_TYPE)


async def _on_unexpected(request: Request, _error: Exception) -> JSONResponse:
    """Answer what nobody foresaw without its details; the server logs them."""
    return problem_response(request, 500, "unexpected", "The service failed", "The fault has been logged")


async def _on_domain_error(request: Request, error: Exception) -> JSONResponse:
    return _respond(problem_of(error, str(request.url.path)))


async def _on_invalid_body(request: Request, error: Exception) -> JSONResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else ()
    return _respond(invalid_problem(faults, str(request.url.path)))


def _pointer(fault: Any) -> str:  # noqa: ANN401 - pydantic's error dict
    """Point at the faulty field; text that is no JSON has none (its `loc` is a place in the text)."""
    place = () if fault["type"] == "json_invalid" else fault["loc"]
    return "".join(f"/{_escape(part)}" for part in place if part != "body")


def _shown(value: object) -> object:
    """Show a faulty value as it came when it is short enough to be read and JSON can hold it."""
    if isinstance(value, bool | None):
        return value
    if isinstance(value, int | float):  # false for NaN, too
        return value if abs(value) < 2**63 else None
    text = repr(value)
    return jsonable_encoder(value) if len(text) <= 200 and "\\ud" not in text else None


def _allowed(fault: Any) -> str | None:  # noqa: ANN401 - pydantic's error dict
    context = fault.get("ctx") or {}
    named = ", ".join(f"{key} {value}" for key, value in context.items() if key != "error")
    return named or None


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else "unexpected"
    answer = problem_response(
        request, status, "http", detail, f"{request.method} {request.url.path}: {detail}"
    )
    answer.headers.update(getattr(error, "headers", None) or {})  # a 405 must say what is allowed
    return answer


def install_problems(app: FastAPI) -> None:
    """Answer every known error as a problem."""
    for kind in PROBLEMS:
        app.add_exception_handler(kind, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_body)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unexpected)


# What any route may answer before its own code runs; those with a body, the latter, too.
ANYWHERE: dict[int, str] = {503: "The service is busy or stopping; `Retry-After` says when to ask again"}
OF_A_BODY: dict[int, str] = {
    400: "The body is no JSON text in UTF-8, or holds a number of thousands of digits",
    408: "The body came too slowly",
    413: "The body is too large",
    422: "The request names what is wrong and what is allowed",
}


def document_problems(app: FastAPI) -> None:
    """Say in the OpenAPI document that refusals are problems; the framework would call them plain JSON."""
    schema = {"$ref": "#/components/schemas/Problem"}
    found = {"content": {MEDIA_TYPE: {"schema": schema}}}
    for path in app.openapi()["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            for status, response in answers.items():
                if int(status) >= 400 and response["content"]["application/json"]["schema"] == schema:
                    response["content"] = found["content"]
            for status, why in (ANYWHERE | OF_A_BODY if "requestBody" in operation else ANYWHERE).items():
                answers.setdefault(str(status), {"description": why, **found})
