"""Ways to make quotes durable beside a busy event loop, and what the record store makes of them.

Each client of a closed loop works for 0.2 ms, as pricing does, then waits until its row is on the disk. What
differs is where the calls to SQLite are made. The last arms are the store itself, on both databases.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from benchmarks.http.servers import postgres
from serving.records import QuoteRecord, Write, encode_body, open_records
from serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    Commit = Callable[[Sequence[str]], Awaitable[None]]
    Submit = Callable[[], Awaitable[None]]

SECONDS, PRICING_SECONDS, CLIENTS = 3.0, 0.0002, 16
BODY = json.dumps({"answer": "x" * 3000})
NOON = dt.datetime(2026, 1, 1, 12)  # noqa: DTZ001 - UTC
SWITCH = 0.0005


def run() -> dict[str, float]:
    """Drive every arm in turn.

    Returns
    -------
    dict of str to float
        For each arm `<arm>_per_s` and `<arm>_p99_ms` at concurrency 16; `p50_ms_c1_<arm>` at 1 for the store.
    """
    figures: dict[str, float] = {}
    for name in ("inline", "tick", "commit_thread", "thread", "thread_json", "thread_switch"):
        with tempfile.TemporaryDirectory(prefix="premia-groups-") as folder:
            figures |= _figures(name, asyncio.run(_raw(name, Path(folder), CLIENTS)))
    with tempfile.TemporaryDirectory(prefix="premia-groups-") as folder:
        for name, settings in _stores(Path(folder)):
            figures |= _figures(name, asyncio.run(_store(settings, CLIENTS)))
            alone = asyncio.run(_store(settings, 1))
            figures[f"p50_ms_c1_{name}"] = float(np.percentile(alone, 50) * 1e3)
            figures[f"p99_ms_c1_{name}"] = float(np.percentile(alone, 99) * 1e3)
    return figures


def _figures(name: str, waits: list[float]) -> dict[str, float]:
    return {
        f"{name}_per_s": len(waits) / SECONDS,
        f"{name}_p99_ms": float(np.percentile(waits, 99) * 1e3),
    }


async def _drive(submit: Submit, clients: int) -> list[float]:
    waits: list[float] = []
    end = time.perf_counter() + SECONDS

    async def client() -> None:
        while (start := time.perf_counter()) < end:
            while time.perf_counter() - start < PRICING_SECONDS:
                pass
            await submit()
            waits.append(time.perf_counter() - start)

    await asyncio.gather(*(client() for _ in range(clients)))
    return waits


async def _raw(name: str, folder: Path, clients: int) -> list[float]:
    before = sys.getswitchinterval()
    with closing(sqlite3.connect(folder / "q.sqlite", check_same_thread=False, isolation_level=None)) as con:
        con.execute("PRAGMA journal_mode=WAL")
        con.execute("PRAGMA synchronous=FULL")
        con.execute("CREATE TABLE quotes (quote_id TEXT PRIMARY KEY, body TEXT)")
        if name == "thread_switch":
            sys.setswitchinterval(SWITCH)
        try:
            return await _drive(_submitting(con, name), clients)
        finally:
            sys.setswitchinterval(before)


def _submitting(con: sqlite3.Connection, name: str) -> Submit:
    if name == "inline":

        async def alone() -> None:
            await asyncio.sleep(0)
            _insert(con, [uuid4().hex])
            con.execute("COMMIT")

        return alone

    async def commit(ids: Sequence[str]) -> None:
        if name == "tick":
            _insert(con, ids)
            con.execute("COMMIT")
        elif name == "commit_thread":
            _insert(con, ids)
            await asyncio.to_thread(con.execute, "COMMIT")
        elif name == "thread_json":
            await asyncio.to_thread(_at_once, con, ids)
        else:
            await asyncio.to_thread(_whole, con, ids)

    return _Group(commit).submit


def _insert(con: sqlite3.Connection, ids: Sequence[str]) -> None:
    con.execute("BEGIN IMMEDIATE")
    for quote_id in ids:
        con.execute("INSERT INTO quotes VALUES (?, ?)", (quote_id, BODY))


def _whole(con: sqlite3.Connection, ids: Sequence[str]) -> None:
    _insert(con, ids)
    con.execute("COMMIT")


def _at_once(con: sqlite3.Connection, ids: Sequence[str]) -> None:
    """Take the GIL back once: one statement that commits by itself."""
    rows = json.dumps([[quote_id, BODY] for quote_id in ids])
    con.execute("INSERT INTO quotes SELECT value ->> 0, value ->> 1 FROM json_each(?)", (rows,))


class _Group:
    """What comes while one commit is under way goes with the next."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._busy = False

    async def submit(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((uuid4().hex, future))
        if not self._busy:
            self._busy = True
            self._worker = asyncio.create_task(self._work())
        await future

    async def _work(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            await self._commit([quote_id for quote_id, _ in group])
            for _, future in group:
                future.set_result(None)
        self._busy = False


def _stores(folder: Path) -> Iterator[tuple[str, Settings]]:
    yield "store_sqlite", Settings(lake=folder / "sqlite")
    with postgres(folder / "pg") as url:
        yield "store_postgres", Settings(lake=folder / "postgres", database=url)


async def _store(settings: Settings, clients: int) -> list[float]:
    store = open_records(settings)
    text = encode_body({"answer": BODY})

    async def submit() -> None:
        name: Any = uuid4()
        await store.commit(
            Write((QuoteRecord(str(name), NOON, NOON, "web", "motor", "quoted", 1, text, name.int % 1000),))
        )

    try:
        return await _drive(submit, clients)
    finally:
        await store.aclose()
