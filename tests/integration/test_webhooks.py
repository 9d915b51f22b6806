"""Webhooks against a receiver that answers, fails, delays, redirects and goes away."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from serving.cli import app
from serving.clock import to_micros
from serving.errors import WebhookError
from serving.records import QuoteRecord, Step, Write, open_records
from serving.settings import Settings
from serving.webhooks.deliverer import Deliverer, delivering
from serving.webhooks.outbox import (
    GIVEN_UP,
    LEASE,
    claim,
    count_states,
    list_webhooks,
    replay,
    settle,
    subscribe,
    unsubscribe,
    wait_after,
)
from serving.webhooks.send import deliver, read_target, resolve, sign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]

START = dt.datetime(2026, 1, 1)


class Receiver(ThreadingHTTPServer):
    """A receiver that keeps what it got, and answers as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.delay = 0.0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook?a=1"

    def events(self) -> list[tuple[str, str]]:
        found = [json.loads(body) for _, body in self.got]
        return [(one["data"]["quote_id"], one["type"]) for one in found]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), body))
        time.sleep(self.server.delay)
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.url)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Moving:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> dt.datetime:
        return self.now

    def on(self, microseconds: float) -> None:
        self.now += dt.timedelta(microseconds=microseconds)


@pytest.fixture
def clock() -> Moving:
    return Moving()


def quote(quote_id: str, status: str = "quoted", channel: str = "direct", *, sandbox: bool = False) -> Write:
    record = QuoteRecord(
        quote_id, START, START, channel, "motor", status, None, b'{"risk": "secret"}', 4711, None, sandbox
    )
    return Write(quotes=(record,))


def step(quote_id: str, number: int, state: str) -> Write:
    return Write(steps=(Step(quote_id, number, state, START, "key-1", "personal words"),))


async def subscribed(records: Any, url: str, channel: str | None = "direct", *events: str) -> tuple[str, str]:
    now = to_micros(START)
    return await records.database.write(lambda c: subscribe(c, records.vault, url, channel, events, now))


async def states(records: Any) -> dict[str, int]:
    return await records.database.read(count_states)


# --- what is told, to whom, and how it is signed ----------------------------------------------------------


def test_an_event_is_signed_and_holds_nothing_personal(record_settings, receiver, clock):
    async def run() -> str:
        records = open_records(record_settings)
        _, secret = await subscribed(records, receiver.url)
        await records.commit(quote("q1"))
        await records.commit(step("q1", 1, "accepted"))
        deliverer = Deliverer(records, clock)
        assert await deliverer.deliver_due() == 1
        assert await deliverer.deliver_due() == 0
        assert await states(records) == {"delivered": 1}
        await records.aclose()
        return secret

    secret = asyncio.run(run())
    ((headers, body),) = receiver.got
    assert json.loads(body) == {
        "id": "evt-q1-1",
        "type": "quote.accepted",
        "created_at": "2026-01-01T00:00:00Z",
        "data": {"quote_id": "q1", "channel": "direct", "product": "motor", "status": "accepted", "step": 1},
    }
    parts = dict(part.split("=") for part in headers["Premia-Signature"].split(","))
    assert abs(int(parts["t"]) - time.time()) < 60
    signed = f"{parts['t']}.{headers['Premia-Event-Id']}.".encode() + body
    assert parts["v1"] == hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    assert headers["Premia-Event-Id"] == "evt-q1-1"


def test_each_is_told_of_its_own_channel_and_what_it_asked_for(record_settings, receiver, clock):
    async def run() -> dict[str, int]:
        records = open_records(record_settings)
        await subscribed(records, receiver.url, "direct", "quote.accepted")
        await subscribed(records, receiver.url, None)
        for name, channel in (("a", "direct"), ("b", "agent")):
            await records.commit(quote(name, channel=channel))
            await records.commit(step(name, 1, "accepted"))
        await records.commit(quote("c", "referred"))
        await records.commit(step("c", 1, "quoted"))
        await records.commit(quote("d", "referred", sandbox=True))
        while await Deliverer(records, clock).deliver_due():
            pass
        found = await states(records)
        await records.aclose()
        return found

    assert asyncio.run(run()) == {"delivered": 5}
    assert sorted(receiver.events()) == [
        ("a", "quote.accepted"),
        ("a", "quote.accepted"),
        ("b", "quote.accepted"),
        ("c", "quote.referred"),
        ("c", "quote.reviewed"),
    ]


def test_what_is_not_stored_is_not_told(record_settings, receiver):
    async def run() -> dict[str, int]:
        records = open_records(record_settings)
        await subscribed(records, receiver.url)
        await records.commit(quote("q1"))
        tried = [records.commit(step("q1", 1, state)) for state in ("accepted", "declined")]
        answers = await asyncio.gather(*tried, return_exceptions=True)
        assert sum(isinstance(answer, Exception) for answer in answers) == 1
        found = await states(records)
        await records.aclose()
        return found

    assert asyncio.run(run()) == {"pending": 1}


# --- receivers that fail ----------------------------------------------------------------------------------


def test_a_receiver_that_fails_is_asked_again_later_and_in_order(record_settings, receiver, clock):
    receiver.answers = [500, 302, 429]

    async def run() -> None:
        records = open_records(record_settings)
        await subscribed(records, receiver.url)
        await records.commit(quote("q1", "referred"))
        await records.commit(step("q1", 1, "quoted"))
        await records.commit(step("q1", 2, "accepted"))
        deliverer = Deliverer(records, clock)
        for attempt in range(1, 4):
            assert await deliverer.deliver_due() == 1
            assert await deliverer.deliver_due() == 0  # the second event waits for the first
            assert len(receiver.got) == attempt
            clock.on(1.2 * 5e6 * 2 ** (attempt - 1))
        while await deliverer.deliver_due():
            pass
        assert await states(records) == {"delivered": 3}
        await records.aclose()

    asyncio.run(run())
    assert [name for _, name in receiver.events()] == ["quote.referred"] * 4 + [
        "quote.reviewed",
        "quote.accepted",
    ]


def test_what_never_arrives_is_given_up_after_a_day_kept_and_replayed(record_settings, receiver, clock):
    async def run() -> None:
        records = open_records(record_settings)
        hook, _ = await subscribed(records, receiver.url)
        await records.commit(quote("q1", "referred"))
        deliverer = Deliverer(records, clock)
        receiver.answers = [503] * 100
        while (await states(records)).get("pending"):
            await deliverer.deliver_due()
            clock.on(600e6)
        assert clock.now - START < dt.timedelta(microseconds=1.1 * GIVEN_UP)
        assert 20 < len(receiver.got) < 60
        assert await states(records) == {"dead": 1}
        receiver.answers = []
        again = await records.database.write(lambda c: replay(c, hook, None, to_micros(clock())))
        assert again == 1
        await deliverer.deliver_due()
        assert await states(records) == {"delivered": 1}
        assert await records.database.write(lambda c: replay(c, hook, "evt-q1-0", to_micros(clock()))) == 1
        await deliverer.deliver_due()
        assert {json.loads(body)["id"] for _, body in receiver.got} == {"evt-q1-0"}
        with pytest.raises(WebhookError, match="evt-q9-0"):
            await records.database.write(lambda c: replay(c, hook, "evt-q9-0", 0))
        await records.aclose()

    asyncio.run(run())


def test_a_slow_receiver_is_cut_off_and_holds_nobody_up(record_settings, receiver, clock):
    receiver.delay = 0.6

    async def run() -> None:
        records = open_records(record_settings)
        await subscribed(records, receiver.url)
        for name in "abcd":
            await records.commit(quote(name, "referred"))
        begun = time.perf_counter()
        assert await Deliverer(records, clock, seconds=0.2).deliver_due() == 4
        assert time.perf_counter() - begun < 0.6  # at once, not one after the other
        assert await states(records) == {"pending": 4}
        await records.aclose()

    asyncio.run(run())


def test_a_deliverer_that_dies_loses_its_claim_and_two_never_send_the_same(record_settings, receiver, clock):
    async def run() -> None:
        records, other = open_records(record_settings), open_records(record_settings)
        await subscribed(records, receiver.url)
        for number in range(12):
            await records.commit(quote(f"q{number}", "referred"))
        now = to_micros(clock())
        lost = await records.database.write(lambda c: claim(c, records.vault, now, 2))
        assert len(lost) == 2
        deliverers = Deliverer(records, clock), Deliverer(other, clock)
        while sum(await asyncio.gather(*(one.deliver_due() for one in deliverers))):
            pass
        assert len(receiver.got) == 10
        clock.on(LEASE + 1e6)
        while sum(await asyncio.gather(*(one.deliver_due() for one in deliverers))):
            pass
        assert sorted(name for name, _ in receiver.events()) == sorted(f"q{number}" for number in range(12))
        # What the dead one would say now is heard no more.
        await records.database.write(lambda c: settle(c, lost[0], "too late", to_micros(clock())))
        assert await states(records) == {"delivered": 12}
        await records.aclose()
        await other.aclose()

    asyncio.run(run())


def test_the_task_delivers_beside_the_requests_and_goes_on_after_a_restart(record_settings, receiver):
    async def run() -> None:
        records = open_records(record_settings)
        await subscribed(records, receiver.url)
        for name in ("q1", "q2"):
            await records.commit(quote(name, "referred"))
            async with delivering(records, lambda: dt.datetime(2026, 1, 2)):
                for _ in range(500):
                    if (await states(records)).get("delivered") == int(name[1]):
                        break
                    await asyncio.sleep(0.01)
        assert await states(records) == {"delivered": 2}
        await records.aclose()

    asyncio.run(run())


def test_a_removed_webhook_is_told_of_nothing_more(record_settings, receiver, clock):
    async def run() -> None:
        records = open_records(record_settings)
        hook, _ = await subscribed(records, receiver.url)
        await records.commit(quote("q1", "referred"))
        await records.database.write(lambda c: unsubscribe(c, hook, 1))
        await records.commit(quote("q2", "referred"))
        assert await Deliverer(records, clock).deliver_due() == 0
        assert await states(records) == {"dead": 1}
        assert await records.database.read(list_webhooks) == []
        with pytest.raises(WebhookError):
            await records.database.write(lambda c: unsubscribe(c, hook, 1))
        await records.aclose()

    asyncio.run(run())


def test_waits_double_to_an_hour_and_differ():
    waits = [wait_after(attempt) / 1e6 for attempt in range(1, 40)]
    for attempt, wait in enumerate(waits, 1):
        assert 0.9 <= wait / min(3600, 5 * 2 ** (attempt - 1)) <= 1.1
    assert len({wait_after(3) for _ in range(10)}) > 1


# --- where a webhook may go -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/hook",
        "ftp://shop.example/",
        "https://user:password@shop.example/",
        "https://shop.example/#part",
        "https://10.0.0.7/",
        "https://169.254.169.254/latest/meta-data",
        "https://192.168.1.1/",
        "https://[fd00::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://shop.example:99999/",
        "https://shop.example/a b",
        "https://shop.example/\r\nx: y",
        "https:///nowhere",
        "",
    ],
)
def test_only_public_https_and_this_machine_are_allowed(url):
    with pytest.raises(WebhookError):
        read_target(url)


@pytest.mark.parametrize("name", ["2130706433", "0x7f.1", "127.1"])
def test_a_public_name_may_not_lead_inside(name):
    with pytest.raises(WebhookError, match="not a public address"):
        asyncio.run(resolve(read_target(f"https://{name}/")))


def test_tls_without_a_trusted_certificate_is_a_failure(receiver):
    url = receiver.url.replace("http:", "https:")
    fault = asyncio.run(deliver(url, b"s", "e", b"{}", ssl.create_default_context(), 2))
    assert fault is not None
    assert receiver.got == []


def test_the_signature_is_that_of_the_documentation():
    assert sign(b"whsec_example", "evt-1", b"{}", 1767225600) == (
        "t=1767225600,v1=" + hmac.new(b"whsec_example", b"1767225600.evt-1.{}", "sha256").hexdigest()
    )


# --- the command line -------------------------------------------------------------------------------------


def test_webhooks_are_kept_by_command(tmp_path: Path, receiver, monkeypatch):
    monkeypatch.setenv("PREMIA_LAKE", str(tmp_path))
    call = lambda *words: CliRunner().invoke(app, ["webhook", *words])  # noqa: E731
    added = call("add", receiver.url, "--channel", "direct", "--event", "quote.accepted")
    assert added.exit_code == 0, added.output
    hook = added.output.split()[1]
    assert "whsec_" in added.output
    assert "whsec_" not in call("list").output
    assert "direct" in call("list").output
    assert call("replay", hook).exit_code == 0
    assert call("add", "http://10.0.0.1/").exit_code == 1
    assert "quote.accepted" in call("add", receiver.url, "--event", "quote.sold").output
    assert call("remove", hook).exit_code == 0
    assert call("remove", hook).exit_code == 1
    raw = Settings(lake=tmp_path).quotes.read_bytes()
    assert b"whsec_" not in raw
