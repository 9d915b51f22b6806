"""Trends: planted slopes and breaks, factors between average accident dates, what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.errors import TrainingDataError
from models.preparation.trend import Break, average_accident_date, fit_trend

SEASON = np.array([0.0, 0.1, -0.05, 0.2])


def quarters(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    start = 2016 + np.arange(36) / 4
    middle = start + 0.125
    exposure = rng.uniform(4000, 6000, 36)
    log = 0.03 * (middle - 2016) - 0.3 * (middle >= 2019) - 0.08 * np.maximum(middle - 2021, 0)
    rate = 0.1 * np.exp(log + SEASON[np.arange(36) % 4])
    claims = rng.poisson(rate * exposure)
    amount = rng.gamma(claims * 0.5, 2000 * np.exp(0.04 * (middle - 2016)))
    return pd.DataFrame(
        {"start": start, "end": start + 0.25, "exposure": exposure, "claims": claims, "amount": amount}
    )


def test_slope_breaks_and_seasons_are_found_within_three_standard_errors():
    breaks = [Break(2019.0, "level"), Break(2021.0, "slope")]
    found = fit_trend(
        quarters(), kind="frequency", total="claims", exposure="exposure", breaks=breaks, seasonal=True
    )
    truth = [np.log(0.1), 0.03, -0.3, -0.08, *SEASON[1:]]
    gap = (found.terms["estimate"] - truth) / found.terms["std_error"]
    assert gap.abs().max() < 3
    assert 0.4 < found.dispersion < 2
    assert found.annual.factor == pytest.approx(np.exp(found.terms["estimate"].iloc[[1, 3]].sum()))
    assert found.annual.low < np.exp(-0.05) < found.annual.high
    assert found.frame["fitted"].between(found.frame["low"], found.frame["high"]).all()
    assert len(found.figure().axes[0].lines) == 3


def test_the_factor_crosses_breaks_and_goes_on_after_the_last_period():
    breaks = [Break(2019.0, "level"), Break(2021.0, "slope")]
    found = fit_trend(quarters(), kind="frequency", total="claims", exposure="exposure", breaks=breaks)
    slope, jump, turn = found.terms["estimate"].iloc[1:4]
    crossing = found.factor(2018.0, 2020.0)
    assert crossing.factor == pytest.approx(np.exp(2 * slope + jump))
    assert found.factor(2020.0, 2027.0).factor == pytest.approx(np.exp(7 * slope + 6 * turn))
    one, two = found.factor(2022.0, 2024.0), found.factor(2024.0, 2026.0)
    assert one.factor * two.factor == pytest.approx(found.factor(2022.0, 2026.0).factor)
    assert found.factor(2022.0, 2022.0).factor == found.factor(2022.0, 2022.0).high == 1.0


def test_an_exact_trend_is_found_exactly_in_every_kind():
    start = 2020 + np.arange(12) / 4
    exposure = np.linspace(50, 400, 12)
    rate = 3.0 * 1.07 ** (start + 0.125 - 2020)
    frame = pd.DataFrame({"start": start, "end": start + 0.25, "x": exposure, "total": rate * exposure})
    for kind in ("frequency", "severity", "pure_premium"):
        found = fit_trend(frame, kind=kind, total="total", exposure="x")
        assert found.annual.factor == pytest.approx(1.07, rel=1e-6)
        assert found.factor(2021.0, 2023.5).factor == pytest.approx(1.07**2.5, rel=1e-6)


def test_exposure_weighs_the_periods():
    frame = pd.DataFrame(
        {"start": [2020.0, 2021.0, 2022.0], "end": [2021.0, 2022.0, 2023.0], "x": [1e6, 1e6, 1.0]}
    )
    frame["total"] = frame["x"] * [0.1, 0.11, 5.0]
    found = fit_trend(frame, kind="frequency", total="total", exposure="x")
    assert found.annual.factor == pytest.approx(1.1, abs=0.001)


def test_severity_intervals_cover_the_truth():
    hits = sum(
        found.annual.low < np.exp(0.04) < found.annual.high
        for found in (
            fit_trend(quarters(seed), kind="severity", total="amount", exposure="claims")
            for seed in range(40)
        )
    )
    assert hits >= 34  # of 40 at 95 %: fewer happens once in 1,500


def test_average_accident_dates_of_the_textbook():
    # Calendar-accident year 2011; rates in effect from 2013 for a year, annual policies (Werner and Modlin).
    experience = average_accident_date(2011.0, 2012.0)
    future = average_accident_date(2013.0, 2014.0, basis="policy")
    assert (experience, future) == (2011.5, 2014.0)
    assert average_accident_date(2013.0, 2014.0, basis="policy", term=0.5) == 2013.75


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"claims": -1}, "1 periods: the total is negative"),
        ({"exposure": 0.0}, "1 periods: the exposure is zero"),
        ({"end": 2015.0}, "1 periods: the period ends before it starts"),
    ],
)
def test_bad_periods_are_refused(change, sentence):
    frame = quarters()
    for name, value in change.items():
        frame.loc[3, name] = value
    with pytest.raises(TrainingDataError, match=sentence):
        fit_trend(frame, kind="frequency", total="claims", exposure="exposure")


def test_terms_that_cannot_be_told_apart_are_refused():
    with pytest.raises(
        TrainingDataError, match="36 periods cannot tell level, slope, level from 2010.00 apart"
    ):
        fit_trend(
            quarters(), kind="frequency", total="claims", exposure="exposure", breaks=[Break(2010.0, "level")]
        )
