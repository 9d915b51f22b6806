"""Back-pressure: what is too much is refused at once, so that what was accepted stays fast."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from serving.http.limits import ALWAYS
from serving.http.refusal import CLOSE, RETRY, refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from serving.http.limits import Limits, Traffic


class Gate:
    """Let in as many requests as may be open at once, and none while the process stops.

    Parameters
    ----------
    app, limits, traffic
        What answers, how much is let in, and the count.
    """

    def __init__(self, app: ASGIApp, limits: Limits, traffic: Traffic) -> None:
        self._app = app
        self._limits = limits
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse a request."""
        traffic = self._traffic
        if scope["path"] in ALWAYS:
            await self._app(scope, receive, send)
        elif traffic.stopping:
            traffic.refused["stopping"] += 1
            detail = "No new request is taken. Hint: ask again, another process will answer"
            await refuse(scope, send, 503, "stopping", "The service is stopping", detail, (RETRY, CLOSE))
        elif traffic.open >= self._limits.open:
            traffic.refused["open"] += 1
            await _refuse_as_busy(scope, send, f"{traffic.open} requests are open")
        else:
            traffic.open += 1
            try:
                await self._app(scope, receive, send)
            finally:
                traffic.open -= 1


class Queue:
    """Work on so many requests at once; so many more wait, in the order in which they came.

    Parameters
    ----------
    app, limits, traffic
        What answers, how much it takes, and the count.
    """

    def __init__(self, app: ASGIApp, limits: Limits, traffic: Traffic) -> None:
        self._app = app
        self._limits = limits
        self._traffic = traffic
        self._places = asyncio.Semaphore(limits.in_work)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, let wait or refuse a request."""
        if scope["path"] in ALWAYS:
            await self._app(scope, receive, send)
            return
        traffic = self._traffic
        if self._places.locked() and traffic.waiting >= self._limits.waiting:
            traffic.refused["queue"] += 1
            await _refuse_as_busy(scope, send, f"{traffic.waiting} requests wait already")
            return
        if not await self._place():
            traffic.refused["waited"] += 1
            await _refuse_as_busy(scope, send, f"no turn within {self._limits.wait_seconds:g} s")
            return
        traffic.in_work += 1
        try:
            await self._app(scope, receive, send)
        finally:
            traffic.in_work -= 1
            self._places.release()

    async def _place(self) -> bool:
        """Take a place, at once or after a wait; false when none came free in time."""
        if not self._places.locked():
            return await self._places.acquire()
        self._traffic.waiting += 1
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                return await self._places.acquire()
        except TimeoutError:
            return False
        finally:
            self._traffic.waiting -= 1


async def _refuse_as_busy(scope: Scope, send: Send, why: str) -> None:
    detail = f"The service has as much to do as it can: {why}. Hint: wait as Retry-After says, then ask again"
    await refuse(scope, send, 503, "busy", "The service is busy", detail, (RETRY,))
