"""The Python client against the service itself, over loopback."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import generate
import httpx
import pytest
import uvicorn

from premia_client import AsyncClient, Client, ConnectionFailed, is_genuine
from premia_client.client import Retries
from premia_client.errors import Conflict, Invalid, NotAllowed, NotFound, ServiceBusy
from serving.access.caller import Caller
from serving.access.keys import create_key
from serving.api import create_app
from serving.clock import wall_clock
from serving.compose import open_service
from serving.examples import FREIGHT, MOTOR
from serving.records.keys import open_vault
from serving.records.store import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("insurer")]


@contextmanager
def served(settings: Any) -> Iterator[str]:
    app = create_app(lambda: open_service(settings), settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(insurer) -> Iterator[str]:
    with served(insurer.settings) as found:
        yield found


def test_the_models_are_those_of_the_service(insurer):
    fresh = generate.generate(create_app(lambda: open_service(insurer.settings)).openapi())
    assert generate.MODELS.read_text(encoding="utf-8") == fresh, "make client"


def test_a_channel_sells_through_the_client(url):
    with Client(url) as premia:
        quote = premia.quote(MOTOR)
        assert premia.get(quote.quote_id) == quote
        assert quote.created_at.utcoffset() == dt.timedelta(0)
        assert quote.price is not None
        assert is_genuine(quote.certificate, premia.verification_keys())
        forged = quote.certificate.model_copy(update={"price_minor": 1})
        assert not is_genuine(forged, premia.verification_keys())
        assert premia.accept(quote.quote_id, quote.price.minor).status == "accepted"
        assert premia.verify(quote.certificate).status == "accepted"
        assert [step.state for step in premia.steps(quote.quote_id).steps] == ["quoted", "accepted"]
        draft = premia.draft(MOTOR | {"risk": {}})
        done = premia.complete(draft.quote_id, {"risk": MOTOR["risk"]})
        assert premia.decline(done.quote_id, "price").status == "declined"
        waiting = premia.review(premia.quote(MOTOR).quote_id, "why?")
        decision = {"decision": "confirm", "reason": "as before"}
        assert premia.decide(waiting.quote_id, decision).price == quote.price
        assert premia.revoke(waiting.quote_id, "test").status == "revoked"
        assert premia.preview(MOTOR).price == quote.price
        assert len(premia.compare([FREIGHT, MOTOR]).options) == 2
        assert [one.status for one in premia.batch([FREIGHT, {}]).answers] == [201, 422]
        assert done.quote_id in {one.quote_id for one in premia.quotes(limit=2)}


def test_problems_are_exceptions_with_pointers(url):
    with Client(url) as premia:
        with pytest.raises(Invalid) as refused:
            premia.quote(MOTOR | {"risk": {}})
        assert refused.value.kind == "risk-not-usable"
        assert "/risk/driver_age" in {item.pointer for item in refused.value.errors}
        assert refused.value.trace_id
        with pytest.raises(NotFound):
            premia.get("a/b")
        quote = premia.quote(FREIGHT)
        with pytest.raises(Conflict, match="price-mismatch"):
            premia.accept(quote.quote_id, quote.price.minor + 1)


class Lossy(httpx.HTTPTransport):
    """A network that loses the first answers, or a proxy that says 503 in their place."""

    def __init__(self, losses: int, status: int | None) -> None:
        super().__init__()
        self.losses, self.status = losses, status
        self.sent = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        self.sent += 1
        if self.sent > self.losses:
            return answer
        answer.read()
        answer.close()
        if self.status is None:
            raise httpx.ReadError("lost", request=request)
        return httpx.Response(self.status, headers={"Retry-After": "0"}, request=request)


@pytest.mark.parametrize("status", [None, 503, 429])
def test_what_was_lost_on_the_way_is_not_done_twice(url, status):
    lossy = Lossy(2, status)
    with Client(url) as plain:
        before = sum(1 for _ in plain.quotes())
        with Client(url, transport=lossy) as premia:
            premia.quote(FREIGHT)
        assert lossy.sent == 3
        assert sum(1 for _ in plain.quotes()) == before + 1


def test_the_client_gives_up_in_words(url):
    with Client(url, retries=Retries(1), transport=Lossy(9, 503)) as premia, pytest.raises(ServiceBusy):
        premia.quote(FREIGHT)
    with Client("http://127.0.0.1:9", retries=Retries(0)) as premia, pytest.raises(ConnectionFailed):
        premia.get("x")
    named = httpx.Response(503, headers={"Retry-After": "60"})
    assert Retries(longest=30).wait(0, named) is None
    assert Retries(longest=90).wait(0, named) == 60


def test_the_async_client_does_the_same(url):
    async def sell() -> None:
        async with AsyncClient(url) as premia:
            quotes = await asyncio.gather(*(premia.quote(FREIGHT) for _ in range(8)))
            assert len({quote.quote_id for quote in quotes}) == 8
            seen = {one.quote_id async for one in premia.quotes(limit=3)}
            assert seen >= {quote.quote_id for quote in quotes}
            with pytest.raises(NotFound):
                await premia.get("nothing")

    asyncio.run(sell())


def test_a_channel_tries_its_integration_with_a_key_for_trial(insurer):
    kept = insurer.settings.model_copy(update={"access": "keys", "sandbox_rate": 1_000})
    scopes = frozenset({"quotes:read", "quotes:write", "quotes:accept", "expand:ladder"})
    who = Caller("", "shop", "direct", scopes, sandbox=True)
    database = open_database(kept, open_vault(kept))
    key = database.write_now(lambda con: create_key(con, who, dt.timedelta(days=1), "Lin", wall_clock()()))
    database.close_now()
    with served(kept) as url:
        with Client(url, key.text) as premia:
            quote = premia.quote(MOTOR)
            assert (quote.sandbox, quote.status, quote.channel) == (True, "quoted", "direct")
            assert quote.price is not None
            assert sum(step.minor for step in quote.ladder) == quote.price.minor
            assert quote.reasons is None
            assert premia.draft(MOTOR | {"risk": {}}).sandbox
            assert is_genuine(quote.certificate, premia.verification_keys())
            accepted = premia.accept(quote.quote_id, quote.price.minor)
            assert accepted.status == premia.get(quote.quote_id).status == "accepted"
            assert quote.quote_id in {one.quote_id for one in premia.page().quotes}
            for refused in (
                lambda: premia.preview(MOTOR),  # for want of a licence
                lambda: premia.quote(MOTOR | {"channel": "platform"}),
                lambda: premia.revoke(quote.quote_id, "none of its business"),
            ):
                with pytest.raises(NotAllowed) as caught:
                    refused()
                assert caught.value.status == 403
        with Client(url, f"{key.text[:-1]}{'a' if key.text[-1] != 'a' else 'b'}") as guesser:
            with pytest.raises(NotAllowed) as caught:
                guesser.quote(MOTOR)
            assert caught.value.status == 401
