"""The outermost wrapper: gives each request its exchange, and tells who observes how it ended."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeAlias

from serving.http.exchange import Exchange, enter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from serving.access.caller import Caller

    Observer: TypeAlias = Callable[[Exchange], None]

GONE = 499  # the client left before it was answered; no answer carries it, log and metrics do
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Observed:
    """Identify a request, answer it, and hand the finished exchange to the observers.

    Parameters
    ----------
    app
        What answers.
    observers
        Called with each exchange after its answer, in this order.
    share
        Share of the traces begun here that are recorded.
    """

    def __init__(self, app: ASGIApp, observers: Sequence[Observer], share: float = 0.0) -> None:
        self._app = app
        self._observers = observers
        self._share = share

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        exchange = Exchange(scope["headers"], self._share)
        exchange.method = scope["method"] if scope["method"] in METHODS else "other"
        enter(exchange)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *exchange.headers()]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            exchange.ended = perf_counter_ns()
            exchange.route = _template(scope)
            exchange.status = exchange.status or GONE
            who: Caller | None = scope.get("premia.caller")
            if who is not None:
                exchange.key_id = who.key_id
            for observe in self._observers:
                observe(exchange)


def _template(scope: Scope) -> str:
    """Give the path as the route declares it: the path itself holds ids."""
    route: Any = scope.get("route")
    return getattr(route, "path", "unmatched")
