"""Bodies: bounded in size, in time and in depth, and whole before a route sees them."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from serving.http.refusal import CLOSE, refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from serving.http.limits import Limits

MAX_DEPTH: Final = 32
# An unfinished text runs to the end: a search for its close from every quote would take quadratic time.
TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
BRACKET: Final = re.compile(rb"[\[\]{}]")
NO_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class TooLargeError(Exception):
    """A body has more bytes than are taken."""


class GoneError(Exception):
    """The client went away before its request was whole."""


class WholeBody:
    """Read the body before the route is called; refuse one too large, too slow or nested too deep.

    Parameters
    ----------
    app, limits
        What answers, and how large and slow a body may be.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse a request."""
        if scope["method"] in NO_BODY:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except TooLargeError:
            detail = f"A body has at most {self._limits.body_bytes:,} bytes. Hint: send it in parts"
            await refuse(scope, send, 413, "too-large", "The body is too large", detail, (CLOSE,))
        except TimeoutError:
            detail = f"The body did not arrive within {self._limits.body_seconds:g} s"
            await refuse(scope, send, 408, "too-slow", "The request came too slowly", detail, (CLOSE,))
        except GoneError:
            return
        else:
            if too_deep(body):
                detail = f"JSON is read down to {MAX_DEPTH} levels. Hint: every documented request has fewer"
                await refuse(scope, send, 422, "too-deep", "The body is nested too deep", detail)
            else:
                await self._app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """Read the body.

        Raises
        ------
        TooLargeError, TimeoutError, GoneError
            If it is not to be had.
        """
        limit = self._limits.body_bytes
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > limit:
                raise TooLargeError
        parts: list[bytes] = []
        size, more = 0, True
        async with asyncio.timeout(self._limits.body_seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise GoneError
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise TooLargeError
                more = message.get("more_body", False)
        return b"".join(parts)


def too_deep(body: bytes) -> bool:
    """Tell whether JSON is nested deeper than is read; what is no JSON is judged by its brackets alike."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in BRACKET.findall(TEXT.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read, then what else comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
