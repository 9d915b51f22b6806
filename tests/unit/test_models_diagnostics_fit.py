"""Deviance, calibration and Murphy against scikit-learn, statsmodels and closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from matplotlib.figure import Figure
from sklearn.metrics import d2_tweedie_score, log_loss, mean_tweedie_deviance

from models import DiagnosticError, metrics
from models.diagnostics import bias, calibration, decomposition, deviance, lorenz, murphy
from models.diagnostics.inputs import check_rows
from models.diagnostics.simulation import draw_totals, pearson_dispersion

OBJECTIVES = ("poisson", "gamma", "tweedie", "binary")


def sample(objective: str, n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give actual, right expected and exposure."""
    rng = np.random.default_rng(seed)
    if objective == "binary":
        chance = rng.uniform(0.05, 0.6, n)
        return (rng.random(n) < chance).astype(float), chance, np.ones(n)
    exposure = rng.integers(1, 4, n).astype(float)
    expected = exposure * np.exp(rng.normal(-0.5, 0.6, n))
    return draw_totals(expected, exposure, objective, 1.0, 1.5, 1, seed)[0], expected, exposure


def test_deviance_rows_are_those_of_scikit_learn():
    for objective, power in (("poisson", 1), ("gamma", 2), ("tweedie", 1.5)):
        actual, expected, exposure = sample(objective)
        each = metrics.deviance_rows(actual, expected, exposure, objective)
        mean = mean_tweedie_deviance(
            actual / exposure, expected / exposure, sample_weight=exposure, power=power
        )
        assert each.sum() / exposure.sum() == pytest.approx(mean)
        assert (each >= -1e-12).all()
    event, chance, trials = sample("binary")
    assert metrics.deviance_rows(event, chance, trials, "binary").mean() == pytest.approx(
        2 * log_loss(event, chance)
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_deviance_by_model_and_sample(objective):
    actual, expected, exposure = sample(objective)
    flat = exposure * actual.sum() / exposure.sum()
    found = deviance(actual, {"right": expected, "flat": flat}, exposure, objective=objective)
    assert found.frame.loc[("flat", "all"), "d2"] == pytest.approx(0.0, abs=1e-12)
    assert found.frame.loc[("right", "all"), "d2"] > 0.02
    labels = np.where(np.arange(len(actual)) % 3, "learn", "test")
    split = deviance(actual, {"right": expected, "flat": flat}, exposure, objective=objective, sample=labels)
    parts = split.frame.loc["right"]
    whole = found.frame.loc[("right", "all")]
    assert parts["per_row"] @ parts["rows"] / parts["rows"].sum() == pytest.approx(whole["per_row"])
    assert parts["exposure"] @ parts["per_exposure"] == pytest.approx(whole["per_exposure"] * exposure.sum())
    assert isinstance(split.figure(), Figure)


def test_d2_is_that_of_scikit_learn():
    actual, expected, exposure = sample("poisson")
    found = deviance(actual, expected, exposure).frame["d2"].iloc[0]
    assert found == pytest.approx(
        d2_tweedie_score(actual / exposure, expected / exposure, sample_weight=exposure, power=1)
    )


def test_criteria_are_those_of_statsmodels():
    rng = np.random.default_rng(1)
    x = sm.add_constant(rng.normal(size=(500, 2)))
    count = rng.poisson(np.exp(x @ [0.1, 0.3, -0.2])).astype(float)
    fit = sm.GLM(count, x, family=sm.families.Poisson()).fit()
    line = deviance(count, fit.mu, np.ones(500), parameters={"model": 3}).frame.iloc[0]
    assert line["log_likelihood"] == pytest.approx(fit.llf)
    assert line["aic"] == pytest.approx(fit.aic)
    assert line["bic"] == pytest.approx(fit.bic_llf)
    assert line["per_row"] * 500 == pytest.approx(fit.deviance)
    event = (rng.random(500) < 0.3).astype(float)
    logit = sm.GLM(event, x, family=sm.families.Binomial()).fit()
    line = deviance(event, logit.mu, np.ones(500), objective="binary", parameters={"model": 3}).frame.iloc[0]
    assert line["aic"] == pytest.approx(logit.aic)
    amount = rng.gamma(2.0, np.exp(x @ [5.0, 0.2, 0.1]) / 2)
    gamma = sm.GLM(amount, x, family=sm.families.Gamma(sm.families.links.Log())).fit()
    line = deviance(amount, gamma.mu, np.ones(500), objective="gamma", parameters={"model": 3}).frame.iloc[0]
    assert line["log_likelihood"] == pytest.approx(gamma.llf)
    with pytest.raises(DiagnosticError, match="parameters of glm"):
        deviance(count, fit.mu, np.ones(500), parameters={"glm": 3})


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_drawn_totals_have_the_mean_and_variance_of_the_distribution(objective):
    expected, exposure = np.array([20.0, 3.0]), np.array([40.0, 30.0])
    spread = 1.0 if objective == "binary" else 1.7
    drawn = draw_totals(expected, exposure, objective, spread, 1.5, 20_000, 0)
    np.testing.assert_allclose(drawn.mean(axis=0), expected, rtol=0.03)
    variance = spread * metrics.variance_rows(expected, exposure, objective)
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.06)
    rows = check_rows(drawn[:, 0], np.full(20_000, 20.0), np.full(20_000, 40.0))
    assert pearson_dispersion(rows, "model", objective, 1.5) == pytest.approx(spread, rel=0.06)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_auto_calibration_keeps_right_models_and_rejects_wrong_ones(objective):
    actual, expected, exposure = sample(objective, 6000)
    mean = expected.sum() / exposure.sum()
    models = {
        "right": expected,
        "steep": exposure * mean * (expected / exposure / mean) ** 2.0,
        "low": 0.8 * expected,
    }
    if objective == "binary":
        models["steep"] = np.clip(models["steep"], 0.01, 0.95)
    found = calibration(actual, models, exposure, objective=objective, draws=100)
    tests = found.tests
    assert tests.loc["right", "auto_calibration_p"] > 0.03
    assert tests.loc["steep", "auto_calibration_p"] < 0.02
    assert tests.loc["steep", "chi2_p"] < 1e-3
    assert tests.loc["low", "auto_calibration_p"] < 0.02
    assert tests.loc["low", "ae_low"] > 1.0
    np.testing.assert_allclose(tests["miscalibration"], tests["global"] + tests["local"])
    assert tests.loc["low", "local"] == pytest.approx(tests.loc["right", "local"], rel=0.05)
    right = found.frame[found.frame["model"] == "right"]
    inside = (right["low"] <= right["isotonic"]) & (right["isotonic"] <= right["high"])
    assert np.average(inside, weights=right["exposure"]) > 0.75
    assert (np.diff(right["isotonic"]) >= 0).all()
    assert isinstance(found.figure(), Figure)


def test_p_values_of_right_models_are_uniform():
    found = []
    for seed in range(40):
        actual, expected, exposure = sample("poisson", 400, seed)
        found.append(
            calibration(actual, expected, exposure, draws=60).tests[
                ["auto_calibration_p", "local_p", "balance_p", "chi2_p"]
            ]
        )
    values = pd.concat(found)
    assert values.mean().between(0.35, 0.65).all()
    assert (values < 0.1).mean().max() < 0.28


def test_bias_by_band():
    actual, expected, exposure = sample("poisson")
    level = np.where(np.arange(len(actual)) % 2, "odd", "even")
    wrong = expected + np.where(level == "odd", 0.2, 0.0) * exposure
    found = bias(actual, {"right": expected, "wrong": wrong}, exposure, level, name="row")
    frame = found.frame.set_index(["model", "band"])
    odd = level == "odd"
    plain = (wrong - actual)[odd].sum() / exposure[odd].sum()
    assert frame.loc[("wrong", "odd"), "bias"] == pytest.approx(plain)
    assert frame.loc[("wrong", "odd"), "p_value"] < 1e-6
    assert frame.loc[("right", "even"), "p_value"] > 0.001
    assert isinstance(found.figure(), Figure)
    ranked = bias(actual, expected, exposure).frame
    assert list(ranked["band"]) == [str(k) for k in range(1, 11)]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_decomposition_adds_up(objective):
    actual, expected, exposure = sample(objective)
    flat = exposure * actual.sum() / exposure.sum()
    found = decomposition(actual, {"right": expected, "flat": flat}, exposure, objective=objective)
    frame = found.frame
    np.testing.assert_allclose(
        frame["miscalibration"] - frame["discrimination"] + frame["uncertainty"], frame["score"]
    )
    assert frame.loc["flat", ["miscalibration", "discrimination"]].abs().max() < 1e-10
    half = 0.5 if objective == "binary" else 1.0
    per_exposure = metrics.deviance_rows(actual, expected, exposure, objective).sum() / exposure.sum()
    assert frame.loc["right", "score"] == pytest.approx(half * per_exposure)
    assert frame.loc["right", "discrimination"] > 0.01
    assert isinstance(found.figure(), Figure)


def test_decomposition_where_the_safest_had_no_claims():
    expected = np.array([0.01, 0.02, 0.1, 0.2, 0.5, 1.0])[[3, 0, 4, 1, 5, 2]]
    actual = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 2.0])[[3, 0, 4, 1, 5, 2]]
    frame = decomposition(actual, expected, np.ones(6)).frame
    assert np.isfinite(frame.to_numpy()).all()


def test_murphy_ranks_a_right_model_first_and_compares_pairs():
    actual, expected, exposure = sample("poisson")
    flat = exposure * actual.sum() / exposure.sum()
    found = murphy(actual, {"flat": flat, "right": expected}, exposure, points=15)
    right = found.frame[found.frame["model"] == "right"]
    assert (right["difference"] < right["high"]).all()
    assert right["difference"].max() < 1e-3
    assert right["difference"].min() < -0.01
    flat_lines = found.frame[found.frame["model"] == "flat"]
    assert (flat_lines[["difference", "low", "high"]] == 0).all(axis=None)
    eta = right["eta"].iloc[7]
    y, m = actual / exposure, expected / exposure
    score = np.abs(y - eta) * ((np.minimum(y, m) < eta) & (eta <= np.maximum(y, m)))
    assert right["score"].iloc[7] == pytest.approx(np.average(score, weights=exposure))
    assert isinstance(found.figure(), Figure)


def test_values_outside_the_distribution_are_refused():
    with pytest.raises(DiagnosticError, match="1 rows are zero; gamma"):
        deviance([0.0, 1.0], [1.0, 1.0], [1.0, 1.0], objective="gamma")
    with pytest.raises(DiagnosticError, match="1 rows where the deviance needs positive"):
        deviance([0.0, 1.0], [0.0, 1.0], [1.0, 1.0])
    with pytest.raises(DiagnosticError, match="1 rows hold more events"):
        calibration([2.0, 1.0], [0.5, 0.5], [1.0, 1.0], objective="binary")


@pytest.mark.parametrize("objective", ["poisson", "binary", "gamma"])
def test_rows_of_one_customer_say_no_more_than_one(objective):
    rng = np.random.default_rng(5)
    rate = rng.uniform(0.05, 0.4, 1500)
    drawn = {"poisson": rng.poisson, "binary": lambda p: rng.random(len(p)) < p, "gamma": rng.exponential}
    actual, exposure = np.asarray(drawn[objective](rate), dtype=float), np.ones(1500)
    single = (actual, rate, exposure)
    repeated, customer = [np.repeat(part, 5) for part in single], np.repeat(np.arange(1500), 5)
    one = calibration(*single, objective=objective, draws=200).tests.loc["model"]
    many = calibration(*repeated, objective=objective, draws=200, cluster=customer).tests.loc["model"]
    naive = calibration(*repeated, objective=objective, draws=200).tests.loc["model"]
    for figure in ("ae_low", "ae_high", "balance_p", "chi2_p"):
        assert many[figure] == pytest.approx(one[figure], rel=0.02), figure
    assert many["auto_calibration_p"] == pytest.approx(one["auto_calibration_p"], abs=0.1)
    assert naive["ae_high"] - naive["ae_low"] < 0.5 * (one["ae_high"] - one["ae_low"])
    assert np.allclose(lorenz(*repeated, cluster=customer).draws, lorenz(*single).draws)
