"""The record store, on both databases."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from serving.errors import CursorError, ReplyConflictError, StepConflictError, UnknownQuoteError
from serving.records import Exposure, QuoteRecord, RecordStore, Reply, Step, Write, encode_body, open_records

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from serving.settings import Settings

NOON = dt.datetime(2026, 1, 1, 12, 0, 0, 123456)


def record(quote_id: str, **more: Any) -> QuoteRecord:
    return QuoteRecord(
        quote_id=quote_id,
        created_at=NOON,
        expires_at=NOON + dt.timedelta(minutes=30),
        channel=more.pop("channel", "web"),
        product="motor",
        status="quoted",
        price_minor=123_45,
        text=encode_body({"answer": {"name": "李雷", "premium": 123.45}}),
        **more,
    )


def step(quote_id: str, number: int, state: str) -> Step:
    return Step(quote_id, number, state, NOON, "key-1", "asked for", {"by": "phone"})


def reply(key: str, quote_id: str | None = None) -> Reply:
    headers = {"location": "/v1/quotes/a"}
    return Reply("web", key, "f00d", 201, headers, b'{"a":\n1}', NOON, NOON + dt.timedelta(days=1), quote_id)


@pytest.fixture
def settings(record_settings: Settings) -> Settings:
    return record_settings


def use(settings: Settings, work: Callable[[RecordStore], Awaitable[None]]) -> None:
    """Open the store, work with it on one loop, and close it."""

    async def run() -> None:
        store = open_records(settings)
        try:
            await work(store)
        finally:
            await store.aclose()

    asyncio.run(run())


def test_what_is_committed_is_read_back(settings):
    async def work(store: RecordStore) -> None:
        shown = Exposure("e1", NOON, "web", "recommendation", {"ranked": ["motor"]}, 17)
        quote = record("a", sub_channel="own", sandbox=True)
        await store.commit(Write((quote,), (step("a", 1, "accepted"),), (reply("k", "a"),), (shown,)))
        found = await store.get("a")
        assert found == quote
        assert found.body["answer"]["name"] == "李雷"
        assert await store.steps("a") == (step("a", 1, "accepted"),)
        assert await store.reply("web", "k", NOON) == reply("k", "a")
        assert await store.reply("app", "k", NOON) is None
        assert await store.reply("web", "k", NOON + dt.timedelta(days=1)) is None
        with pytest.raises(UnknownQuoteError, match="no quote has the id 'b'"):
            await store.get("b")

    use(settings, work)


def test_of_many_who_take_one_step_one_wins_and_the_others_store_nothing(settings):
    async def work(store: RecordStore) -> None:
        await store.commit(Write((record("a"),)))
        writes = [
            Write((record(f"n{number}"),), (step("a", 1, "accepted"),), (reply(f"k{number}"),))
            for number in range(20)
        ]
        ends = await asyncio.gather(*map(store.commit, writes), return_exceptions=True)
        assert [type(end) for end in ends].count(StepConflictError) == 19
        won = ends.index(None)
        assert [one.quote_id for one in (await store.list("web")).records] == [f"n{won}", "a"]
        assert [await store.reply("web", f"k{n}", NOON) is not None for n in range(20)].count(True) == 1
        with pytest.raises(ReplyConflictError, match="answered already"):
            await store.commit(Write(replies=(reply(f"k{won}"),)))
        with pytest.raises(UnknownQuoteError):
            await store.commit(Write(steps=(step("nobody", 1, "accepted"),)))

    use(settings, work)


def test_pages_hold_each_quote_of_a_channel_once_newest_first(settings):
    async def work(store: RecordStore) -> None:
        names = [f"q{number}" for number in range(25)]
        for name in names:
            await store.commit(Write((record(name), record(f"other-{name}", channel="app"))))
        cursor, found = None, []
        while True:
            page = await store.list("web", cursor, 10)
            found += [one.quote_id for one in page.records]
            if page.cursor is None:
                break
            cursor = page.cursor
        assert found == names[::-1]
        assert len((await store.list(None, None, 100)).records) == 50
        assert (await store.list("web", sub_channels=["own"])).records == ()
        with pytest.raises(CursorError):
            await store.list("web", "1; DROP TABLE quotes")
        await store.commit(Write(steps=(step("q1", 1, "declined"), step("q2", 1, "accepted"))))
        await store.commit(Write(steps=(step("q2", 2, "revoked"),)))
        last = await store.last_steps(["q0", "q1", "q2"])
        assert {name: one.state for name, one in last.items()} == {"q1": "declined", "q2": "revoked"}

    use(settings, work)
