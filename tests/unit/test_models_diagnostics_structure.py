"""Concentration, interactions of residual risk, residuals, stability and drift against closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from matplotlib.figure import Figure
from scipy import stats

from models import DiagnosticError, metrics
from models.diagnostics import (
    concentration,
    drift,
    lorenz,
    psi,
    residuals,
    stability,
    two_way,
)
from models.diagnostics.simulation import draw_totals


def sample(n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    exposure = rng.uniform(0.2, 1.0, n)
    expected = exposure * np.exp(rng.normal(-0.5, 0.6, n))
    return rng.poisson(expected).astype(float), expected, exposure


def test_areas_are_those_of_the_gini_coefficients():
    actual, expected, exposure = sample()
    steep = exposure * (expected / exposure) ** 2
    found = concentration(actual, {"right": expected, "steep": steep}, exposure, draws=60)
    for model, total in (("right", expected), ("steep", steep)):
        rate = total / exposure
        of_actual = metrics.gini(actual, rate, exposure)
        of_expected = metrics.gini(total, rate, exposure)
        assert found.areas.loc[model, "abc"] == pytest.approx((of_expected - of_actual) / 2)
        assert found.areas.loc[model, "icc"] == pytest.approx((1 - of_actual) / 2)
    assert found.areas.loc["right", "low"] < 0 < found.areas.loc["right", "high"]
    assert found.areas.loc["steep", "p_value"] < 0.05
    assert found.areas.loc["steep", "low"] > 0
    draws = lorenz(actual, steep, exposure, draws=60).draws["model"]
    assert len(draws) == 60
    assert isinstance(found.figure(), Figure)


def test_a_model_that_knows_what_happens_has_no_area():
    actual, _, exposure = sample(200)
    found = concentration(actual + 0.1, actual + 0.1, exposure, draws=20)
    assert found.areas["abc"].iloc[0] == pytest.approx(0.0, abs=1e-9)
    assert abs(found.areas["high"].iloc[0]) < 1e-9


def test_two_way_finds_the_interaction_and_only_that():
    rng = np.random.default_rng(2)
    n = 20_000
    a, b = rng.integers(0, 4, n), rng.choice(["x", "y", "z"], n)
    exposure = rng.uniform(0.5, 1.0, n)
    rate = 0.3 * (1 + 0.2 * a) * np.where(b == "x", 1.3, 1.0)
    crossed = rate * np.where((a == 3) & (b == "z"), 1.6, 1.0)
    actual = rng.poisson(crossed * exposure).astype(float)
    models = {"main": rate * exposure, "flat": exposure * rate.mean(), "whole": crossed * exposure}
    found = two_way(actual, models, exposure, a, b, names=("a", "b"))
    assert found.tests.loc["main", "p_value"] < 1e-6
    assert found.tests.loc["whole", "p_value"] > 0.005
    # Both margins are taken out first, so a model without any factor has the same gain as one with both.
    assert found.tests.loc["flat", "gain"] == pytest.approx(found.tests.loc["main", "gain"], rel=1e-6)
    assert found.tests.loc["main", "freedom"] == 6
    grouped = pd.DataFrame({"a": a, "b": b, "n": actual, "w": exposure})
    cells = grouped.groupby(["a", "b"])[["n", "w"]].sum().reset_index()
    design = sm.add_constant(pd.get_dummies(cells[["a", "b"]].astype(str), drop_first=True) * 1.0)
    fit = sm.GLM(cells["n"], design, family=sm.families.Poisson(), offset=np.log(cells["w"])).fit()
    assert found.tests.loc["flat", "gain"] == pytest.approx(fit.deviance, rel=1e-6)
    cell = found.frame[
        (found.frame["model"] == "main") & (found.frame["a"] == "3") & (found.frame["b"] == "z")
    ]
    assert cell["ae_low"].iloc[0] > 1.3
    assert isinstance(found.figure(), Figure)
    amounts = two_way(actual * 100, {"main": rate * exposure * 100}, exposure, a, b, objective="tweedie")
    assert amounts.tests.loc["main", "gain"] == pytest.approx(found.tests.loc["main", "gain"], rel=0.15)


@pytest.mark.parametrize("objective", ["poisson", "gamma", "tweedie", "binary"])
def test_quantile_residuals_of_a_right_model_are_standard_normal(objective):
    rng = np.random.default_rng(4)
    n = 4000
    exposure = np.ones(n) if objective == "binary" else rng.integers(1, 4, n).astype(float)
    expected = exposure * rng.uniform(0.1, 0.8, n)
    actual = draw_totals(expected, exposure, objective, 1.0, 1.5, 1, 7)[0]
    found = residuals(actual, expected, exposure, objective=objective, dispersion=1.0)
    quantile = found.rows["model"]["quantile"]
    assert stats.kstest(quantile, "norm").pvalue > 0.005
    line = found.dispersion.loc["model"]
    assert line["pearson"] == pytest.approx(1.0, abs=0.12)
    each = metrics.deviance_rows(actual, expected, exposure, objective)
    assert (found.rows["model"]["deviance"] ** 2).sum() == pytest.approx(each.sum())
    assert found.frame["rows"].sum() == n
    assert isinstance(found.figure(), Figure)


def test_residuals_are_those_of_statsmodels_and_show_what_is_missing():
    rng = np.random.default_rng(5)
    x = sm.add_constant(rng.normal(size=(800, 1)))
    count = rng.poisson(np.exp(x @ [0.2, 0.5])).astype(float)
    fit = sm.GLM(count, x, family=sm.families.Poisson()).fit()
    found = residuals(count, fit.mu, np.ones(800)).rows["model"]
    np.testing.assert_allclose(found["deviance"], fit.resid_deviance, atol=1e-9)
    np.testing.assert_allclose(found["pearson"], fit.resid_pearson)
    flat = residuals(count, np.full(800, count.mean()), np.ones(800), x[:, 1], name="x").frame
    assert flat["quantile"].iloc[0] < -0.3 < 0.3 < flat["quantile"].iloc[-1]
    with pytest.raises(DiagnosticError, match="1 rows are no whole numbers"):
        residuals([0.5, 1.0], [1.0, 1.0], [1.0, 1.0])


def test_stability_of_equal_and_of_shaken_refits():
    rng = np.random.default_rng(6)
    n = 2000
    exposure, rate = rng.uniform(0.2, 1.0, n), np.exp(rng.normal(size=n))
    level = pd.DataFrame({"region": rng.choice(["north", "south"], n), "age": rng.normal(size=n)})
    same = stability({"a": rate * exposure, "b": rate * exposure}, exposure, level)
    assert same.rows.max() == pytest.approx(0.0, abs=1e-9)
    assert same.ranks.to_numpy() == pytest.approx(1.0)
    assert same.frame["spread"].max() == pytest.approx(0.0, abs=1e-12)
    shaken = rate * np.where(level["region"] == "north", 1.5, 1.0)
    found = stability({"a": rate * exposure, "b": shaken * exposure}, exposure, level)
    expected_rho = stats.spearmanr(rate, shaken).statistic
    assert found.ranks.loc["a", "b"] == pytest.approx(expected_rho, abs=1e-6)
    north = found.frame.set_index(["factor", "band"]).loc[("region", "north")]
    assert north["high"] / north["low"] > 1.1
    assert found.rows[0.99] == pytest.approx(np.std([1.0, 1.5], ddof=1) / 1.25, rel=1e-6)
    assert isinstance(found.figure(), Figure)
    with pytest.raises(DiagnosticError, match="two refits and more; got 1"):
        stability({"a": rate}, exposure, level)


def test_drift_of_ranking_and_of_level():
    rng = np.random.default_rng(8)
    n = 9000
    exposure, rate = np.ones(n), np.exp(rng.normal(-1.0, 0.8, n))
    period = np.repeat(["2021", "2022", "2023"], n // 3)
    # 2022: a quarter more claims at every risk; 2023: half of the rows no longer as risky as they were.
    lost = (period == "2023") & (rng.random(n) < 0.5)
    truth = np.where(period == "2022", 1.25 * rate, np.where(lost, rate.mean(), rate))
    found = drift(rng.poisson(truth).astype(float), rate, exposure, period, draws=100).frame.loc["model"]
    assert found.loc["2021", ["balance_p", "gini_p"]].min() > 0.02
    assert found.loc["2022", "balance_p"] < 1e-6
    assert found.loc["2022", "gini_p"] > 0.01
    assert found.loc["2022", "global"] > found.loc["2022", "local"]
    assert found.loc["2023", "gini_p"] < 1e-3
    assert found.loc["2023", "local_p"] < 0.02
    assert found.loc["2023", "gini_change"] < -0.05
    whole = drift(rng.poisson(truth).astype(float), {"a": rate, "b": rate}, exposure, period, draws=20)
    assert isinstance(whole.figure(), Figure)
    with pytest.raises(DiagnosticError, match="two periods and more; got 1"):
        drift([1.0], [1.0], [1.0], ["2021"])
    with pytest.raises(DiagnosticError, match="period b: actual is zero on all rows"):
        drift([1.0, 0.0], [1.0, 1.0], [1.0, 1.0], ["a", "b"])


def test_psi_is_the_formula_and_sees_only_the_book():
    before = pd.DataFrame({"fuel": ["petrol"] * 6 + ["diesel"] * 4, "age": np.arange(10.0)})
    after = pd.DataFrame({"fuel": ["petrol"] * 3 + ["diesel"] * 7, "age": np.arange(10.0)})
    found = psi(before, after, np.ones(10), np.full(10, 2.0))
    expected = (0.3 - 0.6) * np.log(0.3 / 0.6) + (0.7 - 0.4) * np.log(0.7 / 0.4)
    assert found.frame.loc["fuel", "psi"] == pytest.approx(expected)
    assert found.frame.loc["fuel", "moved"] == pytest.approx(0.3)
    assert found.frame.loc["age", "psi"] == pytest.approx(0.0)
    new = psi(before, after.assign(fuel="gas"), np.ones(10), np.ones(10)).frame.loc["fuel"]
    assert new["moved"] == pytest.approx(1.0)
    assert np.isfinite(new["psi"])
    assert isinstance(found.figure(), Figure)
    with pytest.raises(DiagnosticError, match="before has columns fuel, age, after has fuel"):
        psi(before, after[["fuel"]], np.ones(10), np.ones(10))
    with pytest.raises(DiagnosticError, match="after has 10 rows, its exposure has 9"):
        psi(before, after, np.ones(10), np.ones(9))
