"""Group commit: what comes while one commit is under way becomes durable with the next."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from serving.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.records.rows import Write

# More would only make the first of them wait longer.
LARGEST_GROUP = 256


class Commit(Protocol):
    """Makes some writes durable, all or none."""

    async def __call__(self, writes: Sequence[Write], /) -> None:
        """Commit."""


class GroupCommit:
    """Commit at once when idle, otherwise together with all that has come in the meantime.

    Parameters
    ----------
    commit
        What makes a group durable.
    """

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self.sizes: Counter[int] = Counter()  # commits by the number of their writes
        self._waiting: list[tuple[Write, asyncio.Future[None]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, write: Write) -> None:
        """Wait until a write is durable; whatever refuses it is raised here."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((write, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        await future

    async def drain(self) -> None:
        """Wait until nothing is under way."""
        if self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        try:
            while self._waiting:
                group = self._waiting[:LARGEST_GROUP]
                del self._waiting[:LARGEST_GROUP]
                await self._settle(group)
        finally:
            self._worker = None

    async def _settle(self, group: list[tuple[Write, asyncio.Future[None]]]) -> None:
        try:
            await self._commit([write for write, _ in group])
        except StoreError as error:  # the store itself: nobody can be served
            _answer(group, error)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
            if len(group) == 1:
                _answer(group, error)
                return
            # One of them cannot be stored; the others must not suffer for it.
            for one in group:
                await self._settle([one])
        else:
            self.sizes[len(group)] += 1
            _answer(group, None)


def _answer(group: list[tuple[Write, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, future in group:
        if future.done():  # whoever asked has gone away
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
