"""What is priced without being offered: previews, covers side by side; and many requests at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from serving.answers import visible
from serving.problems import PROBLEMS, invalid_problem, problem_of
from serving.records import Write
from serving.repeats import Deed
from serving.texts import NEUTRAL_NOTICE
from serving.wire import QuoteRequest

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from serving.access.caller import Caller
    from serving.life_cycle import QuoteLife
    from serving.service import QuoteService
    from serving.wire_quotes import BatchRequest, CompareOption, CompareRequest

PREVIEW, COMPARE, BATCH = "/v1/quotes:preview", "/v1/quotes:compare", "/v1/quotes:batch"
KNOWN = tuple(PROBLEMS)


def preview(service: QuoteService, request: QuoteRequest, caller: Caller, shown: Set[str]) -> dict[str, Any]:
    """Price a risk for a look; nothing is stored and nobody is bound.

    Raises
    ------
    NotAllowedError
        If the channel has no licence. What else is refused: see `QuoteService.price`.
    """
    caller.need_licence("preview premiums")
    caller.need_sale(request.product, request.channel, request.sub_channel)
    return visible(service.price(request, caller, sign=False).shown, caller, shown)


def compare(
    service: QuoteService, request: CompareRequest, caller: Caller, shown: Set[str]
) -> dict[str, Any]:
    """Put covers side by side, in the order of the request; nothing is stored.

    Raises
    ------
    NotAllowedError
        If the channel has no licence.
    """
    caller.need_licence("compare products")
    options = [_option(service, option, caller, shown) for option in request.options]
    return {
        "order": "request",
        "notice": {"en": NEUTRAL_NOTICE.en, "zh": NEUTRAL_NOTICE.zh},
        "options": options,
        "cover": _cover_rows(service, [option.request.product for option in request.options]),
    }


def _option(service: QuoteService, option: CompareOption, caller: Caller, shown: Set[str]) -> dict[str, Any]:
    code = option.request.product
    found: dict[str, Any] = {"label": option.label, "product": code, "name": None}
    try:
        name = service.in_service(code).product.name
        found["name"] = {"en": name.en, "zh": name.zh}
        return {**found, "quote": preview(service, option.request, caller, shown), "problem": None}
    except KNOWN as error:
        return {**found, "quote": None, "problem": problem_of(error, COMPARE).model_dump(mode="json")}


def _cover_rows(service: QuoteService, codes: Sequence[str]) -> list[dict[str, Any]]:
    """Set the covers of the product files against each other, field by field."""
    covers = [
        service.products[code].product.cover.model_dump(mode="json") if code in service.products else {}
        for code in codes
    ]
    names = list(dict.fromkeys(name for cover in covers for name in cover))
    rows = [(name, [cover.get(name) for cover in covers]) for name in names]
    return [
        {"field": name, "values": values, "same": all(value == values[0] for value in values)}
        for name, values in rows
        if any(value is not None for value in values)
    ]


async def batch(life: QuoteLife, request: BatchRequest, caller: Caller, shown: Set[str]) -> Deed:
    """Price many requests; those that can be priced become durable together, each has its own answer."""
    answers: list[dict[str, Any]] = []
    write = Write()
    for raw in request.requests:
        try:
            deed = await life.create(QuoteRequest.model_validate(raw), caller)
        except ValidationError as error:
            problem = invalid_problem(error.errors(), BATCH)
        except KNOWN as error:
            problem = problem_of(error, BATCH)
        else:
            write = Write(write.quotes + deed.write.quotes, write.steps + deed.write.steps)
            quote = visible(deed.answer, caller, shown)
            answers.append({"status": deed.status, "quote": quote, "problem": None})
            continue
        answers.append({"status": problem.status, "quote": None, "problem": problem.model_dump(mode="json")})
    return Deed({"answers": answers}, write)
