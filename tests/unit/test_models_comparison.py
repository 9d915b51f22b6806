"""Figures and paired tests of a comparison against their formulas, known truths and other libraries."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import log_loss, mean_gamma_deviance, mean_poisson_deviance, mean_tweedie_deviance

import models
from models import DiagnosticError, compare
from models.losses import row_losses
from models.paired import gain_test, paired_tests


def rows(n: int = 4000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, exposure = rng.normal(size=n), rng.uniform(0.2, 1.0, n)
    rate = 0.3 * np.exp(0.5 * x)
    return pd.DataFrame(
        {
            "x": x,
            "years": exposure,
            "claims": rng.poisson(rate * exposure),
            "true": rate * exposure,
            "flat": 0.3 * np.exp(0.125) * exposure,
            "customer": rng.integers(0, n // 4, n),
        }
    )


def test_mean_row_loss_is_the_deviance_of_scikit_learn():
    rng = np.random.default_rng(1)
    exposure, expected = rng.uniform(0.1, 3, 500), rng.uniform(0.1, 2, 500)
    count, amount = rng.poisson(expected).astype(float), rng.gamma(2.0, expected / 2)
    rate = expected / exposure
    weighted = {"sample_weight": exposure}
    assert row_losses("poisson", count, expected, exposure).mean() == pytest.approx(
        100 * mean_poisson_deviance(count, expected)
    )
    assert row_losses("gamma", amount, expected, exposure).mean() == pytest.approx(
        mean_gamma_deviance(amount / exposure, rate, **weighted)
    )
    assert row_losses("tweedie", count, expected, exposure).mean() == pytest.approx(
        mean_tweedie_deviance(count / exposure, rate, power=1.5, **weighted)
    )
    event, p = (rng.random(500) < 0.3).astype(float), rng.uniform(0.1, 0.9, 500)
    assert row_losses("binary", event, p, np.ones(500)).mean() == pytest.approx(log_loss(event, p))


def test_paired_tests_are_the_one_sample_t_test_and_cover_the_truth():
    rng = np.random.default_rng(2)
    a, b = rng.gamma(1.0, 1.0, 3000), rng.gamma(1.0, 1.0, 3000)
    line = paired_tests({"a": a, "b": b}, draws=2000).iloc[0]
    found = stats.ttest_1samp(a - b, 0.0)
    assert line["difference"] == pytest.approx((a - b).mean())
    assert (line["statistic"], line["p"]) == pytest.approx((found.statistic, found.pvalue))
    normal = found.confidence_interval(0.95)
    assert (line["low"], line["high"]) == pytest.approx((normal.low, normal.high), rel=0.15, abs=0.005)


def test_rows_of_one_customer_count_once():
    rng = np.random.default_rng(3)
    difference = rng.normal(0.1, 1.0, 500)
    single = paired_tests({"a": difference, "b": np.zeros(500)}).iloc[0]
    customers = np.repeat(np.arange(500), 10)
    repeated = {"a": np.repeat(difference, 10), "b": np.zeros(5000)}
    clustered = paired_tests(repeated, customers).iloc[0]
    assert clustered["statistic"] == pytest.approx(single["statistic"])
    assert clustered["low"] == pytest.approx(single["low"])
    assert clustered["clusters"] == 500
    assert abs(paired_tests(repeated).iloc[0]["statistic"]) > 3 * abs(single["statistic"])


def test_holm_corrects_over_all_pairs_and_seeds_repeat():
    rng = np.random.default_rng(4)
    losses = {name: rng.gamma(1.0, 1.0 + 0.05 * i, 800) for i, name in enumerate("abcd")}
    tests = paired_tests(losses, seed=7)
    assert len(tests) == 6
    assert (tests["p_holm"] >= tests["p"]).all()
    assert tests["p_holm"].min() == pytest.approx(min(1.0, 6 * tests["p"].min()))
    pd.testing.assert_frame_equal(tests, paired_tests(losses, seed=7))
    assert not tests["low"].equals(paired_tests(losses, seed=8)["low"])
    same = paired_tests({"a": losses["a"], "b": losses["a"]}).iloc[0]
    assert (same["difference"], same["p"], same["low"], same["high"]) == (0.0, 1.0, 0.0, 0.0)


def test_gain_is_tested_against_what_is_wanted():
    rng = np.random.default_rng(5)
    champion = rng.gamma(1.0, 1.0, 4000)
    candidate = champion * 0.98 + rng.normal(0, 0.05, 4000)
    gain, statistic = gain_test(candidate, champion, 0.0)
    assert gain == pytest.approx(0.02, abs=0.005)
    assert statistic > 3
    assert gain_test(candidate, champion, 0.02)[1] == pytest.approx(0, abs=3)
    assert gain_test(candidate, champion, 0.05)[1] < -3
    assert gain_test(champion, champion, 0.0) == (0.0, 0.0)
    assert gain_test(champion, champion, -0.01)[1] > 3


def test_compare_takes_arrays_estimators_and_says_what_is_best():
    class Fitted:
        objective = "poisson"
        feature_names_in_ = ("x",)

        def predict(self, X):
            assert list(X) == ["x"]
            return 0.3 * np.exp(0.5 * X["x"].to_numpy())

    data = rows(6000)
    found = compare(
        {"true": Fitted(), "flat": data["flat"], "same": data["true"], "absurd": 10 * data["flat"]},
        data.drop(columns=["true", "flat"]),
        actual="claims",
        exposure="years",
        cluster="customer",
    )
    table = found.table
    assert list(table.index) == ["true", "flat", "same", "absurd", "null"]
    assert table.loc["true"].drop("seconds").equals(table.loc["same"].drop("seconds"))
    assert table.loc["true", "seconds"] > 0
    assert table.loc["true", "deviance_x100"] < table.loc["flat", "deviance_x100"]
    assert table.loc["null", "d2"] == 0
    assert table.loc["true", "gini_low"] < table.loc["true", "gini"] < table.loc["true", "gini_high"]
    assert table.loc["null", "ae"] == pytest.approx(1.0)
    assert table.loc["true", "dominated_by"] == 0
    assert table.loc["absurd", "dominated_by"] >= 1  # whatever the loss
    assert found.losses("true").mean() == pytest.approx(table.loc["true", "deviance_x100"])
    line = found.tests.set_index(["model", "against"]).loc[("true", "flat")]
    assert line["high"] < 0
    assert line["p_holm"] < 0.001
    assert line["clusters"] == data["customer"].nunique()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"models": {}}, "no model is given"),
        ({"actual": "claim"}, "column 'claim' is absent.*'claims'"),
        ({"models": {"m": np.ones(3)}}, r"expected\['m'\] has 3 rows, actual has 4000"),
        ({"models": {"m": np.zeros(4000)}}, "m.* zero"),
        ({"data": rows().assign(years=0.0)}, "exposure: 4000 of 4000 rows"),
        ({"data": rows().assign(claims=-1.0)}, "actual: 4000 of 4000 rows"),
        ({"data": rows().assign(claims=0.0)}, "actual is zero on all 4000 rows"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_counts(given, sentence):
    data = rows()
    arguments = {"models": {"m": data["true"]}, "data": data, "actual": "claims", "exposure": "years"}
    with pytest.raises(DiagnosticError, match=sentence):
        compare(**{**arguments, **given})


def test_public_names_exist():
    assert all(hasattr(models, name) for name in models.__all__)
    assert list(models.__all__) == sorted(
        models.__all__, key=lambda name: (name.upper() != name, name[0].islower(), name)
    )
