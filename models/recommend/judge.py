"""Compare rankers on one task: fit on the past, rank at later moments, intervals, paired differences."""

from __future__ import annotations

import time as clock
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from models.errors import RecommendationError
from models.recommend.baselines import Als, Ease, EligibleRate, ItemKnn, Popularity, mean_ndcg, popularity
from models.recommend.learned import Boosted, PerProduct
from models.recommend.metrics import METRICS, bootstrap, calibration, row_metrics, top_k
from models.recommend.task import comparable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from models.recommend.baselines import Ranker, Scorer
    from models.recommend.task import Array, Mask, RankingTask, Rows

REFERENCE, DEFAULT = "popularity", "blend"
TAIL_SHARE = 0.2
STEPS = 20
FEWEST = 20
# Up to so many products, each gets a model of its own.
MOST_MODELS = 60


def default_rankers(products: int, threads: int = 2, seed: int = 1) -> dict[str, Ranker]:
    """Give the rankers that a comparison tries; popularity, which all are compared with, comes first.

    With many products, each is bought too seldom for a model of its own.
    """
    rankers: dict[str, Ranker] = {
        REFERENCE: Popularity(),
        "eligible_rate": EligibleRate(),
        "item_knn": ItemKnn(),
        "ease": Ease(),
        "als": Als(seed=seed),
        "boosted": Boosted("binary", seed=seed, threads=threads),
        "lambdarank": Boosted("lambdarank", seed=seed, threads=threads),
    }
    if products <= MOST_MODELS:
        rankers["logistic"] = PerProduct("logistic")
        rankers["lightgbm"] = PerProduct("lightgbm", seed=seed, threads=threads)
    return rankers


@dataclass(frozen=True)
class Blend:
    """The default: rankers added up in proportions that ranked the latest training rows best.

    Attributes
    ----------
    shares
        By ranker; they add up to 1.
    rankers
        The tuned rankers that have a share.
    """

    shares: dict[str, float]
    rankers: dict[str, Ranker]

    def fit(self, task: RankingTask, rows: Rows) -> BlendScorer:
        """Fit the rankers that have a share."""
        return BlendScorer(self.shares, {name: one.fit(task, rows) for name, one in self.rankers.items()})


@dataclass(frozen=True)
class BlendScorer:
    """Fitted rankers and their shares."""

    shares: dict[str, float]
    scorers: dict[str, Scorer]
    probability: bool = False

    def score(self, task: RankingTask, rows: Rows) -> Array:
        """Add up the standardised scores."""
        candidates = task.candidates[rows]
        found = {name: one.score(task, rows) for name, one in self.scorers.items()}
        return blended(self.shares, found, candidates)


def blended(shares: Mapping[str, float], scores: Mapping[str, Array], candidates: Mask) -> Array:
    """Add up standardised scores in proportions."""
    return np.asarray(sum(share * standardised(scores[name], candidates) for name, share in shares.items()))


def standardised(scores: Array, candidates: Mask) -> Array:
    """Bring the scores of each row's candidates to mean 0 and deviation 1; equal scores become 0.

    Probabilities are taken as log-odds first, so that a strong favourite stays one.
    """
    if scores.min() >= 0.0 and scores.max() < 1.0:
        p = np.clip(scores, 1e-7, 1 - 1e-7)
        scores = np.log(p / (1 - p))
    count = np.maximum(candidates.sum(axis=1, keepdims=True), 1)
    inside = np.where(candidates, scores, 0.0)
    mean = inside.sum(axis=1, keepdims=True) / count
    centred = np.where(candidates, inside - mean, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    result: Array = centred / np.where(deviation > 1e-12, deviation, 1.0)
    return result


def choose_shares(
    task: RankingTask, tail: Rows, scores: Mapping[str, Array], k: int, fallback: Array
) -> dict[str, float]:
    """Add rankers one by one, again and again, as long as the tail is ranked better (Caruana et al. 2004)."""
    candidates = task.candidates[tail]
    z = {name: standardised(found, candidates) for name, found in scores.items()}
    total, counts, best = np.zeros(candidates.shape), dict.fromkeys(z, 0), -1.0
    for _ in range(STEPS):
        gains = {name: mean_ndcg(task, tail, total + one, k, fallback) for name, one in z.items()}
        name = max(gains, key=lambda one: gains[one])
        if gains[name] <= best + 1e-5:
            break
        best, total = gains[name], total + z[name]
        counts[name] += 1
    used = sum(counts.values())
    return {name: count / used for name, count in counts.items() if count}


@dataclass(frozen=True)
class RankingComparison:
    """How rankers did on the test rows.

    Attributes
    ----------
    k
        Length of the list.
    table
        By ranker: hr, mrr, ndcg with `_low` and `_high` (95 % bootstrap by customer); gain and its bounds
        (NDCG less that of popularity, same draws); log_loss and ece over candidate pairs where scores are
        probabilities; coverage (share of products in any list); seconds.
    shares
        What the blend is made of.
    rows
        Train and test rows, rows per customer with history, and so on.
    notes
        What was left out.
    model
        The blend, fitted on the training rows.
    best
        Ranked products of the blend by test row, shape (n, k), -1 where there are fewer candidates.
    test
        The test rows.
    """

    k: int
    table: pd.DataFrame
    shares: dict[str, float]
    rows: dict[str, float]
    notes: tuple[str, ...]
    model: BlendScorer
    best: Rows
    test: Rows


def compare_rankers(
    task: RankingTask,
    *,
    test_share: float = 0.2,
    test_from: Any = None,  # noqa: ANN401 - a number, a date or a time, as in the task
    k: int = 3,
    rankers: Mapping[str, Ranker] | None = None,
    seed: int = 1,
    draws: int = 1000,
    progress: Callable[[str], None] | None = None,
) -> RankingComparison:
    """Fit rankers on the earlier rows of a task and judge them on the later ones.

    Settings, rounds and the shares of the blend are chosen on the last fifth of the training rows; then all
    training rows are fitted. No row sees anything that was not known strictly before its moment.

    Parameters
    ----------
    task
        See `event_task` and `window_task`.
    test_share, test_from
        Share of the latest rows that judge, or the moment from which rows judge.
    k
        Length of the list.
    rankers
        By name; popularity is added when it is missing.
    seed, draws
        Of the bootstrap.
    progress
        Told the name of each ranker before its fit.

    Raises
    ------
    RecommendationError
        If there are too few rows on one side of the split.
    """
    if k < 1:
        raise RecommendationError(f"k is {k}; at least 1")
    train, tail, test = split(task, test_share, test_from)
    head = train[task.visible[tail[0]] > train]
    chosen = dict(rankers or default_rankers(len(task.products), seed=seed))
    chosen = {**chosen} if REFERENCE in chosen else {**chosen, REFERENCE: Popularity()}
    tails: dict[str, Array] = {}
    scores: dict[str, Array] = {}
    tuned: dict[str, Ranker] = {}
    fitted: dict[str, Scorer] = {}
    seconds: dict[str, float] = {}
    for name, ranker in chosen.items():
        if progress:
            progress(name)
        begun = clock.perf_counter()
        tuned[name], tails[name] = ranker.tune(task, head, tail, k)
        fitted[name] = tuned[name].fit(task, train)
        scores[name] = fitted[name].score(task, test)
        seconds[name] = clock.perf_counter() - begun
    shares = choose_shares(task, tail, tails, k, popularity(task, head))
    model = BlendScorer(shares, {name: fitted[name] for name in shares})
    scores[DEFAULT] = blended(shares, scores, task.candidates[test])
    seconds[DEFAULT] = sum(seconds[name] for name in shares)
    table, best = _judge(task, test, scores, fitted, popularity(task, train), k, (seed, draws))
    table["seconds"] = pd.Series(seconds)
    counts = {
        "train": float(len(train)),
        "test": float(len(test)),
        "products": float(len(task.products)),
        "test_with_history": float((task.history[test].sum(axis=1) > 0).mean()),
        "candidates": float(task.candidates[test].sum(axis=1).mean()),
        "targets": float(task.targets[test].sum(axis=1).mean()),
    }
    return RankingComparison(k, table, shares, counts, task.notes, model, best, test)


def split(task: RankingTask, share: float, start: Any = None) -> tuple[Rows, Rows, Rows]:  # noqa: ANN401
    """Give training rows, the latest of them for choices, and test rows; no moment stands on both sides.

    Training rows had been settled when the first test row came. Only rows with a target judge.
    """
    if start is None and not 0.0 < share < 1.0:
        raise RecommendationError(f"test_share is {share}; between 0 and 1")
    usable = np.flatnonzero(task.targets.any(axis=1))
    if len(usable) < 2 * FEWEST:
        raise RecommendationError(f"{len(usable)} rows have a candidate that was bought; {2 * FEWEST} needed")
    if start is None:
        moment = task.time[usable[min(int(len(usable) * (1.0 - share)), len(usable) - 1)]]
    else:
        moment = comparable(pd.Series([start]), "test_from")[0]
    test = usable[task.time[usable] >= moment]
    first = np.searchsorted(task.time, moment, side="left")
    train = np.arange(int(task.visible[first]) if first < len(task) else 0)
    if not task.windowed:
        train = train[task.targets[train].any(axis=1)]
    cut = len(train) - int(len(train) * TAIL_SHARE)
    if min(len(test), cut) < FEWEST or cut == len(train):
        raise RecommendationError(
            f"{len(train)} rows to learn from and {len(test)} to judge on; at least {FEWEST} of each"
        )
    tail = train[task.time[train] >= task.time[train[cut]]]
    tail = tail[task.targets[tail].any(axis=1)]
    if not len(tail) or not task.visible[tail[0]]:
        raise RecommendationError("nothing is known before the latest training rows. Hint: add earlier cuts")
    return train, tail, test


def _judge(
    task: RankingTask,
    test: Rows,
    scores: Mapping[str, Array],
    fitted: Mapping[str, Scorer],
    fallback: Array,
    k: int,
    draw: tuple[int, int],
) -> tuple[pd.DataFrame, Rows]:
    candidates, targets = task.candidates[test], task.targets[test]
    lists = {name: top_k(found, candidates, k, fallback) for name, found in scores.items()}
    figures = {name: row_metrics(best, targets, k) for name, best in lists.items()}
    values = np.column_stack([figures[name][metric] for name in scores for metric in METRICS])
    drawn = bootstrap(values, task.customer[test], *draw)
    reference = list(scores).index(REFERENCE) * len(METRICS) + METRICS.index("ndcg")
    lines: dict[str, dict[str, float]] = {}
    for i, name in enumerate(scores):
        line: dict[str, float] = {}
        for j, metric in enumerate(METRICS):
            at = i * len(METRICS) + j
            line[metric] = float(values[:, at].mean())
            line[f"{metric}_low"], line[f"{metric}_high"] = np.percentile(drawn[:, at], [2.5, 97.5])
        at = i * len(METRICS) + METRICS.index("ndcg")
        line["gain"] = float(np.mean(values[:, at] - values[:, reference]))
        line["gain_low"], line["gain_high"] = np.percentile(drawn[:, at] - drawn[:, reference], [2.5, 97.5])
        if name in fitted and fitted[name].probability:
            line["log_loss"], line["ece"] = calibration(scores[name][candidates], targets[candidates])
        line["coverage"] = len(np.unique(lists[name][lists[name] >= 0])) / len(task.products)
        lines[name] = line
    return pd.DataFrame(lines).T, lists[DEFAULT]
