"""Requests that come again: one key gets one answer, stored in the commit of what it did."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from serving.errors import InFlightError, RepeatError, ReplyConflictError, StepConflictError
from serving.records import Reply, Write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from serving.clock import Clock
    from serving.records import RecordStore

KEPT = timedelta(hours=24)
TRIES = 3


@dataclass(frozen=True)
class Deed:
    """What a request does, before it is done.

    Attributes
    ----------
    answer
        What the caller gets, whole.
    write
        What becomes durable before that.
    status, headers
        Of the answer.
    """

    answer: Mapping[str, Any]
    write: Write = Write()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """How a request is known again.

    Attributes
    ----------
    owner
        Channel of the caller: keys of one channel are no keys of another.
    key
        Idempotency key; None where none was sent.
    digest
        Of what was asked for.
    """

    owner: str
    key: str | None
    digest: str


@dataclass(frozen=True)
class Answered:
    """An answer as it goes out."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def digest_of(route: str, body: bytes) -> str:
    """Give the digest of a request; how its JSON is spaced and ordered does not matter."""
    if body:
        body = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(route.encode() + b"\n" + body).hexdigest()


class Repeats:
    """Do each deed once for each key.

    Parameters
    ----------
    records, clock
        Where answers are kept, and the time.
    """

    def __init__(self, records: RecordStore, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._under_way: set[tuple[str, str]] = set()

    async def once(
        self,
        asked: Asked,
        work: Callable[[], Awaitable[Deed]],
        show: Callable[[Mapping[str, Any]], bytes],
    ) -> Answered:
        """Do a deed and give its answer, or the answer that its key has got before.

        Raises
        ------
        InFlightError, RepeatError
            If the key is that of a request under way, or of another request.
        """
        if asked.key is None:
            return await self._do(asked, work, show)
        mine = (asked.owner, asked.key)
        if mine in self._under_way:
            raise InFlightError(f"a request with the key {asked.key!r} is under way. Hint: ask again later")
        self._under_way.add(mine)
        try:
            return await self._known(asked) or await self._do(asked, work, show)
        except ReplyConflictError:  # another process was faster
            known = await self._known(asked)
            if known is None:
                raise
            return known
        finally:
            self._under_way.discard(mine)

    async def _known(self, asked: Asked) -> Answered | None:
        reply = await self._records.reply(asked.owner, str(asked.key), self._clock())
        if reply is None:
            return None
        if reply.digest != asked.digest:
            raise RepeatError(
                f"the key {asked.key!r} was used for another request. Hint: a new request needs a new key"
            )
        return Answered(reply.status, {**reply.headers, "Idempotency-Replayed": "true"}, reply.body)

    async def _do(
        self,
        asked: Asked,
        work: Callable[[], Awaitable[Deed]],
        show: Callable[[Mapping[str, Any]], bytes],
    ) -> Answered:
        for last in (*[False] * (TRIES - 1), True):
            deed = await work()
            body = show(deed.answer)
            write = deed.write
            if asked.key is not None:
                now = self._clock()
                quote_id = deed.answer.get("quote_id")
                reply = Reply(
                    asked.owner,
                    asked.key,
                    asked.digest,
                    deed.status,
                    deed.headers,
                    body,
                    now,
                    now + KEPT,
                    quote_id,
                )
                write = replace(write, replies=(reply,))
            try:
                if write != Write():
                    await self._records.commit(write)
            except StepConflictError:
                if last:
                    raise
                continue
            return Answered(deed.status, deed.headers, body)
        raise AssertionError  # the loop returns or raises
