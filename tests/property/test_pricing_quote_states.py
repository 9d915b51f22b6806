"""The life of a quote: no way around the table, and no way back from its ends."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.errors import QuoteStateError
from pricing.quote_states import MOVES, STARTS, STATES, STEPS, allowed, current, moved

ENDS = {"accepted", "revoked", "superseded"}
NOW = dt.datetime(2026, 1, 1)


@given(state=st.sampled_from(STATES), move=st.sampled_from(MOVES), to=st.sampled_from(STATES))
def test_a_move_leads_where_the_table_says_or_nowhere(state, move, to):
    sources, targets = STEPS[move]
    if state not in sources:
        with pytest.raises(QuoteStateError) as refused:
            moved(state, move, to)
        assert (refused.value.state, refused.value.move) == (state, move)
        assert move not in refused.value.allowed
        return
    assert move in allowed(state)
    if to in targets:
        assert moved(state, move, to) == to
    else:
        with pytest.raises(ValueError, match="leads to"):
            moved(state, move, to)


@given(
    start=st.sampled_from(sorted(STARTS)),
    walk=st.lists(st.tuples(st.sampled_from(MOVES), st.sampled_from(STATES)), max_size=30),
)
def test_nothing_follows_an_end_and_nobody_is_accepted_unquoted(start, walk):
    """Walk at random: `accepted` comes only from `quoted`, and an end is the end."""
    states = [start]
    for move, to in walk:
        with suppress(QuoteStateError, ValueError):
            states.append(moved(states[-1], move, to))
    for before, after in zip(states, states[1:], strict=False):
        assert before not in ENDS
        assert after != "accepted" or before == "quoted"
        assert after != "draft"


def test_every_state_can_be_reached_and_only_ends_have_no_step():
    reached, wave = set(STARTS), set(STARTS)
    while wave:
        found = {to for sources, targets in STEPS.values() if wave & sources for to in targets}
        wave = found - reached
        reached |= wave
    assert reached == set(STATES)
    assert {state for state in STATES if not allowed(state)} == ENDS


@given(state=st.sampled_from(STATES), offset=st.integers(-10, 10))
def test_only_what_waits_for_the_customer_expires_and_does_so_on_the_moment(state, offset):
    found = current(state, NOW, NOW + dt.timedelta(microseconds=offset))
    over = offset >= 0 and state in {"draft", "quoted"}
    assert found == ("expired" if over else state)


def test_a_move_with_two_ends_must_be_told_which():
    assert moved("quoted", "accept") == "accepted"
    with pytest.raises(ValueError, match="declined or quoted, not to None"):
        moved("referred", "decide")
