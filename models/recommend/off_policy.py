r"""What another ranking would have earned, from offers that were logged with their chances.

Each logged offer has the action shown, the chance :math:`\pi_0` with which it was shown, and what came of it
(bought or not, or margin). For a new policy with chances :math:`\pi(a \mid x)`,

.. math:: \hat V_{IPS} &= \frac{1}{n} \sum_i w_i r_i \\
          \hat V_{DR} &= \frac{1}{n} \sum_i \Big[ \sum_a \pi(a \mid x_i) q(x_i, a)
          + w_i (r_i - q(x_i, a_i)) \Big]

with :math:`w_i = \pi(a_i \mid x_i) / \pi_0(a_i \mid x_i)` and a model q of the reward. IPS is unbiased if
every action that the new policy takes had a chance; DR is so too whatever q is, and has less variance the
better q is.

References
----------
Horvitz and Thompson (1952), JASA 47; Dudik, Erhan, Langford and Li (2014), Statistical Science 29(4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.errors import RecommendationError

if TYPE_CHECKING:
    from models.recommend.task import Array, Rows


@dataclass(frozen=True)
class PolicyValue:
    """Estimate of a mean reward.

    Attributes
    ----------
    value, error
        Estimate and its standard error.
    effective
        Effective number of offers: the squared sum of the weights over the sum of their squares.
    """

    value: float
    error: float
    effective: float


def inverse_propensity(reward: Array, action: Rows, logged: Array, policy: Array) -> PolicyValue:
    """Estimate the mean reward of a policy by inverse propensity weights.

    Parameters
    ----------
    reward
        What came of each logged offer, shape (n,).
    action
        Product that was shown, shape (n,).
    logged
        Chance with which it was shown, shape (n,).
    policy
        Chance of each product under the new policy, shape (n, m).

    Raises
    ------
    RecommendationError
        If a chance lies outside (0, 1], or the new policy's do not add up to 1 at most.
    """
    return doubly_robust(reward, action, logged, policy, np.zeros(policy.shape))


def doubly_robust(reward: Array, action: Rows, logged: Array, policy: Array, model: Array) -> PolicyValue:
    """Estimate the mean reward of a policy by a reward model, corrected by inverse propensity weights.

    Parameters
    ----------
    reward, action, logged, policy
        See `inverse_propensity`.
    model
        Expected reward of each product, shape (n, m), fitted on other offers than these.

    Raises
    ------
    RecommendationError
        See `inverse_propensity`.
    """
    if not len(reward):
        raise RecommendationError("no offer was logged")
    outside = int((~((logged > 0) & (logged <= 1))).sum())
    if outside:
        raise RecommendationError(f"{outside} logged chances lie outside (0, 1]")
    if policy.min() < 0 or policy.sum(axis=1).max() > 1 + 1e-9:
        raise RecommendationError("the chances of a policy are at least 0 and add up to 1 at most")
    at = np.arange(len(reward))
    weight = policy[at, action] / logged
    terms = (policy * model).sum(axis=1) + weight * (reward - model[at, action])
    squares = float((weight**2).sum())
    return PolicyValue(
        float(terms.mean()),
        float(terms.std(ddof=1) / np.sqrt(len(terms))) if len(terms) > 1 else float("inf"),
        float(weight.sum()) ** 2 / squares if squares else 0.0,
    )


def explored(best: Array, share: float) -> Array:
    """Give the chances of a logging policy: the best product, or with a share any eligible one alike.

    Parameters
    ----------
    best
        Scores, minus infinity where a product is not eligible, shape (n, m); each row has an eligible one.
    share
        Share of random traffic, from 0 to 1.
    """
    eligible = np.isfinite(best)
    chances = share * eligible / eligible.sum(axis=1, keepdims=True)
    chances[np.arange(len(best)), best.argmax(axis=1)] += 1.0 - share
    return np.asarray(chances)
