"""The life of a quote: its states, and the steps that lead from one to another.

    draft ----complete----> superseded    (by the quote that comes of it)
    quoted ---accept------> accepted
    quoted ---review------> referred      (so may a declined one: a person looks again)
    referred -decide------> quoted | declined
    draft, quoted, referred -decline----> declined     (the customer does not want it)
    draft, quoted, referred -revoke-----> revoked      (the insurer takes it back)
    draft, quoted ----------expire------> expired      (by the clock; nobody takes this step)
    all but accepted, revoked, superseded -supersede-> superseded   (a newer quote names it)

A referred quote waits for a person and does not expire; what the person makes of it has a time of its own.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

from pricing.errors import QuoteStateError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

State = Literal["draft", "quoted", "referred", "declined", "accepted", "expired", "revoked", "superseded"]
Move = Literal["complete", "accept", "review", "decide", "decline", "revoke", "expire", "supersede"]
STATES: tuple[State, ...] = get_args(State)
MOVES: tuple[Move, ...] = get_args(Move)
STARTS: frozenset[State] = frozenset({"draft", "quoted", "referred", "declined"})

# move -> (states it may be taken from, states it may lead to)
STEPS: Mapping[Move, tuple[frozenset[State], frozenset[State]]] = MappingProxyType(
    {
        "complete": (frozenset({"draft"}), frozenset({"superseded"})),
        "accept": (frozenset({"quoted"}), frozenset({"accepted"})),
        "review": (frozenset({"quoted", "declined"}), frozenset({"referred"})),
        "decide": (frozenset({"referred"}), frozenset({"quoted", "declined"})),
        "decline": (frozenset({"draft", "quoted", "referred"}), frozenset({"declined"})),
        "revoke": (frozenset({"draft", "quoted", "referred"}), frozenset({"revoked"})),
        "expire": (frozenset({"draft", "quoted"}), frozenset({"expired"})),
        "supersede": (
            frozenset({"draft", "quoted", "referred", "declined", "expired"}),
            frozenset({"superseded"}),
        ),
    }
)


def current(stored: State, expires_at: datetime, now: datetime) -> State:
    """Give the state of a quote at a moment: what was stored last, or `expired` once its time is over.

    Parameters
    ----------
    stored
        State that the last step led to.
    expires_at
        From this moment on it is expired.
    now
        The moment asked about, by the same clock.
    """
    return "expired" if stored in STEPS["expire"][0] and now >= expires_at else stored


def moved(state: State, move: Move, to: State | None = None) -> State:
    """Give the state that a move leads to.

    Parameters
    ----------
    state
        State of the quote now (`current`).
    move
        What is to be done.
    to
        Which of the states it may lead to; needed where there are several.

    Raises
    ------
    QuoteStateError
        If the move cannot be taken from this state, or does not lead there.
    """
    sources, targets = STEPS[move]
    if state not in sources:
        raise QuoteStateError(state, move, sources, allowed(state))
    if to is None and len(targets) == 1:
        return next(iter(targets))
    if to is None or to not in targets:
        raise ValueError(f"{move!r} leads to {' or '.join(sorted(targets))}, not to {to!r}")
    return to


def allowed(state: State) -> tuple[Move, ...]:
    """Give the moves that can be taken from a state, in the order of the table."""
    return tuple(move for move, (sources, _) in STEPS.items() if state in sources)
