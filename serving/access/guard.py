"""Before the routes: who calls, and how often; a pure ASGI wrapper."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from fastapi import Request

from serving.access.caller import OPEN
from serving.access.denials import Denial, begin_note
from serving.problems import problem_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from serving.access.desk import Desk
    from serving.access.keyring import Shown

LONGEST: Final = 4_096  # of an Authorization header
DENIED: Final = 403
WHY: Final[Mapping[str, str]] = {
    "missing": "The request has no key. Hint: send the header Authorization: Bearer <API key or token>",
    "malformed": "Authorization is neither key nor token. Hint: Bearer premia_<live|test>_<key id>_<secret>",
    "unknown": "There is no such key",
    "invalid-token": "The token is not valid, or past its time. Hint: POST /v1/oauth/token gives another",
    "expired": "The key has expired. Hint: ask the operator for another",
    "revoked": "The key was revoked. Hint: ask the operator for another",
    "rotated": "The secret was replaced and its overlap is over. Hint: use the new one",
}


class Guard:
    """Find out who calls, and count the calls.

    Parameters
    ----------
    app
        What answers.
    desk
        Keys, limits and denials; None: the open mode.
    """

    def __init__(self, app: ASGIApp, desk: Desk | None) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through to the routes, or refuse it before its body is read."""
        desk = self._desk
        if scope["type"] != "http" or desk is None:
            scope["premia.caller"] = OPEN
            await self._app(scope, receive, send)
        elif scope["path"] in desk.public:
            await self._app(scope, receive, send)
        else:
            address = address_of(scope)
            found = desk.identify(_authorization(scope), address, monotonic())
            if isinstance(found, int):
                await _too_many(desk, scope, receive, send, "failures", found)
            elif isinstance(found, str):
                await _unknown(desk, scope, receive, send, found)
            else:
                await self._pass(desk, found, scope, receive, send)

    async def _pass(self, desk: Desk, shown: Shown, scope: Scope, receive: Receive, send: Send) -> None:
        bucket, caller = shown.bucket, shown.caller
        if not bucket.take(monotonic()):
            await _too_many(desk, scope, receive, send, "rate", bucket.wait(), shown)
            return
        scope["premia.caller"] = caller
        why = begin_note()

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *bucket.headers()]
                if why or message["status"] == DENIED:
                    reason = why[-1] if why else "not-allowed"
                    denial = _denial(scope, message["status"], reason, caller.key_id)
                    desk.deny(denial)
            await send(message)

        await self._app(scope, receive, told)


def address_of(scope: Scope) -> str:
    """Give the address of the caller; behind a trusted proxy, that which the proxy names."""
    client = scope.get("client")
    return client[0] if client else "unknown"


def _authorization(scope: Scope) -> str | None:
    """Give what follows `Bearer`; None when nothing is shown, an empty text when it cannot be read."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if not values:
        return None
    (value, *more) = values
    if more or len(value) > LONGEST or value[:7].lower() != b"bearer " or not value.isascii():
        return ""
    return str(value[7:].decode("ascii").strip())


def _denial(scope: Scope, status: int, why: str, key_id: str | None) -> Denial:
    return Denial(status, why, key_id, address_of(scope), scope["method"], scope["path"])


async def _unknown(desk: Desk, scope: Scope, receive: Receive, send: Send, why: str) -> None:
    desk.deny(_denial(scope, 401, why, None))
    answer = problem_response(Request(scope), 401, "unauthenticated", "Who calls is not known", WHY[why])
    error = "" if why == "missing" else ', error="invalid_token"'  # RFC 6750
    answer.headers["WWW-Authenticate"] = f'Bearer realm="premia"{error}'
    await answer(scope, receive, send)


async def _too_many(
    desk: Desk, scope: Scope, receive: Receive, send: Send, why: str, seconds: int, shown: Shown | None = None
) -> None:
    desk.deny(_denial(scope, 429, why, shown.caller.key_id if shown else None))
    detail = {
        "rate": f"The key has used up its calls. Hint: wait {seconds} s",
        "failures": f"Too many keys that do not exist came from this address. Hint: wait {seconds} s",
    }[why]
    answer = problem_response(Request(scope), 429, "too-many-requests", "Too many requests", detail)
    answer.headers["Retry-After"] = str(seconds)
    answer.raw_headers.extend(shown.bucket.headers() if shown else ())
    await answer(scope, receive, send)
