"""Faults that are done to the record store: killed writers, a full disk, a database that goes."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from typing import NoReturn
from uuid import uuid4

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serving.errors import StepConflictError, StoreError
from serving.records import (
    QuoteRecord,
    RecordStore,
    Step,
    Write,
    encode_body,
    open_records,
    open_sync_records,
)
from serving.settings import Settings

NOON = dt.datetime(2026, 1, 1, 12)
KILLS = 20


def record(quote_id: str, when: dt.datetime = NOON, size: int = 10) -> QuoteRecord:
    body = encode_body({"answer": "x" * size})
    return QuoteRecord(quote_id, when, when + dt.timedelta(minutes=30), "web", "motor", "quoted", 1, body, 7)


def write_for_ever(settings: Settings, out: int) -> NoReturn:
    """Commit from eight tasks, and say each id once it is durable."""

    async def client(store: RecordStore) -> None:
        while True:
            name = str(uuid4())
            await store.commit(Write((record(name),)))
            os.write(out, name.encode() + b"\n")

    async def work() -> None:
        store = open_records(settings)
        await asyncio.gather(*(client(store) for _ in range(8)))

    try:
        asyncio.run(work())
    finally:
        os._exit(1)


@pytest.mark.slow
def test_every_acknowledged_quote_outlives_a_killed_writer_and_none_is_there_twice(record_settings: Settings):
    acknowledged: list[str] = []
    with closing(open_sync_records(record_settings)):
        pass
    for kill in range(KILLS):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - killed before it could say so
            write_for_ever(record_settings, write)
        os.close(write)
        with os.fdopen(read, "rb") as said:
            first = said.readline()  # it is under way
            time.sleep(0.013 * kill)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            acknowledged += (first + said.read().rpartition(b"\n")[0]).decode().split()
    with closing(open_sync_records(record_settings)) as store:
        stored = [quote.quote_id for quote in store.of_product("motor")]
        found = store.verify()
    assert len(acknowledged) >= KILLS
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) <= set(stored)
    assert len(set(stored)) == len(stored) == found.head.number
    assert found.faults == ()


@pytest.mark.slow
def test_a_full_disk_refuses_and_acknowledges_nothing_that_is_not_there(tmp_path):
    """A limit on the size of files is as hard as the end of a disk, and needs no privilege."""
    script = FULL.format(limit=400_000)
    environment = os.environ | {"PREMIA_LAKE": str(tmp_path)}
    done = subprocess.run(  # noqa: S603 - this interpreter and our own script
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    kept = [line for line in done.stdout.splitlines() if line.startswith("kept ")]
    assert "refused StoreError: the record store does not work" in done.stdout
    assert "after: recovered" in done.stdout
    with closing(open_sync_records(Settings(lake=tmp_path))) as store:
        stored = {quote.quote_id for quote in store.of_product("motor")}
        assert store.verify().faults == ()
    assert len(kept) > 5
    assert stored == {line.split()[1] for line in kept} | {"recovered"}


FULL = """
import asyncio, datetime as dt, resource, signal
from serving.records import QuoteRecord, Write, encode_body, open_records
from serving.errors import StoreError
from serving.settings import Settings

NOON = dt.datetime(2026, 1, 1, 12)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def record(name):
    body = encode_body({{"answer": "x" * 3000}})
    return Write((QuoteRecord(name, NOON, NOON, "web", "motor", "quoted", 1, body, 7),))

async def main():
    store = open_records(Settings())
    full = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, full[1]))
    for start in range(0, 2000, 8):
        ends = await asyncio.gather(
            *(store.commit(record(f"q{{start + one}}")) for one in range(8)), return_exceptions=True
        )
        for one, end in enumerate(ends):
            print(f"kept q{{start + one}}" if end is None else f"refused {{type(end).__name__}}: {{end}}")
        if any(ends):
            assert all(isinstance(end, StoreError) for end in ends)
            break
    resource.setrlimit(resource.RLIMIT_FSIZE, full)
    await store.commit(record("recovered"))
    print("after: recovered")
    await store.aclose()

asyncio.run(main())
"""


@pytest.mark.slow
def test_postgres_goes_away_and_comes_back_and_no_acknowledged_quote_is_lost(tmp_path, own_postgres):
    settings = Settings(lake=tmp_path, database=own_postgres.url)
    acknowledged: list[str] = []
    refused: list[StoreError] = []

    async def work() -> None:
        store = open_records(settings)

        async def some(prefix: str) -> None:
            for number in range(20):
                try:
                    await store.commit(Write((record(f"{prefix}{number}"),)))
                except StoreError as error:
                    refused.append(error)
                else:
                    acknowledged.append(f"{prefix}{number}")

        await some("before")
        assert len(acknowledged) == 20
        await asyncio.to_thread(own_postgres.control, "stop")
        await some("during")
        assert len(refused) == 20
        await asyncio.to_thread(own_postgres.control, "start")
        await some("after")
        assert (len(acknowledged), len(refused)) == (40, 20)
        await store.aclose()

    asyncio.run(work())
    with closing(open_sync_records(settings)) as store:
        assert [quote.quote_id for quote in store.of_product("motor")] == acknowledged
        assert store.verify().faults == ()


def test_a_clock_that_jumps_moves_neither_the_order_nor_the_chain(record_settings: Settings):
    years = (2026, 1999, 2030, 2025)
    with closing(open_sync_records(record_settings)) as store:
        for year in years:
            store.commit(Write((record(f"y{year}", NOON.replace(year=year)),)))
        assert [quote.created_at.year for quote in store.of_product("motor")] == list(years)
        assert store.verify().faults == ()


def test_two_processes_append_to_one_chain(record_settings: Settings):
    async def work() -> None:
        stores = [open_records(record_settings) for _ in range(2)]
        writes = [
            stores[number % 2].commit(Write((record(f"q{number}"),), (accept(f"q{number}"),)))
            for number in range(40)
        ]
        await asyncio.gather(*writes)
        for store in stores:
            await store.aclose()

    asyncio.run(work())
    with closing(open_sync_records(record_settings)) as store:
        found = store.verify()
    assert (found.head.number, found.faults) == (80, ())


def accept(quote_id: str, number: int = 1) -> Step:
    return Step(quote_id, number, "accepted", NOON, "key-1", "asked for")


class Lives(RuleBasedStateMachine):
    """Steps of some quotes, against a list in memory."""

    settings: Settings

    def __init__(self) -> None:
        super().__init__()
        self.lives: dict[str, list[str]] = {}
        self.sealed = 0
        self.store = open_sync_records(self.settings)
        self.sealed = self.store.verify().head.number

    def teardown(self) -> None:
        self.store.close()

    @rule()
    def quote(self) -> None:
        name = f"{id(self)}-{len(self.lives)}-{self.sealed}"
        self.store.commit(Write((record(name),)))
        self.lives[name] = []
        self.sealed += 1

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), state=st.sampled_from(["accepted", "declined", "revoked"]), back=st.integers(0, 2))
    def step(self, data: st.DataObject, state: str, back: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.lives)))
        number = len(self.lives[name]) + 1 - back
        write = Write(steps=(Step(name, number, state, NOON, "key-1", state, {"n": number}),))
        if 1 <= number <= len(self.lives[name]):
            with pytest.raises(StepConflictError, match=f"it is {self.lives[name][number - 1]}"):
                self.store.commit(write)
        elif number >= 1:
            self.store.commit(write)
            self.lives[name].append(state)
            self.sealed += 1

    @invariant()
    def what_is_stored_is_what_was_taken(self) -> None:
        for name, states in self.lives.items():
            found = self.store.steps(name)
            assert [step.state for step in found] == states
            assert [step.number for step in found] == list(range(1, len(states) + 1))
        last = self.store.last_steps(list(self.lives))
        assert {name: step.state for name, step in last.items()} == {
            name: states[-1] for name, states in self.lives.items() if states
        }
        assert self.store.verify().head.number == self.sealed


def test_any_order_of_steps_is_kept_as_taken(tmp_path):
    Lives.settings = Settings(lake=tmp_path)
    Lives.TestCase.settings = hypothesis_settings(
        max_examples=15,
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    Lives.TestCase().runTest()
