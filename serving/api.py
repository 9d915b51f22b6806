"""The HTTP service: thin routes over `QuoteService`."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from fastapi import Depends, FastAPI, Path, Request

from serving.access.caller import (  # noqa: TC001 - FastAPI reads annotations at run time
    AnyCaller,
    ConsentWriter,
    EventWriter,
    ProfileReader,
    Recommender,
)
from serving.access.desk import desk_of
from serving.access.oauth import add_token_route
from serving.access.scopes import document_access
from serving.events import EventAnswers, EventBatch  # noqa: TC001 - likewise
from serving.generation import watching
from serving.http.limits import Limits
from serving.http.logs import log_request
from serving.http.stack import Application
from serving.http.watch import add_watch_routes
from serving.life_cycle import QuoteLife
from serving.problems import document_problems, install_problems
from serving.repeats import Repeats
from serving.routes_quotes import router
from serving.service import QuoteService  # noqa: TC001 - FastAPI reads annotations at run time
from serving.settings import Settings
from serving.webhooks.deliverer import delivering
from serving.wire import (
    ActionRequest,
    ConsentRequest,
    Consents,
    NextAction,
    Problem,
    ProductInfo,
    RecommendationRequest,
    Recommendations,
    RiskProfile,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from serving.http.traces import Traces

Responses: TypeAlias = "dict[int | str, dict[str, Any]]"
PROBLEM: dict[str, Any] = {"model": Problem}
INVALID: Responses = {422: {**PROBLEM, "description": "The request names what is wrong and what is allowed"}}
UNKNOWN: Responses = {404: {**PROBLEM, "description": "Not found"}}


async def _service(request: Request) -> QuoteService:
    service: QuoteService = request.app.state.service
    return service


Service = Annotated[QuoteService, Depends(_service)]
Purpose = Annotated[str, Path(max_length=64)]
CustomerId = Annotated[int, Path(ge=0, le=2**63 - 1)]


def create_app(open_service: Callable[[], QuoteService], settings: Settings | None = None) -> Application:
    """Build the application.

    Parameters
    ----------
    open_service
        Opens stores and models when the application starts; they are closed when it stops.
    settings
        What the application takes on and tells; absent: as the environment says.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = open_service()
        app.state.service = service
        app.state.life = QuoteLife(service)
        app.state.repeats = Repeats(service.records, service.clock)
        # What was loaded stays: the collector would walk it all again and again, 50 to 100 ms each time.
        gc.collect()
        gc.freeze()
        async with AsyncExitStack() as running:
            await running.enter_async_context(watching(service))
            app.state.deliverer = await running.enter_async_context(
                delivering(service.records, service.clock)
            )
            if desk:
                await running.enter_async_context(desk.open())
            yield
        await service.aclose()
        gc.unfreeze()
        if traces:
            traces.close()

    settings = settings or Settings()
    desk = desk_of(settings)
    traces = _open_traces(settings)
    app = Application(
        Limits.of(settings),
        desk,
        title="Premia",
        summary="Scored, explained quotes for internet insurance",
        version=version("premia"),
        lifespan=lifespan,
    )
    app.observers.append(log_request)
    if traces:
        app.trace_share = settings.trace_share
        app.observers.append(traces.observe)
    install_problems(app)
    app.include_router(router)
    _add_routes(app)
    add_token_route(app, desk)
    add_watch_routes(app, settings)
    document_problems(app)
    document_access(app)
    return app


def _open_traces(settings: Settings) -> Traces | None:
    if settings.otlp_endpoint is None:
        return None
    from serving.http.traces import open_traces  # who makes no traces need not load what makes them

    return open_traces(str(settings.otlp_endpoint), version("premia"))


def _add_routes(app: Application) -> None:
    @app.get("/v1/customers/{customer_id}/risk-profile", responses=UNKNOWN | INVALID)
    async def read_risk_profile(customer_id: CustomerId, service: Service, who: ProfileReader) -> RiskProfile:
        """Give the features of a customer as of now."""
        return service.risk_profile(customer_id)

    @app.post("/v1/events", responses=INVALID)
    async def take_events(body: EventBatch, service: Service, who: EventWriter) -> EventAnswers:
        """Take up to 1,000 orders, returns and claims; each gets its own answer."""
        return service.take_events(body)

    @app.put("/v1/customers/{customer_id}/consents/{purpose}", responses=UNKNOWN | INVALID)
    async def set_consent(
        customer_id: CustomerId, purpose: Purpose, body: ConsentRequest, service: Service, who: ConsentWriter
    ) -> Consents:
        """Grant or withdraw the consent for a purpose; the next quote follows it."""
        return service.set_consent(customer_id, purpose, granted=body.granted)

    @app.get("/v1/customers/{customer_id}/consents", responses=INVALID)
    async def read_consents(customer_id: CustomerId, service: Service, who: ConsentWriter) -> Consents:
        """Give what a customer has granted or withdrawn."""
        return service.consents(customer_id)

    @app.post("/v1/recommendations", responses=UNKNOWN | INVALID)
    async def recommend(body: RecommendationRequest, service: Service, who: Recommender) -> Recommendations:
        """Rank the products that suit a customer; what is shown is stored before the answer."""
        return await service.show_offers(body, who)

    @app.post("/v1/next-best-action", responses=UNKNOWN | INVALID)
    async def next_best_action(body: ActionRequest, service: Service, who: Recommender) -> NextAction:
        """Choose whether and how a customer is contacted; a contact that is answered counts as made."""
        return service.next_action(body, who)

    @app.get("/v1/products")
    async def list_products(service: Service, who: AnyCaller) -> list[ProductInfo]:
        """List the products in service with what each needs to know."""
        return [one for one in service.list_products() if who.sells(one.code)]
