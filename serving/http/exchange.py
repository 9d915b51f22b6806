"""One request and its answer: identity, trace, stages, and what log and metrics say of it.

The exchange of the running request is found by `current()`, so that the code that prices needs no request to
say what it did. Outside of a request there is none, and `mark` and `note_quote` do nothing.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from secrets import token_hex
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CURRENT: ContextVar[Exchange | None] = ContextVar("exchange", default=None)
REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
TRACEPARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SAMPLED: Final = 1
MARKS: Final = 64  # of a batch, only the first stages are kept


class Exchange:
    """A request from its first byte to its answer.

    Parameters
    ----------
    headers
        Of the request, names in lower case.
    share
        Share of the traces begun here that are recorded; a trace begun elsewhere says so itself.
    """

    __slots__ = (
        "arms",
        "arrived_ns",
        "began",
        "ended",
        "key_id",
        "marks",
        "method",
        "parent_id",
        "quotes",
        "request_id",
        "route",
        "sampled",
        "span_id",
        "status",
        "trace_id",
    )

    def __init__(self, headers: Iterable[tuple[bytes, bytes]] = (), share: float = 0.0) -> None:
        self.began = self.ended = perf_counter_ns()
        self.arrived_ns = time_ns()
        self.method = self.route = ""
        self.status = 0
        self.key_id: str | None = None
        self.quotes: list[tuple[str, str, str, str]] = []
        self.arms: dict[str, str] = {}
        self.marks: list[tuple[str, int]] = []
        fresh = token_hex(16)  # all of it random, as samplers downstream expect
        self.span_id = token_hex(8)
        self.trace_id, self.parent_id, self.sampled = fresh, "", int(fresh[16:], 16) < share * 2**64
        self.request_id = fresh
        for name, value in headers:
            if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                self.request_id = value.decode()
            elif name == b"traceparent":
                self._continue(value)

    def _continue(self, traceparent: bytes) -> None:
        found = TRACEPARENT.fullmatch(traceparent)
        if not found:
            return
        version, trace, parent, flags, more = found.groups()
        unusable = version == b"ff" or (version == b"00" and more)
        if unusable or trace == b"0" * 32 or parent == b"0" * 16:
            return
        self.trace_id, self.parent_id = trace.decode(), parent.decode()
        self.sampled = bool(int(flags, 16) & SAMPLED)

    @property
    def ms(self) -> float:
        """Milliseconds from the first byte to the end of the answer, or until now."""
        ended = self.ended if self.ended > self.began else perf_counter_ns()
        return (ended - self.began) / 1e6

    def stages(self) -> Iterator[tuple[str, int, int]]:
        """Give name, begin and end of each stage, in nanoseconds since the first byte."""
        before = 0
        for name, at in self.marks:
            yield name, before, at - self.began
            before = at - self.began

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Give the headers that tell the caller of the answer which exchange it was, and what took long."""
        spent: dict[str, int] = {}
        for name, begin, end in self.stages():
            spent[name] = spent.get(name, 0) + end - begin
        parts = [f"{name};dur={ns / 1e6:.3f}" for name, ns in spent.items() if name]
        timing = ", ".join([*parts, f"total;dur={self.ms:.3f}"])
        return [
            (b"x-request-id", self.request_id.encode()),
            (b"traceparent", f"00-{self.trace_id}-{self.span_id}-0{int(self.sampled)}".encode()),
            (b"server-timing", timing.encode()),
        ]


def current() -> Exchange | None:
    """Give the exchange of the running request; None outside of one."""
    return _CURRENT.get()


def enter(exchange: Exchange) -> None:
    """Make an exchange that of the running task."""
    _CURRENT.set(exchange)


def mark(stage: str) -> None:
    """Say that what ran since the last mark was this stage; an empty name: nothing worth a name."""
    exchange = _CURRENT.get()
    if exchange is not None and len(exchange.marks) < MARKS:
        exchange.marks.append((stage, perf_counter_ns()))


def note_arm(quote_id: str, arm: str) -> None:
    """Say which arm priced a quote that is about to be noted; champion where nothing is said."""
    exchange = _CURRENT.get()
    if exchange is not None:
        exchange.arms[quote_id] = arm


def note_quote(product: str, channel: str, state: str, quote_id: str = "") -> None:
    """Say that the running request brought a quote into a state; product and channel are known ones."""
    exchange = _CURRENT.get()
    if exchange is not None:
        arm = exchange.arms.get(quote_id, "champion")
        exchange.quotes.append((product, channel, state, arm))
