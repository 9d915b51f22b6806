"""uvicorn with heads bounded in time and size, problems for what it refuses, and an orderly stop."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.http.exchange import Exchange, enter
from serving.problems import MEDIA_TYPE, problem

if TYPE_CHECKING:
    from types import FrameType

    from serving.http.limits import Traffic
    from serving.http.stack import Application
    from serving.settings import Settings

HEAD_BYTES: Final = 65_536


class Connection(HttpToolsProtocol):  # type: ignore[misc] # uvicorn is not followed
    """One connection: the head of each request is bounded in time and size."""

    head_seconds = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a head that does not end is refused."""
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(431, "head-too-large", f"The head of a request has at most {HEAD_BYTES:,} bytes")

    def on_message_begin(self) -> None:
        """Begin to wait for the head of the next request."""
        super().on_message_begin()
        if self._head_timer is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Hand the request on."""
        self._head_came()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(400, "no-http", msg)

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._late)

    def _head_came(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._refuse(
            408, "too-slow", f"The head of the request did not arrive within {self.head_seconds:g} s"
        )

    def _refuse(self, status: int, kind: str, detail: str) -> None:
        """Answer with a problem outside of any exchange, and hang up."""
        self._head_came()
        if self.transport.is_closing():
            return
        exchange = Exchange()
        enter(exchange)
        phrase = HTTPStatus(status).phrase
        body = problem("", status, kind, phrase, detail).model_dump_json().encode()
        head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        more = b"".join(b"%b: %b\r\n" % pair for pair in exchange.headers())
        self.transport.write(head.encode() + more + b"connection: close\r\n\r\n" + body)
        self.transport.close()


class Server(uvicorn.Server):  # type: ignore[misc] # uvicorn is not followed
    """A server that says that it stops before it stops.

    Parameters
    ----------
    config, traffic
        Of uvicorn; and where the application looks whether it stops.
    drain_seconds
        How long it listens on, refusing new requests, after it was told to stop.
    """

    def __init__(self, config: uvicorn.Config, traffic: Traffic, drain_seconds: float) -> None:
        super().__init__(config)
        self._traffic = traffic
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take nothing new from now on."""
        self._traffic.stopping = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: Any = None) -> None:  # noqa: ANN401 - as of uvicorn
        """Let the balancer see it, answer what was accepted, close the stores."""
        self._traffic.stopping = True
        await asyncio.sleep(self._drain_seconds)
        await super().shutdown(sockets)


def build_server(app: Application, settings: Settings) -> Server:
    """Build the server of an application."""

    class Timed(Connection):
        head_seconds = settings.head_seconds

    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Timed,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        server_header=False,
        timeout_keep_alive=settings.idle_seconds,
        timeout_graceful_shutdown=settings.stop_seconds,
    )
    return Server(config, app.traffic, settings.drain_seconds)
