"""On-level factors against areas worked out by hand, and against pricing every policy anew."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import TrainingDataError
from models.preparation.rate_history import RateChange, extend_exposures, on_level, rate_level, years

# Rate history of the worked example of Werner and Modlin, chapter 5.
HISTORY = [RateChange(2010.5, 0.05), RateChange(2011.0, 0.10), RateChange(2012.25, -0.01)]
CURRENT = 1.05 * 1.10 * 0.99


def test_annual_policies_earned_in_2011():
    line = on_level([(2011.0, 2012.0)], HISTORY).frame.iloc[0]
    # Triangle before July 2010: 0.5 x 0.5 / 2. Triangle from January 2011: 1 x 1 / 2. Between them the rest.
    average = 0.125 * 1.0 + 0.375 * 1.05 + 0.5 * 1.155
    assert line["average_level"] == pytest.approx(average, rel=1e-14)
    assert line["factor"] == pytest.approx(CURRENT / average, rel=1e-14)
    assert line["factor"] == pytest.approx(1.0431, abs=5e-5)


def test_half_year_policies_earned_in_2011():
    line = on_level([(2011.0, 2012.0)], HISTORY, term=0.5).frame.iloc[0]
    average = 0.25 * 1.05 + 0.75 * 1.155  # the triangle of 2010 has a base of half a year: 0.5 x 1 / 2
    assert line["average_level"] == pytest.approx(average, rel=1e-14)


def test_written_premium_counts_time_alone():
    frame = on_level([(2010.0, 2011.0), (2012.0, 2013.0)], HISTORY, basis="written").frame
    assert frame["average_level"].to_list() == pytest.approx(
        [0.5 + 0.5 * 1.05, 0.25 * 1.155 + 0.75 * CURRENT], rel=1e-14
    )


def test_a_law_moves_all_policies_in_force_on_one_day():
    history = [RateChange(2011.5, 0.05, "in_force"), RateChange(2011.25, 0.10)]
    line = on_level([(2011.0, 2012.0)], history).frame.iloc[0]
    # Earned at the new rate: a triangle of side 1/4 before the law, of side 3/4 less that one after it.
    before = 0.5 + 0.10 * 0.25**2 / 2
    after = 1.05 * (0.5 + 0.10 * (0.75**2 - 0.25**2) / 2)
    assert line["average_level"] == pytest.approx(before + after, rel=1e-14)
    assert line["current_level"] == pytest.approx(1.155)


def test_days_are_days_and_no_month_stands_for_them():
    history = [RateChange(dt.date(2010, 7, 1), 0.05)]
    line = on_level([(dt.date(2011, 1, 1), dt.date(2012, 1, 1))], history).frame.iloc[0]
    side = 181 / 365  # 184 days before 2011, so 181 of 365 are still to be earned
    assert line["average_level"] == pytest.approx(1.05 - 0.05 * side**2 / 2, rel=1e-12)
    assert years(dt.datetime(2025, 7, 2, 12)) == 2025.5


moments = st.floats(2008, 2014).map(lambda year: round(year, 3))
changes = st.lists(
    st.tuples(moments, st.floats(-0.3, 0.5), st.sampled_from(["new", "in_force"])), max_size=5
).map(lambda rows: [RateChange(*row) for row in rows])


@given(changes, st.floats(0.25, 2), st.sampled_from(["earned", "written"]))
@settings(max_examples=60, deadline=None)
def test_the_integral_is_that_of_a_fine_grid_of_policies(history, term, basis):
    average = on_level([(2010.0, 2012.0)], history, term=term, basis=basis).frame["average_level"].iloc[0]
    steps = 400
    written = 2010.0 - term + (np.arange(steps) + 0.5) * (2.0 + term) / steps
    part = (np.arange(steps) + 0.5) / steps
    earned = written[:, None] + (term * part[None, :] if basis == "earned" else 0.0)
    level = np.ones((steps, steps))
    for change in history:
        moment = written[:, None] if change.applies_to == "new" else earned
        level = level * np.where(moment >= change.effective, 1 + change.change, 1.0)
    held = np.broadcast_to((earned >= 2010) & (earned < 2012), level.shape)
    assert average == pytest.approx(level[held].mean(), abs=0.02)
    assert min(level.min(), 1) - 1e-12 <= average <= max(level.max(), 1) + 1e-12


def test_single_policies_and_extension_of_exposures_agree_with_each_other():
    rng = np.random.default_rng(0)
    written = np.datetime64("2010-01-01") + rng.integers(0, 1000, 4000)
    level = rate_level(
        written, [RateChange(dt.date(2010, 7, 1), 0.05), RateChange(dt.date(2011, 1, 1), 0.10)]
    )
    assert set(np.round(level, 9)) == {1.0, 1.05, 1.155}
    base = rng.uniform(200, 900, 4000)
    policies = pd.DataFrame(
        {"base": base, "premium": base * level, "year": written.astype("M8[Y]").astype(int)}
    )
    found = extend_exposures(policies, lambda frame: frame["base"] * 1.155, premium="premium", by="year")
    assert found.premium == pytest.approx(policies["premium"] * 1.155 / level)
    assert found.frame["policies"].sum() == 4000
    assert found.frame["factor"].iloc[-1] == pytest.approx(1.0)
    assert (found.frame["factor"] >= 1 - 1e-12).all()


def test_bad_history_periods_and_premiums_are_refused():
    with pytest.raises(TrainingDataError, match="period 2011.0 to 2011.0 is empty; rate change -1.0 of 2010"):
        on_level([(2011.0, 2011.0)], [RateChange(2010.0, -1.0)])
    with pytest.raises(TrainingDataError, match="2 rows: the charged premium.*1 rows: the current premium"):
        extend_exposures(pd.DataFrame({"p": [0.0, np.nan, 1.0]}), lambda f: [1.0, 0.0, 1.0], premium="p")
    with pytest.raises(TrainingDataError, match="no single level"):
        rate_level([2010.0], [RateChange(2010.0, 0.1, "in_force")])


def test_the_picture_has_a_line_per_change():
    figure = on_level([(2010.0, 2011.0), (2011.0, 2012.0)], HISTORY).figure()
    assert len(figure.axes[0].lines) == 3
