"""Problems (RFC 9457) answered before any route is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from serving.problems import MEDIA_TYPE, problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope, Send

Headers: TypeAlias = "Sequence[tuple[bytes, bytes]]"
CLOSE: Final = (b"connection", b"close")
RETRY: Final = (b"retry-after", b"1")


async def refuse(
    scope: Scope, send: Send, status: int, kind: str, title: str, detail: str, headers: Headers = ()
) -> None:
    """Answer with a problem."""
    body = problem(scope["path"], status, kind, title, detail).model_dump_json().encode()
    about = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*about, *headers]})
    await send({"type": "http.response.body", "body": body})
