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
    offset = without_zone(start) - _now()
    return lambda: _now() + offset


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def utc_text(moment: datetime) -> str:
    """Write a UTC time without zone as RFC 3339 does, with its `Z`."""
    return f"{moment.isoformat()}Z"


def without_zone(moment: datetime) -> datetime:
    """Give a time in UTC without a zone; one that has none is UTC.

    Raises
    ------
    OverflowError
        If its year in UTC is before 1 or after 9999.
    """
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def from_micros(micros: int) -> datetime:
    """Turn microseconds since 1970 into a UTC time without zone."""
    return EPOCH + timedelta(microseconds=micros)


def to_micros(moment: datetime) -> int:
    """Turn a UTC time without zone into microseconds since 1970."""
    delta = moment - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
