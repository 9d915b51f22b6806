"""Lorenz, lift and one-way against closed forms; bad rows are refused with their number."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure
from scipy import stats

from models import DiagnosticError, diagnostics, metrics
from models.diagnostics import Units, double_lift, lift, lorenz, one_way, over_time
from models.diagnostics.bands import band
from models.diagnostics.resampling import TIMES, row_weights

UNITS = Units("claims", "policy-year")


def sample(n: int = 4000, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    exposure = rng.uniform(0.1, 1.0, n)
    x = rng.normal(size=n)
    rate = np.exp(-1.0 + 0.7 * x)
    actual = rng.poisson(rate * exposure).astype(float)
    return actual, {"flat": exposure * rate.mean(), "true": exposure * rate}, exposure, x


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exposure": [1.0, 0.0, 1.0]}, "exposure: 1 of 3 rows are not allowed, must be positive"),
        ({"expected": [1.0, -1.0, 1.0]}, "1 of 3 rows are not allowed, must be not negative"),
        ({"actual": [np.nan, np.inf, 1.0]}, "actual: 2 of 3 rows are not finite"),
        ({"actual": [0.0, 0.0, 0.0]}, "actual is zero on all 3 rows"),
        ({"expected": [1.0, 1.0]}, "has 2 rows, actual has 3"),
        ({"expected": {}}, "no expected totals"),
        ({"actual": [], "expected": [], "exposure": []}, "there are no rows"),
        ({"actual": ["a", "b", "c"]}, "not a column of numbers"),
        ({"expected": np.ones((3, 2))}, "one number per row"),
    ],
)
def test_bad_rows_are_refused_with_their_number(change, message):
    good = {"actual": [1.0, 0.0, 2.0], "expected": [1.0, 1.0, 1.0], "exposure": [1.0, 1.0, 1.0]}
    with pytest.raises(DiagnosticError, match=message):
        lorenz(**(good | change), draws=0)


def test_gini_and_its_bootstrap():
    actual, expected, exposure, _ = sample()
    found = lorenz(actual, expected, exposure, draws=100)
    assert found.gini.loc["flat", "gini"] == pytest.approx(0.0, abs=1e-12)
    assert found.gini.loc["true", "gini"] == pytest.approx(
        metrics.gini(actual, expected["true"] / exposure, exposure)
    )
    line = found.gini.loc["true"]
    assert line["low"] < line["gini"] < line["high"]
    apart = found.difference("true", "flat")
    assert apart["difference"] == pytest.approx(line["gini"])
    assert apart["low"] > 0
    assert apart["p_value"] == pytest.approx(2 / 101)
    assert found.differences.loc[0, "new"] == "true"
    again = lorenz(actual, expected, exposure, draws=100)
    pd.testing.assert_frame_equal(found.draws, again.draws)
    assert isinstance(found.figure(UNITS), Figure)
    with pytest.raises(DiagnosticError, match="without draws"):
        lorenz(actual, expected, exposure, draws=0).difference("true", "flat")
    with pytest.raises(DiagnosticError, match="'other' is not among the models flat, true"):
        lorenz(actual, expected, exposure, draws=2).difference("other", "flat")


def test_a_resampled_gini_is_the_gini_of_the_resample():
    actual, expected, exposure, _ = sample(300)
    expected["tied"] = np.round(expected["true"] / exposure, 1) * exposure
    found = lorenz(actual, expected, exposure, draws=3, seed=5).draws
    for k, times in enumerate(row_weights(300, 3, 5)):
        rows = np.repeat(np.arange(300), times)
        for model, total in expected.items():
            plain = metrics.gini(actual[rows], np.round(total / exposure, 12)[rows], exposure[rows])
            assert found.loc[k, model] == pytest.approx(plain, abs=1e-12)


def test_rows_are_drawn_a_poisson_number_of_times():
    assert (TIMES.mean(), TIMES.var()) == pytest.approx((1.0, 1.0), abs=2e-4)
    assert len(TIMES) == 65536


def test_the_bootstrap_error_is_the_spread_over_samples():
    ginis = []
    for seed in range(60):
        actual, expected, exposure, _ = sample(1500, seed)
        ginis.append(metrics.gini(actual, expected["true"] / exposure, exposure))
    actual, expected, exposure, _ = sample(1500, 99)
    error = lorenz(actual, expected, exposure, draws=150).gini.loc["true", "error"]
    assert error == pytest.approx(np.std(ginis), rel=0.35)


def test_lift_adds_up_and_is_calibrated():
    actual, expected, exposure, _ = sample()
    frame = lift(actual, expected, exposure).frame
    assert set(frame.loc[frame["model"] == "flat", "band"]) == {1}
    true = frame[frame["model"] == "true"]
    assert len(true) == 10
    assert (true["exposure"] @ true["rate"]) == pytest.approx(actual.sum())
    assert true["exposure"] @ true["expected"] == pytest.approx(expected["true"].sum())
    assert true["exposure"].max() / true["exposure"].min() < 1.05
    assert ((true["low"] < true["expected"]) & (true["expected"] < true["high"])).mean() >= 0.8
    assert isinstance(lift(actual, expected, exposure).figure(UNITS), Figure)


def test_double_lift_swaps():
    actual, expected, exposure, _ = sample()
    one = double_lift(actual, expected, exposure, new="true", old="flat")
    other = double_lift(actual, expected, exposure, new="flat", old="true")
    for here, there in (("rate", "rate"), ("new", "old"), ("old", "new"), ("new_ae", "old_ae")):
        np.testing.assert_allclose(one.frame[here], other.frame[there][::-1])
    np.testing.assert_allclose(one.frame["ratio"], 1 / other.frame["ratio"][::-1])
    assert one.error == pytest.approx(other.error)
    assert one.error["true"] < one.error["flat"]
    assert isinstance(one.figure(UNITS), Figure)
    with pytest.raises(DiagnosticError, match="10 and more"):
        double_lift(actual, expected, exposure, new="true", old="flat", bands=5)
    with pytest.raises(DiagnosticError, match="no expected totals of glm"):
        double_lift(actual, expected, exposure, new="glm", old="flat")


def test_one_way_finds_a_factor_that_no_model_has():
    actual, expected, exposure, x = sample()
    found = one_way(actual, expected, exposure, pd.Series(x, name="x"))
    assert found.tests.loc["flat", "p_value"] < 1e-10
    assert found.tests.loc["true", "p_value"] > 0.001
    assert found.frame["actual"].sum() == actual.sum()
    ae = found.frame["flat.ae"].to_numpy()
    assert ae[0] < 0.7 < 1.3 < ae[-1]
    assert isinstance(found.figure(UNITS), Figure)


def test_intervals_are_the_exact_ones():
    actual, exposure = np.array([3.0, 0.0]), np.array([10.0, 10.0])
    frame = one_way(actual, exposure * 0.1, exposure, ["a", "b"]).frame
    assert frame.loc["a", "low"] * 10 == pytest.approx(stats.chi2.ppf(0.025, 6) / 2)
    assert frame.loc["b", "low"] == 0.0
    assert frame.loc["b", "high"] * 10 == pytest.approx(-np.log(0.025))
    trials = stats.binomtest(3, 10).proportion_ci(method="exact")
    found = one_way(actual, exposure * 0.1, exposure, ["a", "b"], objective="binary").frame
    assert (found.loc["a", "low"], found.loc["a", "high"]) == pytest.approx((trials.low, trials.high))
    wide = one_way(actual, exposure * 0.1, exposure, ["a", "b"], dispersion=2.0).frame
    assert wide.loc["a", "high"] > frame.loc["a", "high"]


def test_intervals_of_amounts_come_from_their_scatter():
    rng = np.random.default_rng(1)
    amount = rng.gamma(2.0, 100.0, 500)
    frame = one_way(amount, np.full(500, 200.0), np.ones(500), np.zeros(500), objective="gamma").frame
    half = 1.959964 * amount.std(ddof=1) / np.sqrt(500)
    assert frame["high"].iloc[0] == pytest.approx(amount.mean() + half, rel=1e-5)


def test_bands_keep_missing_values_and_pool_small_levels():
    exposure = np.ones(6)
    numbers = band(pd.Series([1.0, np.nan, 2.0, 2.0, 1.0, np.nan], name="age"), exposure)
    assert numbers.labels == ("1", "2", "missing")
    assert list(numbers.codes) == [0, 2, 1, 1, 0, 2]
    assert list(numbers.exposure) == [2.0, 2.0, 2.0]
    levels = band(pd.Series(["b", None, "a", "a", "b", "b"]), exposure, name="fuel")
    assert levels.labels == ("a", "b", "missing")
    many = np.repeat(np.arange(60).astype(str), np.arange(1, 61))
    pooled = band(many, np.ones(len(many)))
    assert len(pooled.labels) == 25
    assert pooled.labels[-1] == "36 smaller levels"
    assert pooled.exposure[-1] == np.arange(1, 37).sum()
    wide = band(np.arange(1000.0), np.ones(1000))
    assert wide.labels[0] == "0 to 99"
    assert set(wide.exposure) == {100.0}
    declared = band(pd.Series(pd.Categorical(["y"], ["x", "y"], ordered=True)), np.ones(1))
    assert declared.labels == ("y",)
    assert declared.ordered
    with pytest.raises(DiagnosticError, match="over_time"):
        band(pd.Series(pd.to_datetime(["2024-01-01"])), np.ones(1))
    with pytest.raises(DiagnosticError, match="one value for each of 3 rows"):
        band([1, 2], np.ones(3))


def test_over_time_by_period():
    when = pd.to_datetime(["2024-01-05", "2024-01-31", "2024-04-01"])
    found = over_time([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], [1.0, 1.0, 1.0], when, every="quarter")
    assert list(found.frame.index) == ["2024Q1", "2024Q2"]
    assert list(found.frame["model.ae"]) == [0.75, 1.5]
    with pytest.raises(DiagnosticError, match="1 of 3 rows have no date"):
        over_time([1.0, 2.0, 3.0], [2.0] * 3, [1.0] * 3, pd.Series([*when[:2], pd.NaT]))
    with pytest.raises(DiagnosticError, match="allowed: dates"):
        over_time([1.0, 2.0, 3.0], [2.0] * 3, [1.0] * 3, [1, 2, 3])


def test_every_diagnostic_is_documented_and_gives_frame_and_figure():
    text = (Path(__file__).parents[2] / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    for name in diagnostics.__all__:
        found = getattr(diagnostics, name)
        if not isinstance(found, type):
            assert f"`{name}`" in text, name
        elif found not in (Units, diagnostics.Diagnostic):
            assert "frame" in {field.name for field in fields(found)}, name
            assert callable(found.figure), name


def test_notebooks_show_results_and_figures_without_pyplot():
    found = lorenz(*sample(200)[:3], draws=20)
    for shown in (found, found.figure()):
        content, _ = DisplayFormatter().format(shown)
        assert content["image/png"].startswith(b"\x89PNG")
