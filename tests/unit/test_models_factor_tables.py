"""One-way and two-way tables: sums by hand, intervals that hold, bands of equal exposure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from models.errors import TrainingDataError
from models.preparation.factor_tables import Columns, equal_exposure_bounds, one_way, two_way

COLUMNS = Columns("years", "claims", "paid", "premium")


def book(n: int = 3000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    fuel = rng.choice(["petrol", "diesel", "gas", None], n, p=[0.5, 0.3, 0.1, 0.1])
    years = rng.uniform(0.1, 1, n)
    claims = rng.poisson(0.3 * np.where(fuel == "diesel", 2.0, 1.0) * years)
    paid = rng.gamma(np.maximum(claims, 1) * 2.0, 500.0) * (claims > 0)
    return pd.DataFrame(
        {"age": age, "fuel": fuel, "years": years, "claims": claims, "paid": paid, "premium": 400 * years}
    )


def test_sums_rates_and_lines_of_missing_and_unknown():
    table = book()
    found = one_way(table, "fuel", COLUMNS, levels=["diesel", "petrol", "electric"])
    assert list(found.frame.index) == ["diesel", "petrol", "missing", "unknown"]
    assert found.frame["rows"].sum() == len(table)
    for level, rows in (("diesel", table["fuel"] == "diesel"), ("missing", table["fuel"].isna())):
        part, line = table[rows], found.frame.loc[level]
        assert line["frequency"] == pytest.approx(part["claims"].sum() / part["years"].sum())
        assert line["severity"] == pytest.approx(part["paid"].sum() / part["claims"].sum())
        assert line["pure_premium"] == pytest.approx(line["frequency"] * line["severity"])
        assert line["loss_ratio"] == pytest.approx(part["paid"].sum() / part["premium"].sum())
        assert line["average_premium"] == pytest.approx(400)
    assert found.frame.loc["unknown", "rows"] == (table["fuel"] == "gas").sum()
    assert found.frame["share"].sum() == pytest.approx(1)
    for rate in ("frequency", "severity", "pure_premium"):
        assert found.frame[rate].between(found.frame[f"{rate}_low"], found.frame[f"{rate}_high"]).all()


def test_the_frequency_interval_is_exact():
    table = pd.DataFrame({"f": ["a", "b"], "years": [10.0, 4.0], "claims": [7, 0]})
    frame = one_way(table, "f", Columns("years", "claims")).frame
    low, high = frame.loc["a", ["frequency_low", "frequency_high"]] * 10
    assert poisson.sf(6, low) == pytest.approx(0.025)
    assert poisson.cdf(7, high) == pytest.approx(0.025)
    assert frame.loc["b", "frequency_low"] == 0
    assert frame.loc["b", "frequency_high"] * 4 == pytest.approx(-np.log(0.025))
    assert "severity" not in frame


def test_severity_and_pure_premium_intervals_cover_the_truth():
    inside = np.zeros(2)
    for seed in range(60):
        frame = one_way(book(600, seed).assign(all="all"), "all", COLUMNS).frame.loc["all"]
        pure = 0.3 * (1 + 0.3) * 1000.0  # three in ten drive diesel, at twice the frequency
        inside += [
            frame["severity_low"] < 1000 < frame["severity_high"],
            frame["pure_premium_low"] < pure < frame["pure_premium_high"],
        ]
    assert (inside >= 52).all()  # of 60 at 95 %: fewer happens once in 700


def test_dispersion_of_a_claim_is_found():
    assert one_way(book(20_000), "fuel", COLUMNS).dispersion == pytest.approx(0.5, rel=0.1)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.floats(0.01, 1)), min_size=2, max_size=80), st.integers(2, 8)
)
@settings(max_examples=100, deadline=None)
def test_bands_keep_equal_values_together_and_share_the_exposure(rows, bands):
    value, exposure = (np.array(column, float) for column in zip(*rows, strict=True))
    bounds = equal_exposure_bounds(value, exposure, bands)
    assert (np.diff(bounds) > 0).all()
    assert len(bounds) < bands
    assert set(bounds) <= set(value)
    held = np.bincount(np.searchsorted(bounds, value, side="right"), exposure)
    assert (held > 0).all()
    heaviest = max(exposure[value == one].sum() for one in value)
    assert held.max() <= exposure.sum() / bands + 2 * heaviest + 1e-9


def test_bands_are_named_and_missing_numbers_stand_apart():
    table = book().astype({"age": float})
    table.loc[:9, "age"] = np.nan
    found = one_way(table, "age", COLUMNS, bands=[25, 60])
    assert list(found.frame.index) == ["below 25", "25 to 60", "from 60", "missing"]
    assert found.frame.loc["25 to 60", "rows"] == table["age"].between(25, 59).sum()
    assert found.frame.loc["missing", "rows"] == 10
    even = one_way(table, "age", COLUMNS, bands=5).frame
    assert even.drop("missing")["share"].between(0.17, 0.23).all()


def test_two_ways_add_up_to_one_way():
    table = book()
    found = two_way(table, ("age", "fuel"), COLUMNS, bands={"age": 4})
    by_fuel = one_way(table, "fuel", COLUMNS).frame
    summed = found.frame.groupby("column", observed=True)[
        ["rows", "exposure", "claims", "paid" if "paid" in found.frame else "amount"]
    ].sum()
    assert summed["exposure"].to_dict() == pytest.approx(by_fuel["exposure"].to_dict())
    assert summed["claims"].to_dict() == by_fuel["claims"].to_dict()
    assert "missing" in by_fuel.index


@pytest.mark.parametrize(
    "measure", ["frequency", "severity", "pure_premium", "average_premium", "loss_ratio"]
)
def test_every_measure_has_a_picture(measure):
    table = book()
    one = one_way(table, "fuel", COLUMNS).figure(measure)
    assert len(one.axes[0].patches) == 4
    two = two_way(table, ("fuel", "age"), COLUMNS, bands={"age": 3}).figure(measure)
    assert len(two.axes[0].texts) == 12


def test_what_cannot_be_summed_is_refused():
    table = book(50)
    with pytest.raises(TrainingDataError, match="column 'fule' is absent .did you mean 'fuel'"):
        one_way(table, "fule", COLUMNS)
    with pytest.raises(TrainingDataError, match="2 rows: years is missing, not finite or zero or negative"):
        one_way(table.assign(years=[0.0, np.nan, *[1.0] * 48]), "fuel", COLUMNS)
    with pytest.raises(TrainingDataError, match="'fuel' is .*only numbers have bands"):
        one_way(table, "fuel", COLUMNS, bands=3)
    with pytest.raises(TrainingDataError, match="loss_ratio needs premium"):
        one_way(table, "fuel", Columns("years", "claims", "paid")).figure("loss_ratio")
