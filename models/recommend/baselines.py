"""Rankers that count: popularity, purchase rate given eligible, item-kNN, EASE and implicit ALS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.signal import lfilter

from models.recommend.metrics import row_metrics, top_k

if TYPE_CHECKING:
    from models.recommend.task import Array, RankingTask, Rows

# Purchases that a rate starts from, at the mean rate of all products.
PRIOR = 5.0
EASE_GRID = (50.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
ALS_FACTORS = (8, 32)
ALS_ITERATIONS = 10


class Scorer(Protocol):
    """A fitted ranker."""

    @property
    def probability(self) -> bool:
        """Whether the scores are probabilities of a purchase."""

    def score(self, task: RankingTask, rows: Rows) -> Array:
        """Score all products for some rows, shape (rows, m); larger is better."""


class Ranker(Protocol):
    """A way to rank, not fitted yet."""

    def tune(self, task: RankingTask, head: Rows, tail: Rows, k: int) -> tuple[Ranker, Array]:
        """Choose settings on the tail; give them with the scores of the tail by a fit on the head alone."""

    def fit(self, task: RankingTask, rows: Rows) -> Scorer:
        """Learn from rows."""


@dataclass(frozen=True)
class Constant:
    """The same scores for everybody.

    Attributes
    ----------
    scores
        Shape (m,).
    """

    scores: Array
    probability: bool = False

    def score(self, task: RankingTask, rows: Rows) -> Array:
        """Repeat the scores."""
        return np.tile(self.scores, (len(rows), 1))


@dataclass(frozen=True)
class Popularity:
    """Products by the number of customers who have bought them."""

    def tune(self, task: RankingTask, head: Rows, tail: Rows, k: int) -> tuple[Ranker, Array]:
        """Nothing is to be chosen."""
        return self, self.fit(task, head).score(task, tail)

    def fit(self, task: RankingTask, rows: Rows) -> Constant:
        """Count in all purchases that are known by then."""
        return Constant(popularity(task, rows))


def popularity(task: RankingTask, rows: Rows) -> Array:
    """Count what the training knows of: products of its rows, or customers before a cut; shape (m,)."""
    bought = np.asarray(task.targets[rows].sum(axis=0), dtype=np.float64)
    if task.windowed:  # what everybody held at the last cut, and what the last window added
        last = rows[task.time[rows] == task.time[rows].max()]
        bought = np.asarray(((task.history[last] > 0) | task.targets[last]).sum(axis=0), dtype=np.float64)
    return bought


@dataclass(frozen=True)
class EligibleRate:
    """Products by purchases per row in which they could be offered."""

    def tune(self, task: RankingTask, head: Rows, tail: Rows, k: int) -> tuple[Ranker, Array]:
        """Nothing is to be chosen."""
        return self, self.fit(task, head).score(task, tail)

    def fit(self, task: RankingTask, rows: Rows) -> Constant:
        """Divide purchases by rows, drawn towards the mean rate."""
        bought = task.targets[rows].sum(axis=0)
        offered = task.candidates[rows].sum(axis=0)
        mean = max(float(bought.sum()) / max(float(offered.sum()), 1.0), 1e-9)
        return Constant((bought + PRIOR) / (offered + PRIOR / mean), probability=True)


def rates_as_of(task: RankingTask, half_life: float) -> Array:
    """Give the purchase rate given eligible that was known before each row, shape (n, m).

    Parameters
    ----------
    task
        All rows, in time order; row i sees the first `visible[i]` of them.
    half_life
        Rows after which a row counts half.
    """
    decay = 0.5 ** (1.0 / half_life)
    bought = lfilter([1.0], [1.0, -decay], task.targets.astype(np.float64), axis=0)
    offered = lfilter([1.0], [1.0, -decay], task.candidates.astype(np.float64), axis=0)
    start = np.zeros((1, bought.shape[1]))
    seen = np.concatenate([start, bought])[task.visible]
    chances = np.concatenate([start, offered])[task.visible]
    known = chances.sum(axis=1, keepdims=True)
    mean = np.clip(
        np.where(known > 0, seen.sum(axis=1, keepdims=True) / np.maximum(known, 1), 0.1), 1e-4, 0.5
    )
    rate: Array = (seen + PRIOR * 0.1) / (chances + PRIOR * 0.1 / mean)
    return np.clip(rate, 1e-5, 1 - 1e-5)


def held_by(task: RankingTask, before: float) -> Array:
    """Give what each customer had bought before a moment, shape (customers with any, m)."""
    past = task.purchases.time < before
    who = np.unique(task.purchases.customer[past], return_inverse=True)[1]
    held = np.zeros((int(who.max(initial=-1)) + 1, len(task.products)))
    held[who, task.purchases.product[past]] = 1.0
    return held


def ease_weights(held: Array, ridge: float) -> Array:
    """Solve EASE (Steck 2019): the linear item-item model with zero diagonal, shape (m, m)."""
    m = held.shape[1]
    inverse = np.linalg.inv(held.T @ held + ridge * np.eye(m))
    weights: Array = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def cosine_weights(held: Array) -> Array:
    """Give the cosine similarity of products over customers, zero diagonal, shape (m, m)."""
    together = held.T @ held
    norm = np.sqrt(np.maximum(np.diag(together), 1e-12))
    weights: Array = together / np.outer(norm, norm)
    np.fill_diagonal(weights, 0.0)
    return weights


@dataclass(frozen=True)
class ItemItem:
    """What a customer holds, times weights between products.

    Attributes
    ----------
    weights
        Shape (m, m), from held to offered.
    """

    weights: Array
    probability: bool = False

    def score(self, task: RankingTask, rows: Rows) -> Array:
        """Add up the weights of what is held."""
        return np.asarray((task.history[rows] > 0).astype(np.float64) @ self.weights)


@dataclass(frozen=True)
class ItemKnn:
    """Item-kNN: products like those held, by cosine over customers."""

    def tune(self, task: RankingTask, head: Rows, tail: Rows, k: int) -> tuple[Ranker, Array]:
        """Nothing is to be chosen."""
        return self, self.fit(task, head, task.time[tail[0]]).score(task, tail)

    def fit(self, task: RankingTask, rows: Rows, before: float | None = None) -> ItemItem:
        """Compare products over the customers known by then."""
        return ItemItem(cosine_weights(held_by(task, settled_by(task, rows) if before is None else before)))


@dataclass(frozen=True)
class Ease:
    """EASE; without a ridge, `tune` chooses it.

    Attributes
    ----------
    ridge
        Ridge of the item-item regression.
    """

    ridge: float = 500.0

    def tune(self, task: RankingTask, head: Rows, tail: Rows, k: int) -> tuple[Ranker, Array]:
        """Take the ridge that ranks the tail best."""
        held = held_by(task, task.time[tail[0]])
        fallback = popularity(task, head)
        found = []
        for ridge in EASE_GRID:
            scores = ItemItem(ease_weights(held, ridge)).score(task, tail)
            found.append((mean_ndcg(task, tail, scores, k, fallback), -ridge, scores))
        best = max(found, key=lambda item: item[:2])
        return replace(self, ridge=-best[1]), best[2]

    def fit(self, task: RankingTask, rows: Rows) -> ItemItem:
        """Solve over the customers known by then."""
        return ItemItem(ease_weights(held_by(task, settled_by(task, rows)), self.ridge))


@dataclass(frozen=True)
class Als:
    """Implicit ALS (Hu, Koren and Volinsky 2008), the customer's factors solved anew from what is held.

    Attributes
    ----------
    factors, weight, ridge
        Number of factors, extra weight of what is held, and ridge.
    seed
        Of the start.
    """

    factors: int = 8
    weight: float = 20.0
    ridge: float = 10.0
    seed: int = 1

    def tune(self, task: RankingTask, head: Rows, tail: Rows, k: int) -> tuple[Ranker, Array]:
        """Take the number of factors that ranks the tail best."""
        fallback, found = popularity(task, head), []
        for factors in ALS_FACTORS:
            one = replace(self, factors=min(factors, len(task.products)))
            scores = one.learn(held_by(task, task.time[tail[0]])).score(task, tail)
            found.append((mean_ndcg(task, tail, scores, k, fallback), -factors, one, scores))
        best = max(found, key=lambda item: item[:2])
        return best[2], best[3]

    def fit(self, task: RankingTask, rows: Rows) -> AlsScorer:
        """Solve over the customers known by then."""
        return self.learn(held_by(task, settled_by(task, rows)))

    def learn(self, held: Array) -> AlsScorer:
        """Alternate between customers and products."""
        rng = np.random.default_rng(self.seed)
        items = rng.normal(0.0, 0.1, (held.shape[1], self.factors))
        for _ in range(ALS_ITERATIONS):
            users = _solve(held, items, self.weight, self.ridge)
            items = _solve(held.T, users, self.weight, self.ridge)
        return AlsScorer(items, self.weight, self.ridge)


@dataclass(frozen=True)
class AlsScorer:
    """Factors of products, shape (m, f)."""

    items: Array
    weight: float
    ridge: float
    probability: bool = False

    def score(self, task: RankingTask, rows: Rows) -> Array:
        """Solve each customer's factors and multiply."""
        held = (task.history[rows] > 0).astype(np.float64)
        return np.asarray(_solve(held, self.items, self.weight, self.ridge) @ self.items.T)


def _solve(held: Array, factors: Array, weight: float, ridge: float) -> Array:
    """Solve the ridge regressions of one side; shape (rows of held, f)."""
    base = factors.T @ factors + ridge * np.eye(factors.shape[1])
    outer = (factors[:, :, None] * factors[:, None, :]).reshape(len(factors), -1)
    found = np.empty((len(held), factors.shape[1]))
    for start in range(0, len(held), 8192):
        part = held[start : start + 8192]
        left = base + weight * (part @ outer).reshape(len(part), *base.shape)
        found[start : start + 8192] = np.linalg.solve(left, (1 + weight) * (part @ factors)[:, :, None])[
            :, :, 0
        ]
    return found


def settled_by(task: RankingTask, rows: Rows) -> float:
    """Give the first moment at which all these rows are settled: that of the first row which sees them."""
    after = np.searchsorted(task.visible, int(rows.max()) + 1, side="left")
    return float(task.time[after]) if after < len(task) else np.inf


def mean_ndcg(task: RankingTask, rows: Rows, scores: Array, k: int, fallback: Array) -> float:
    """Give the mean NDCG of some rows that have targets."""
    judged = task.targets[rows].any(axis=1)
    best = top_k(scores[judged], task.candidates[rows][judged], k, fallback)
    return float(row_metrics(best, task.targets[rows][judged], k)["ndcg"].mean())
