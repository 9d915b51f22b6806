"""The client, sync and async: the same calls, retried alike."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import httpx

from premia_client import calls, models
from premia_client.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from premia_client.calls import Body, Call

M = TypeVar("M", bound=models.Model)
AGAIN = frozenset({429, 503})


@dataclass(frozen=True)
class Retries:
    """How often a request is sent again. Every call may be: what writes carries a key.

    Attributes
    ----------
    most
        Retries after the first try.
    longest
        Seconds of one wait; a longer `Retry-After` is not waited for.
    """

    most: int = 3
    longest: float = 30.0

    def wait(self, tried: int, answer: httpx.Response | None) -> float | None:
        """Give the seconds to wait before the next try; None when there is none."""
        if tried >= self.most:
            return None
        named = answer.headers.get("retry-after", "") if answer is not None else ""
        seconds = float(named) if named.isdecimal() else 0.2 * 2.0**tried
        return seconds if seconds <= self.longest else None


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


class Client:
    """Call the service and wait.

    Parameters
    ----------
    url, key
        Of the service, and the API key; without one where the service is open.
    retries, timeout
        How often is tried, and how many seconds one try may take.
    transport
        Of httpx, for tests.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        retries: Retries = Retries(),
        timeout: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._retries = retries
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_what: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def quote(
        self, body: Body, *, key: str | None = None, expand: Sequence[str] | None = None
    ) -> models.QuoteAnswer:
        """Price a risk; the quote is kept."""
        return self._send(calls.quote(body, key, expand))

    def draft(self, body: Body, *, key: str | None = None) -> models.QuoteAnswer:
        """Keep an incomplete request."""
        return self._send(calls.draft(body, key))

    def complete(self, quote_id: str, body: Body, *, key: str | None = None) -> models.QuoteAnswer:
        """Price a draft with what was missing."""
        return self._send(calls.step(quote_id, "complete", body, key))

    def preview(self, body: Body) -> models.QuoteAnswer:
        """Price a risk for a look; licensed channels only."""
        return self._send(calls.preview(body))

    def compare(self, options: Sequence[Body]) -> models.Comparison:
        """Put covers side by side; licensed channels only."""
        return self._send(calls.compare(options))

    def batch(self, requests: Sequence[Body], *, key: str | None = None) -> models.BatchAnswers:
        """Price up to 100 risks, each with its own answer."""
        return self._send(calls.batch(requests, key))

    def get(self, quote_id: str, *, expand: Sequence[str] | None = None) -> models.QuoteAnswer:
        """Give a quote as it stands now."""
        return self._send(calls.get(quote_id, expand))

    def steps(self, quote_id: str) -> models.Steps:
        """Give the life of a quote so far."""
        return self._send(calls.steps(quote_id))

    def page(self, cursor: str | None = None, *, limit: int = 20) -> models.QuotePage:
        """Give some quotes of the own channel, newest first."""
        return self._send(calls.page(cursor, limit))

    def accept(self, quote_id: str, price_minor: int, *, key: str | None = None) -> models.QuoteAnswer:
        """Accept a quote at the price that the customer saw."""
        return self._send(calls.step(quote_id, "accept", {"price_minor": price_minor}, key))

    def decline(self, quote_id: str, reason: str, *, key: str | None = None) -> models.QuoteAnswer:
        """Say that the customer does not want it, and why."""
        return self._send(calls.step(quote_id, "decline", {"reason": reason}, key))

    def review(self, quote_id: str, text: str, *, key: str | None = None) -> models.QuoteAnswer:
        """Have a person look at a quote."""
        return self._send(calls.step(quote_id, "review", {"text": text}, key))

    def decide(self, quote_id: str, body: Body, *, key: str | None = None) -> models.QuoteAnswer:
        """Record what a person decides on a referred quote."""
        return self._send(calls.step(quote_id, "decision", body, key))

    def revoke(self, quote_id: str, reason: str, *, key: str | None = None) -> models.QuoteAnswer:
        """Take a quote back."""
        return self._send(calls.step(quote_id, "revoke", {"reason": reason}, key))

    def verify(self, certificate: Body) -> models.Verification:
        """Ask what a certificate is worth now."""
        return self._send(calls.verify(certificate))

    def verification_keys(self) -> models.VerificationKeys:
        """Fetch the keys for `is_genuine`."""
        return self._send(calls.verification_keys())

    def quotes(self, *, limit: int = 100) -> Iterator[models.QuoteSummary]:
        """Give all quotes of the own channel, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = self.page(cursor, limit=limit)
            yield from page.quotes
            cursor = page.next
            if cursor is None:
                return

    def _send(self, call: Call[M]) -> M:
        tried = 0
        while True:
            answer: httpx.Response | None = None
            try:
                answer = self._http.send(call.request(self._http))
            except httpx.TransportError as error:
                seconds = self._retries.wait(tried, None)
                if seconds is None:
                    raise ConnectionFailed(f"no answer to {call.method} {call.path}: {error}") from error
            else:
                seconds = self._retries.wait(tried, answer) if answer.status_code in AGAIN else None
                if seconds is None:
                    return call.read(answer)
            time.sleep(seconds)
            tried += 1


class AsyncClient:
    """Call the service, awaited.

    Parameters
    ----------
    url, key
        Of the service, and the API key; without one where the service is open.
    retries, timeout
        How often is tried, and how many seconds one try may take.
    transport
        Of httpx, for tests.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        retries: Retries = Retries(),
        timeout: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._retries = retries
        self._http = httpx.AsyncClient(
            base_url=url, headers=_headers(key), timeout=timeout, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_what: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def quote(
        self, body: Body, *, key: str | None = None, expand: Sequence[str] | None = None
    ) -> models.QuoteAnswer:
        """Price a risk; the quote is kept."""
        return await self._send(calls.quote(body, key, expand))

    async def draft(self, body: Body, *, key: str | None = None) -> models.QuoteAnswer:
        """Keep an incomplete request."""
        return await self._send(calls.draft(body, key))

    async def complete(self, quote_id: str, body: Body, *, key: str | None = None) -> models.QuoteAnswer:
        """Price a draft with what was missing."""
        return await self._send(calls.step(quote_id, "complete", body, key))

    async def preview(self, body: Body) -> models.QuoteAnswer:
        """Price a risk for a look; licensed channels only."""
        return await self._send(calls.preview(body))

    async def compare(self, options: Sequence[Body]) -> models.Comparison:
        """Put covers side by side; licensed channels only."""
        return await self._send(calls.compare(options))

    async def batch(self, requests: Sequence[Body], *, key: str | None = None) -> models.BatchAnswers:
        """Price up to 100 risks, each with its own answer."""
        return await self._send(calls.batch(requests, key))

    async def get(self, quote_id: str, *, expand: Sequence[str] | None = None) -> models.QuoteAnswer:
        """Give a quote as it stands now."""
        return await self._send(calls.get(quote_id, expand))

    async def steps(self, quote_id: str) -> models.Steps:
        """Give the life of a quote so far."""
        return await self._send(calls.steps(quote_id))

    async def page(self, cursor: str | None = None, *, limit: int = 20) -> models.QuotePage:
        """Give some quotes of the own channel, newest first."""
        return await self._send(calls.page(cursor, limit))

    async def accept(self, quote_id: str, price_minor: int, *, key: str | None = None) -> models.QuoteAnswer:
        """Accept a quote at the price that the customer saw."""
        return await self._send(calls.step(quote_id, "accept", {"price_minor": price_minor}, key))

    async def decline(self, quote_id: str, reason: str, *, key: str | None = None) -> models.QuoteAnswer:
        """Say that the customer does not want it, and why."""
        return await self._send(calls.step(quote_id, "decline", {"reason": reason}, key))

    async def review(self, quote_id: str, text: str, *, key: str | None = None) -> models.QuoteAnswer:
        """Have a person look at a quote."""
        return await self._send(calls.step(quote_id, "review", {"text": text}, key))

    async def decide(self, quote_id: str, body: Body, *, key: str | None = None) -> models.QuoteAnswer:
        """Record what a person decides on a referred quote."""
        return await self._send(calls.step(quote_id, "decision", body, key))

    async def revoke(self, quote_id: str, reason: str, *, key: str | None = None) -> models.QuoteAnswer:
        """Take a quote back."""
        return await self._send(calls.step(quote_id, "revoke", {"reason": reason}, key))

    async def verify(self, certificate: Body) -> models.Verification:
        """Ask what a certificate is worth now."""
        return await self._send(calls.verify(certificate))

    async def verification_keys(self) -> models.VerificationKeys:
        """Fetch the keys for `is_genuine`."""
        return await self._send(calls.verification_keys())

    async def quotes(self, *, limit: int = 100) -> AsyncIterator[models.QuoteSummary]:
        """Give all quotes of the own channel, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = await self.page(cursor, limit=limit)
            for one in page.quotes:
                yield one
            cursor = page.next
            if cursor is None:
                return

    async def _send(self, call: Call[M]) -> M:
        tried = 0
        while True:
            answer: httpx.Response | None = None
            try:
                answer = await self._http.send(call.request(self._http))
            except httpx.TransportError as error:
                seconds = self._retries.wait(tried, None)
                if seconds is None:
                    raise ConnectionFailed(f"no answer to {call.method} {call.path}: {error}") from error
            else:
                seconds = self._retries.wait(tried, answer) if answer.status_code in AGAIN else None
                if seconds is None:
                    return call.read(answer)
            await asyncio.sleep(seconds)
            tried += 1
