"""Routes of those who watch the service: does it live, may it be sent requests, what does it do."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from fastapi import Depends, Request, Response, Security
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from serving.access.caller import caller
from serving.errors import NotAllowedError, StoreError
from serving.http.metrics import open_metrics
from serving.problems import problem_response
from serving.wire import Health, Problem

if TYPE_CHECKING:
    from serving.http.stack import Application
    from serving.service import QuoteService
    from serving.settings import Settings

NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": Problem, "description": "No request should be sent here; the detail says why"}
}
NOT_ALLOWED: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "Not for who asks from here"}
}


def add_watch_routes(app: Application, settings: Settings) -> None:
    """Add `/v1/health`, `/v1/ready` and `/v1/metrics`."""
    registry = open_metrics(app)
    allowed = (
        Depends(_only_loopback) if settings.metrics == "loopback" else Security(caller, scopes=["admin"])
    )

    @app.get("/v1/health")
    async def health() -> Health:
        """Tell that the process lives; no store is touched."""
        return Health(status="ok")

    @app.get("/v1/ready", responses=NOT_READY, response_model=Health)
    async def ready(request: Request) -> Health | Response:
        """Tell whether requests should be sent here: products to quote, a store that takes them, no stop."""
        why = await find_obstacles(app)
        if why:
            return problem_response(request, 503, "not-ready", "The service is not ready", "; ".join(why))
        generation = app.state.service.generation
        return Health(
            status="ok",
            products=sorted(generation.products),
            out_of_service=dict(generation.out_of_service),
            refused=dict(generation.refused),
            generation=generation.number,
        )

    @app.get("/v1/metrics", responses=NOT_ALLOWED, dependencies=[allowed], response_class=Response)
    async def metrics() -> Response:
        """Give the figures of the process in Prometheus' text format."""
        return _exposition(registry)


async def find_obstacles(app: Application) -> list[str]:
    """Say what keeps the service from answering quotes."""
    service: QuoteService | None = getattr(app.state, "service", None)
    if service is None:
        return ["the stores are not open"]
    found = ["the process was told to stop"] if app.traffic.stopping else []
    if not service.products:
        found.append("no product is in service")
        found += [f"{code}: {why}" for code, why in sorted(service.out_of_service.items())]
    try:
        await service.records.check_writable()
    except StoreError as error:
        found.append(str(error))
    return found


def _exposition(registry: CollectorRegistry) -> Response:
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


async def _only_loopback(request: Request) -> None:
    """Refuse who is not on this machine, or asks through a proxy on it."""
    proxied = "x-forwarded-for" in request.headers or "forwarded" in request.headers
    if proxied or request.client is None or not _is_loopback(request.client.host):
        raise NotAllowedError("loopback", "metrics are read on this machine only. Hint: PREMIA_METRICS=admin")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
