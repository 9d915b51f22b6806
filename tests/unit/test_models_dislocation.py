"""Dislocation: bands add up, winners and losers, and what cannot be compared is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dislocation import UNMOVED, dislocation
from models.errors import TrainingDataError

PRICES = st.lists(st.tuples(st.floats(1, 1e5), st.floats(1, 1e5)), min_size=1, max_size=40)


@given(PRICES)
def test_bands_hold_every_policy_and_the_whole_premium(prices):
    before, after = np.array(prices).T
    found = dislocation(before, after, {"half": ["a" if i % 2 else "b" for i in range(len(before))]})
    assert found.frame["policies"].sum() == len(before)
    assert found.frame["before"].sum() == pytest.approx(before.sum())
    assert found.frame["after"].sum() == pytest.approx(after.sum())
    assert found.segments["policies"].sum() == len(before)
    assert found.summary["change"] == pytest.approx(after.sum() / before.sum() - 1)


def test_changes_fall_into_their_bands():
    before = np.full(9, 100.0)
    after = np.array([60.0, 70.0, 80.0, 99.0, 100.0, 101.0, 105.0, 130.0, 131.0])
    found = dislocation(before, after, {"side": list("aaaabbbbb")})
    held = found.frame[found.frame["policies"] > 0]["policies"].to_dict()
    assert held == {
        "-30% or less": 2,
        "-30% to -20%": 1,
        "-5% to 0%": 1,
        UNMOVED: 1,
        "0% to +5%": 2,
        "+20% to +30%": 1,
        "more than +30%": 1,
    }
    a, b = found.segments.loc[("side", "a")], found.segments.loc[("side", "b")]
    assert (a["winners"], a["losers"]) == (1.0, 0.0)
    assert (b["winners"], b["losers"]) == (0.0, 0.8)
    assert b["worst"] == pytest.approx(0.31)
    assert len(found.figure().axes) == 1


def test_prices_that_cannot_be_are_refused():
    with pytest.raises(TrainingDataError, match="1 rows: price after"):
        dislocation(np.array([1.0, 2.0]), np.array([1.0, np.nan]))
    with pytest.raises(TrainingDataError, match="after has 1 rows"):
        dislocation(np.array([1.0, 2.0]), np.array([1.0]))
    with pytest.raises(TrainingDataError, match="no policies"):
        dislocation(np.empty(0), np.empty(0))
