"""A closed-loop load generator over keep-alive connections.

Each connection sends a request, waits for the answer and sends again.
The bytes of the requests are made before the clock starts, and an answer is read only as far as its
status and its length, so that one core drives many times what the servers can answer (`ceiling` measures
how many).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

HEAD_END = b"\r\n\r\n"
NEVER = 1e9
CORES = sorted(os.sched_getaffinity(0))
# With one core only, generator and server share it.
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]


@dataclass
class Load:
    """What came back.

    Attributes
    ----------
    seconds
        From the first request to the last answer.
    delays_ms
        Of each request, in the order of the answers.
    ended_s
        When each answer came, seconds after the start.
    statuses
        Answers by status code.
    lost
        Connections that the server closed with a request in flight.
    """

    seconds: float = 0.0
    delays_ms: list[float] = field(default_factory=list)
    ended_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    lost: int = 0

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return len(self.delays_ms) / self.seconds

    def percentile(self, share: float) -> float:
        """Give a percentile of the delays, ms."""
        return float(np.percentile(self.delays_ms, share))

    def check(self, status: int, what: str) -> Load:
        """Refuse a load in which any answer had another status."""
        if set(self.statuses) != {status} or self.lost:
            raise SystemExit(
                f"{what}: asked for {status} alone, got {self.statuses}, {self.lost} connections lost"
            )
        return self


def post(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Write a request as it goes over the wire."""
    named = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body))}
    lines = [
        f"POST {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in (named | (headers or {})).items()),
    ]
    return "\r\n".join(lines).encode() + HEAD_END + body


class _Connection(asyncio.Protocol):
    """One connection, one request at a time, until the time is over."""

    def __init__(
        self, requests: Iterator[bytes], until: float, found: Load, start: float, pause_s: float
    ) -> None:
        self._requests, self._until, self._found, self._start = requests, until, found, start
        self._pause_s = pause_s
        self._buffer = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class does not say so
        self._send()

    def _send(self) -> None:
        assert self._transport is not None  # noqa: S101 - called once connected
        request = next(self._requests, None)
        self._sent = time.perf_counter()
        if request is None or self._sent >= self._until:
            self._sent = 0.0
            self._transport.close()
            return
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(HEAD_END)
        if end < 0:
            return
        head = self._buffer[:end].lower()
        place = head.find(b"content-length:")
        if place < 0:
            raise SystemExit(f"an answer without a length: {head.decode(errors='replace')}")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        now = time.perf_counter()
        found, status = self._found, int(head[9:12])
        found.delays_ms.append((now - self._sent) * 1e3)
        found.ended_s.append(now - self._start)
        found.statuses[status] = found.statuses.get(status, 0) + 1
        self._buffer = self._buffer[end + 4 + length :]
        if self._pause_s:
            self._sent = 0.0
            asyncio.get_running_loop().call_later(self._pause_s, self._send)
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._sent:
            self._found.lost += 1
        if not self.done.done():
            self.done.set_result(None)


def drive(
    port: int, requests: Iterator[bytes], *, connections: int, seconds: float = NEVER, pause_s: float = 0.0
) -> Load:
    """Send until the time is over or there is nothing left to send.

    Parameters
    ----------
    port
        Of the server on loopback.
    requests
        As `post` writes them, shared by the connections.
    connections
        How many requests are in flight at once.
    seconds
        How long to go on.
    pause_s
        How long a connection waits after an answer; 0 for as fast as the server answers.
    """

    async def all_of_them() -> Load:
        loop, found, start = asyncio.get_running_loop(), Load(), time.perf_counter()
        made = [
            await loop.create_connection(
                lambda: _Connection(requests, start + seconds, found, start, pause_s), "127.0.0.1", port
            )
            for _ in range(connections)
        ]
        await asyncio.gather(*(connection.done for _, connection in made))
        found.seconds = time.perf_counter() - start
        return found

    return uvloop.run(all_of_them())


def cycled(requests: list[bytes]) -> Iterator[bytes]:
    """Send a list over and over."""
    return itertools.cycle(requests)


def keyed(make: Callable[[str], bytes], prefix: str) -> Iterator[bytes]:
    """Send requests that each carry a key of their own."""
    return (make(f"{prefix}-{number}") for number in itertools.count())


class _Echo(asyncio.Protocol):
    """Answers any request at once; what the generator can do against it is its ceiling."""

    ANSWER = (
        b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 3500\r\n\r\n"
        + b" " * 3500
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self.ANSWER)  # type: ignore[attr-defined]


async def _serve_echo(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", port)
    await server.serve_forever()


def serve_echo(port: int) -> None:
    """Serve the ceiling until killed."""
    uvloop.run(_serve_echo(port))
