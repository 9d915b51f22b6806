"""What was denied, to whom and why: gathered in memory, written by the second, bounded."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, insert, select

from serving.access.tables import DENIALS
from serving.clock import EPOCH, to_micros

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

# Kinds of denial between two writes, and rows in all; beyond them only their number is kept.
MOST_KINDS: Final = 1_000
MOST_ROWS: Final = 100_000
TOO_MANY: Final = 429
_WHY: ContextVar[list[str] | None] = ContextVar("why", default=None)


@dataclass(frozen=True, slots=True)
class Denial:
    """What was denied in one way, by one caller, on one route.

    Attributes
    ----------
    status, why
        Answer, and the reason.
    key_id, address
        Who; no key id when it is not known who.
    method, path
        What for; the path is cut at 128 characters and has no query.
    """

    status: int
    why: str
    key_id: str | None
    address: str
    method: str
    path: str


@dataclass(slots=True)
class Count:
    """How often something was denied.

    Attributes
    ----------
    first, last, times
        From when to when, how many times.
    request_id
        Of the last.
    """

    first: datetime
    last: datetime
    times: int
    request_id: str


class Denials:
    """Denials that are not written yet."""

    def __init__(self) -> None:
        self._counts: dict[Denial, Count] = {}

    def note(self, denial: Denial, request_id: str, now: datetime) -> None:
        """Count one denial; too many requests are told together, whatever they were for."""
        if denial.status == TOO_MANY:
            denial = Denial(TOO_MANY, denial.why, denial.key_id, denial.address, "*", "*")
        if denial not in self._counts and len(self._counts) >= MOST_KINDS:
            denial = Denial(denial.status, "more", None, "*", "*", "*")
        count = self._counts.setdefault(denial, Count(now, now, 0, request_id))
        count.last, count.times, count.request_id = now, count.times + 1, request_id

    def take(self, now: datetime, *, closing: bool = False) -> list[dict[str, object]]:
        """Give the rows to write; too many requests of a minute make one row."""
        rows: list[dict[str, object]] = []
        for denial, count in list(self._counts.items()):
            if denial.status == TOO_MANY and now - count.first < timedelta(minutes=1) and not closing:
                continue
            del self._counts[denial]
            rows.append(
                {
                    "first_us": to_micros(count.first),
                    "last_us": to_micros(count.last),
                    "times": count.times,
                    "status": denial.status,
                    "why": denial.why,
                    "key_id": denial.key_id,
                    "address": denial.address[:64],
                    "method": denial.method[:16],
                    "path": denial.path[:128],
                    "request_id": count.request_id[:64],
                }
            )
        return rows


def write_denials(connection: Connection, rows: list[dict[str, object]]) -> None:
    """Store denials, and forget the oldest beyond `MOST_ROWS`."""
    connection.execute(insert(DENIALS), rows)
    last = connection.execute(select(func.max(DENIALS.c.number))).scalar() or 0
    connection.execute(delete(DENIALS).where(DENIALS.c.number <= last - MOST_ROWS))


def read_denials(connection: Connection, limit: int) -> list[tuple[Denial, Count]]:
    """Give the last denials, newest first."""
    query = select(DENIALS).order_by(DENIALS.c.number.desc()).limit(limit)
    return [
        (
            Denial(row.status, row.why, row.key_id, row.address, row.method, row.path),
            Count(_moment(row.first_us), _moment(row.last_us), row.times, row.request_id),
        )
        for row in connection.execute(query)
    ]


def begin_note() -> list[str]:
    """Begin to listen why the running request is denied."""
    why: list[str] = []
    _WHY.set(why)
    return why


def note_why(code: str) -> None:
    """Say why the running request is denied, even when the answer does not."""
    why = _WHY.get()
    if why is not None:
        why.append(code)


def _moment(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)
