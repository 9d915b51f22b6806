r"""What another ranking would have earned, from offers that were logged with their chances.

At place j of exposure i stood product :math:`a_{ij}` with the logged chance :math:`\pi_0`; its reward
:math:`r_{ij}` is what came of it (bought or not, or margin). For a ranking with chances :math:`\pi`,

.. math:: \hat V_{IPS} &= \frac{1}{n} \sum_i \sum_j w_{ij} r_{ij}, \qquad
          w_{ij} = \pi(a_{ij} \mid x_i, j) / \pi_0(a_{ij} \mid x_i, j) \\
          \hat V_{SN} &= \sum_j \frac{\sum_i w_{ij} r_{ij}}{\sum_i w_{ij}} \; \bar\pi_j \\
          \hat V_{DR} &= \frac{1}{n} \sum_i \sum_j \Big[ \sum_a \pi(a \mid x_i, j) q_{ja}
          + w_{ij} (r_{ij} - q_{j a_{ij}}) \Big]

with :math:`\bar\pi_j` the share of exposures in which the ranking fills place j, and a model q of the reward.
The reward of a product may depend on its place, not on what stands beside it (the item-position model). Then
IPS is unbiased if everything that the ranking shows had a chance; DR is so too whatever q is, and varies the
less the better q is; SN is biased by about 1/n and bounded by the rewards. Errors are of sums by customer,
for exposures of one customer are not independent.

References
----------
Horvitz and Thompson (1952), JASA 47; Dudik, Erhan, Langford and Li (2014), Statistical Science 29(4);
Swaminathan and Joachims (2015), NIPS 28; Li, Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay and Wen (2018),
KDD 24.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.errors import RecommendationError

if TYPE_CHECKING:
    from models.recommend.task import Array, Mask, Rows

# Exposures with which a product at a place goes half its way from the mean of the product, and that to all's.
PRIOR = 50.0


@dataclass(frozen=True, eq=False)
class OfferLog:
    """Logged exposures of n answers with up to k places and m products.

    Attributes
    ----------
    customer
        Whom, shape (n,).
    shown
        Product at each place, -1 where there was none, shape (n, k).
    chance
        With which it stood there; anything where there was none, shape (n, k).
    eligible
        What could have been offered, shape (n, m).
    places
        Most offers that were asked for, shape (n,).
    """

    customer: Rows
    shown: Rows
    chance: Array
    eligible: Mask
    places: Rows

    def __post_init__(self) -> None:
        """Refuse what no log can hold.

        Raises
        ------
        RecommendationError
            If it is empty, a chance lies outside (0, 1], or something was shown that was not eligible.
        """
        if not len(self.shown):
            raise RecommendationError("no offer was logged with its chance")
        filled = self.shown >= 0
        chance = self.chance[filled]
        if outside := int((~((chance > 0) & (chance <= 1 + 1e-9))).sum()):
            raise RecommendationError(f"{outside} logged chances lie outside (0, 1]")
        if not np.take_along_axis(self.eligible, np.maximum(self.shown, 0), axis=1)[filled].all():
            raise RecommendationError("products were shown that were not eligible")


@dataclass(frozen=True, eq=False)
class Target:
    """A ranking to be valued.

    Attributes
    ----------
    order
        Product at each place, -1 for none, shape (n, k).
    random
        Share of exposures in which it shows the eligible products in random order instead.
    """

    order: Rows
    random: float = 0.0

    def chances(self, log: OfferLog, products: Rows) -> Array:
        """Give the chance of products at their places, shape (n, k); 0 where there is none (-1)."""
        count = np.maximum(log.eligible.sum(axis=1, keepdims=True), 1)
        able = np.take_along_axis(log.eligible, np.maximum(products, 0), axis=1) & _free(log)
        own = (1.0 - self.random) * (products == self.order) + self.random * able / count
        return np.where(products >= 0, own, 0.0)


@dataclass(frozen=True)
class PolicyValue:
    """Estimate of the mean reward of an exposure.

    Attributes
    ----------
    value, error
        Estimate and its standard error.
    """

    value: float
    error: float


@dataclass(frozen=True)
class Weights:
    """How far the log carries.

    Attributes
    ----------
    effective
        Effective number of offers: the squared sum of the weights over the sum of their squares.
    largest
        Share of the largest weight in the sum.
    unsupported
        Share of the offers of the ranking that could not have been shown.
    excess
        By how many standard errors the sum of weights lies off what it must be; beyond 4 either way, what was
        shown does not follow the logged chances.
    """

    effective: float
    largest: float
    unsupported: float
    excess: float


def weights_of(log: OfferLog, target: Target) -> Array:
    """Give the weight of each offer shown, shape (n, k); 0 where there was none."""
    return target.chances(log, log.shown) / np.where(log.shown >= 0, log.chance, 1.0)


def judge_weights(log: OfferLog, target: Target, logged_order: Array) -> Weights:
    """Say how far the log carries for a ranking.

    Parameters
    ----------
    log, target
        The log, and the ranking.
    logged_order
        Chance with which the log would have shown each product of the ranking's order, shape (n, k).
    """
    weight = weights_of(log, target)
    squares = float((weight**2).sum())
    wanted = target.order >= 0
    filled = _filled(log, target)
    off = weight.sum(axis=1) - filled.sum(axis=1)
    error = _mean(off, log.customer).error
    return Weights(
        effective=float(weight.sum()) ** 2 / squares if squares else 0.0,
        largest=float(weight.max() / weight.sum()) if squares else 1.0,
        unsupported=float((logged_order[wanted] <= 0).mean()) if wanted.any() else 0.0,
        excess=float(off.mean()) / error if error > 0 else 0.0,
    )


def inverse_propensity(log: OfferLog, reward: Array, target: Target) -> PolicyValue:
    """Estimate the mean reward of an exposure by inverse propensity weights; `reward` of shape (n, k)."""
    return _mean((weights_of(log, target) * reward).sum(axis=1), log.customer)


def self_normalised(log: OfferLog, reward: Array, target: Target) -> PolicyValue:
    """Estimate it by weights that are divided by their sum, place by place."""
    weight, filled = weights_of(log, target), _filled(log, target)
    total = weight.sum(axis=0)
    mean = np.divide((weight * reward).sum(axis=0), total, out=np.zeros(len(total)), where=total > 0)
    share = filled.mean(axis=0)
    # Linearised: what one exposure adds to the ratio of each place, and to the share of places filled.
    scale = np.divide(share * len(weight), total, out=np.zeros(len(total)), where=total > 0)
    terms = (weight * (reward - mean) * scale + filled * mean).sum(axis=1)
    return PolicyValue(float((mean * share).sum()), _mean(terms, log.customer).error)


def doubly_robust(log: OfferLog, reward: Array, target: Target, model: RewardModel) -> PolicyValue:
    """Estimate it by a reward model, corrected by inverse propensity weights.

    Parameters
    ----------
    log, reward, target
        See `inverse_propensity`.
    model
        Learned from other customers than those of the exposures it is used on.
    """
    expected = (1.0 - target.random) * model.of(target.order)
    if target.random:
        count = np.maximum(log.eligible.sum(axis=1, keepdims=True), 1)
        chance = target.random * _free(log) / count
        for one, table in enumerate(model.tables):
            own = model.fold == one
            expected[own] += chance[own] * (log.eligible[own].astype(np.float64) @ table.T)
    left = np.where(log.shown >= 0, reward - model.of(log.shown), 0.0)
    return _mean((expected + weights_of(log, target) * left).sum(axis=1), log.customer)


@dataclass(frozen=True, eq=False)
class RewardModel:
    """Expected rewards by product and place.

    Attributes
    ----------
    tables
        By fold, place and product, shape (f, k, m).
    fold
        Of each exposure, shape (n,).
    """

    tables: Array
    fold: Rows

    def of(self, products: Rows) -> Array:
        """Give the expected reward of products at their places, shape (n, k); 0 where there is none."""
        places = np.arange(products.shape[1])
        found = self.tables[self.fold[:, None], places, np.maximum(products, 0)]
        return np.where(products >= 0, found, 0.0)


def fit_reward_model(log: OfferLog, reward: Array, fold: Rows) -> RewardModel:
    """Learn the mean reward by product and place, for each fold of customers from the others.

    Parameters
    ----------
    log, reward
        The log, and rewards, shape (n, k).
    fold
        Of each exposure, from 0; one customer stands in one fold, shape (n,).
    """
    k, m = log.shown.shape[1], log.eligible.shape[1]
    cell = np.maximum(log.shown, 0) + m * np.arange(k)
    tables = []
    for one in range(int(fold.max()) + 1):
        learn = (fold != one)[:, None] & (log.shown >= 0)
        number = np.bincount(cell[learn], minlength=k * m).reshape(k, m)
        total = np.bincount(cell[learn], reward[learn], minlength=k * m).reshape(k, m)
        overall = total.sum() / max(number.sum(), 1)
        product = (total.sum(axis=0) + PRIOR * overall) / (number.sum(axis=0) + PRIOR)
        tables.append((total + PRIOR * product) / (number + PRIOR))
    return RewardModel(np.stack(tables), fold)


def _free(log: OfferLog) -> Mask:
    """Tell which places a random order fills, shape (n, k)."""
    count = np.minimum(log.places, log.eligible.sum(axis=1))
    return np.asarray(np.arange(log.shown.shape[1]) < count[:, None])


def _filled(log: OfferLog, target: Target) -> Array:
    """Give the chance with which a ranking fills each place, shape (n, k)."""
    return np.asarray((1.0 - target.random) * (target.order >= 0) + target.random * _free(log))


def _mean(terms: Array, customer: Rows) -> PolicyValue:
    """Give the mean of exposures with the standard error of sums by customer."""
    value = float(terms.mean())
    _, place = np.unique(customer, return_inverse=True)
    off = np.bincount(place, terms - value)
    groups = len(off)
    if groups < 2:
        return PolicyValue(value, float("inf"))
    return PolicyValue(value, float(np.sqrt((off**2).sum() * groups / (groups - 1)) / len(terms)))
