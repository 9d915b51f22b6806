"""Estimates from logged offers hit the value that the new policy really has."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import RecommendationError
from models.recommend.off_policy import doubly_robust, explored, inverse_propensity


def test_estimates_cover_the_truth_and_a_model_lowers_the_error():
    rng = np.random.default_rng(1)
    n, m = 40_000, 5
    truth = 0.05 + 0.4 * rng.random((n, m)) * (np.arange(m) + 1) / m
    eligible = rng.random((n, m)) < 0.7
    eligible[:, 0] = True
    old = np.where(eligible, rng.random((n, m)), -np.inf)
    chances = explored(old, 0.05)
    assert chances.sum(axis=1) == pytest.approx(np.ones(n))
    assert not chances[~eligible].any()
    action = (rng.random((n, 1)) > np.cumsum(chances, axis=1)).sum(axis=1)
    reward = (rng.random(n) < truth[np.arange(n), action]).astype(float)
    new = explored(np.where(eligible, truth, -np.inf), 0.0)
    value = float((new * truth).sum(axis=1).mean())
    logged = chances[np.arange(n), action]
    plain = inverse_propensity(reward, action, logged, new)
    robust = doubly_robust(reward, action, logged, new, truth)
    wrong = doubly_robust(reward, action, logged, new, np.full((n, m), 0.9))
    for found in (plain, robust, wrong):
        assert abs(found.value - value) < 3.5 * found.error
        assert 0 < found.effective < n
    assert robust.error < 0.9 * plain.error
    assert abs(reward.mean() - value) > 3.5 * robust.error  # what the old ranking earned says nothing of it


@pytest.mark.parametrize(
    ("logged", "policy", "said"),
    [(0.0, [[1.0, 0.0]], "logged chances"), (0.5, [[0.9, 0.9]], "add up"), (0.5, [[-0.1, 0.5]], "add up")],
)
def test_chances_that_cannot_be_are_refused(logged, policy, said):
    with pytest.raises(RecommendationError, match=said):
        inverse_propensity(np.ones(1), np.zeros(1, int), np.array([logged]), np.array(policy))


def test_nothing_logged_is_said():
    with pytest.raises(RecommendationError, match="no offer"):
        inverse_propensity(np.empty(0), np.empty(0, int), np.empty(0), np.empty((0, 2)))
