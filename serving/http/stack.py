"""FastAPI inside what stands before its routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from serving.access.guard import Guard
from serving.http.admission import Gate, Queue
from serving.http.body import WholeBody
from serving.http.limits import Limits, Traffic
from serving.http.observe import Observed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from serving.access.desk import Desk
    from serving.http.observe import Observer


class Application(FastAPI):
    """The service as one ASGI application.

    A request passes `Observed`, `Guard`, `Gate`, `WholeBody` and `Queue`, then FastAPI. Each is a plain ASGI
    wrapper: Starlette's `BaseHTTPMiddleware` costs a task per request.

    Parameters
    ----------
    limits
        How much is taken on.
    desk
        Keys of callers; None: the open mode.
    **more
        As of FastAPI.
    """

    def __init__(self, limits: Limits, desk: Desk | None = None, **more: Any) -> None:  # noqa: ANN401 - handed on as they are
        self.limits = limits
        self.desk = desk
        self.traffic = Traffic()
        self.observers: list[Observer] = []
        self.trace_share = 0.0
        super().__init__(**more)

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap what FastAPI builds, its answer to unforeseen errors included."""
        inner = super().build_middleware_stack()
        gate = Gate(
            WholeBody(Queue(inner, self.limits, self.traffic), self.limits), self.limits, self.traffic
        )
        observed = Observed(Guard(gate, self.desk), self.observers, self.trace_share)

        async def entry(scope: Scope, receive: Receive, send: Send) -> None:
            await (observed if scope["type"] == "http" else inner)(scope, receive, send)

        return entry
