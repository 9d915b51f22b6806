"""Figures of fit against their formulas and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest

from models import metrics

COUNT = np.array([0.0, 1.0, 0.0, 2.0])
EXPECTED = np.array([0.1, 0.5, 0.2, 1.0])
EXPOSURE = np.array([0.5, 1.0, 1.0, 0.25])


def test_poisson_deviance_is_the_formula_per_policy():
    parts = 2 * np.array([0.1, np.log(2) - 0.5, 0.2, 2 * np.log(2) - 1.0])
    assert metrics.poisson_deviance(COUNT, EXPECTED) == pytest.approx(parts.mean())
    assert metrics.poisson_deviance_per_exposure(COUNT, EXPECTED, EXPOSURE) == pytest.approx(
        parts.sum() / EXPOSURE.sum()
    )


def test_gamma_deviance_weighs_by_claims():
    mean, expected, claims = np.array([100.0, 300.0]), np.array([200.0, 300.0]), np.array([1.0, 3.0])
    unit = 2 * (np.log(2.0) + 0.5 - 1.0)
    assert metrics.gamma_deviance(mean, expected, claims) == pytest.approx(unit / 4)


def test_gini_of_a_perfect_constant_and_reversed_order():
    actual, weight = np.array([0.0, 0.0, 0.0, 1.0]), np.ones(4)
    assert metrics.gini(actual, np.array([1.0, 2.0, 3.0, 4.0]), weight) == pytest.approx(0.75)
    assert metrics.gini(actual, np.full(4, 2.0), weight) == pytest.approx(0.0)
    assert metrics.gini(actual, np.array([4.0, 3.0, 2.0, 1.0]), weight) == pytest.approx(-0.75)


def test_lorenz_does_not_depend_on_the_order_of_ties():
    rng = np.random.default_rng(0)
    actual, rate, weight = (
        rng.poisson(0.5, 200).astype(float),
        rng.integers(1, 5, 200).astype(float),
        rng.random(200),
    )
    order = rng.permutation(200)
    first = metrics.gini(actual, rate, weight)
    assert metrics.gini(actual[order], rate[order], weight[order]) == pytest.approx(first, abs=1e-12)


def test_event_figures():
    event, probability = np.array([0.0, 1.0]), np.array([0.25, 0.5])
    assert metrics.logloss(event, probability) == pytest.approx(-(np.log(0.75) + np.log(0.5)) / 2)
    assert metrics.auc(event, probability) == 1.0
    assert metrics.d2(0.9, 1.0) == pytest.approx(0.1)
    assert metrics.actual_over_expected(np.array([2.0]), np.array([4.0])) == 0.5
