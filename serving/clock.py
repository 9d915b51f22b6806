"""The clock of the service: one function that gives the time, in UTC without a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Clock: TypeAlias = "Callable[[], datetime]"
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - times are UTC without a zone throughout


def wall_clock(start: datetime | None = None) -> Clock:
    """Give a clock that shows the time now, or one that was set to `start` and runs on from there.

    Parameters
    ----------
    start
        UTC; a zone is converted and dropped.
    """
    if start is None:
        return _now
    set_to = start.astimezone(UTC).replace(tzinfo=None) if start.tzinfo else start
    offset = set_to - _now()
    return lambda: _now() + offset


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def from_micros(micros: int) -> datetime:
    """Turn microseconds since 1970 into a UTC time without zone."""
    return EPOCH + timedelta(microseconds=micros)


def to_micros(moment: datetime) -> int:
    """Turn a UTC time without zone into microseconds since 1970."""
    delta = moment - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
