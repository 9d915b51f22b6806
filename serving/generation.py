"""A generation: everything that prices, of one moment; and how the next one takes its place.

Each request reads `QuoteService.generation` once, at its begin, and uses it to its end, so that no quote
mixes versions. A watcher looks every second whether something on the disk has changed, loads the next
generation in a thread beside the requests, and puts it in place by one assignment between two of them. What
cannot be loaded is refused with the reason, and the last good one of that product goes on pricing. An old
generation is closed by whoever drops it last: the last request that began with it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from models.errors import ModelError
from pricing.errors import PricingError
from serving.errors import ServingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from serving.engine import InService
    from serving.price_tests import ProductTests
    from serving.service import QuoteService
    from serving.snapshot import Signature, Snapshot

LOG = logging.getLogger(__name__)
WATCH_SECONDS = 1.0
RETRY_SECONDS = 30.0  # what failed as a whole may have been a disk or a lock
# While a thread loads, the requests get the interpreter back after this long instead of Python's 5 ms.
TURN_SECONDS = 0.0005
REFUSALS = (ServingError, ModelError, PricingError, OSError, UnicodeError, sqlite3.Error)


@dataclass(frozen=True, eq=False)
class Generation:
    """Everything that prices, of one moment; nothing of it changes.

    Attributes
    ----------
    snapshot
        What is known of customers and sellers, with the readers of the products in service.
    products, out_of_service
        What prices each product, and why the others do not serve, by code.
    refused
        What lies on the disk and cannot serve, and why, by product (`serving store`, `price tests`); the last
        good one serves in its place.
    tests
        Price tests of each product in service.
    number
        1, 2, ... since the start.
    signature
        Identity of every file that it was read from, or that was refused.
    loaded
        When, on the clock `time.monotonic`.
    """

    snapshot: Snapshot
    products: Mapping[str, InService] = field(default_factory=dict)
    out_of_service: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    tests: Mapping[str, ProductTests] = field(default_factory=dict)
    number: int = 1
    signature: Signature = ()
    loaded: float = field(default_factory=time.monotonic)


class Loader(Protocol):
    """The newest generation on the disk."""

    def signature(self) -> Signature:
        """Identify the files on the disk."""

    def load(self, before: Generation | None = None) -> Generation:
        """Load them; what is as it was before is taken over, what cannot serve is refused."""


@asynccontextmanager
async def watching(service: QuoteService) -> AsyncIterator[None]:
    """Let the service take new generations while the block runs."""
    if service.loader is None:
        yield
        return
    task = asyncio.create_task(keep_current(service, service.loader))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def keep_current(service: QuoteService, loader: Loader) -> None:
    """Look for something new every second, and let the service take it; runs until cancelled."""
    passed_over: Signature | None = None
    again = 0.0
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        found = await asyncio.to_thread(loader.signature)
        begun = time.perf_counter()
        if found == service.generation.signature or (found == passed_over and begun < again):
            continue
        try:
            with short_turns():
                newest = await asyncio.to_thread(loader.load, service.generation)
        except REFUSALS as error:
            passed_over, again = found, begun + RETRY_SECONDS
            service.refusals += 1
            LOG.warning("nothing new can be served, the old one stays: %s", error)
            continue
        loaded = time.perf_counter()
        forgotten = service.take(newest)
        LOG.info(
            "generation %d in service: loaded beside the requests in %.0f ms, put in place in %.1f ms, "
            "%d events were in its snapshot",
            newest.number,
            1e3 * (loaded - begun),
            1e3 * (time.perf_counter() - loaded),
            forgotten,
        )


def tell_refused(before: Generation | None, refused: Mapping[str, str]) -> int:
    """Log what is newly refused; give how many."""
    told = {} if before is None else before.refused
    news = {name: why for name, why in refused.items() if told.get(name) != why}
    for name, why in news.items():
        LOG.warning("%s: what is new cannot be served, the old one stays: %s", name, why)
    return len(news)


@contextmanager
def short_turns() -> Iterator[None]:
    """Let threads take turns at the interpreter more often while the block runs."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(TURN_SECONDS, usual))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
