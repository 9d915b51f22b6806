"""How much the service takes on at once, and how much of it is taken now."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from serving.settings import Settings

# Answered however busy the service is, and while it stops: who watches it must see it.
ALWAYS: Final = frozenset({"/v1/health", "/v1/ready", "/v1/metrics"})


@dataclass(frozen=True)
class Limits:
    """What one process takes on.

    Attributes
    ----------
    in_work, waiting, open
        Requests in work at once; read and waiting for work; and all together, those still being read too.
    wait_seconds
        How long a request may wait for work.
    body_bytes, body_seconds
        Size of a body, and how long it may take to arrive.
    """

    in_work: int
    waiting: int
    open: int
    wait_seconds: float
    body_bytes: int
    body_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Read the limits from the settings."""
        return cls(
            settings.max_in_work,
            settings.max_waiting,
            settings.max_open,
            settings.wait_seconds,
            settings.max_body_bytes,
            settings.body_seconds,
        )


@dataclass
class Traffic:
    """What is under way.

    Attributes
    ----------
    open, waiting, in_work
        Requests now, as in `Limits`.
    stopping
        Whether the process was told to stop: what was accepted is answered, nothing new is.
    refused
        Requests refused to keep the others fast, by reason.
    """

    open: int = 0
    waiting: int = 0
    in_work: int = 0
    stopping: bool = False
    refused: Counter[str] = field(default_factory=Counter)
