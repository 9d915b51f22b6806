"""Rankers that learn: one booster over all products, lambdarank, and one model a product."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import lightgbm as lgb
import numpy as np
from sklearn.linear_model import LogisticRegression

from models.recommend import design
from models.recommend.design import Encoder, Signals

if TYPE_CHECKING:
    from models.recommend.baselines import Ranker
    from models.recommend.task import Array, Mask, RankingTask, Rows

Objective = Literal["binary", "lambdarank"]
# The latest rows are learned from, up to so many pairs of row and product.
MOST_PAIRS = 500_000
PATIENCE = 20
# A product goes half its way from its rate to its model with so many purchases.
PRIOR_PURCHASES = 25.0
PENALTIES = (0.003, 0.03, 0.3)
TREES = (10, 20, 40, 80)


@dataclass(frozen=True)
class Pairs:
    """Candidate pairs of some rows, and their inputs.

    Attributes
    ----------
    row, product
        Position in the rows, and product, shape (pairs,), in row order.
    inputs, start
        Shape (pairs, columns); log-odds of the rate as of the row.
    bought
        Whether the product was bought.
    """

    row: Rows
    product: Rows
    inputs: Array
    start: Array
    bought: Mask


def pairs_of(task: RankingTask, rows: Rows, found: Signals, encoder: Encoder) -> Pairs:
    """Lay out the candidates of rows as pairs."""
    row, product = np.nonzero(task.candidates[rows])
    customers = design.customer_inputs(task, rows, encoder)
    return Pairs(
        row,
        product,
        design.pair_inputs(task, rows, found, row, product, customers),
        found.log_odds[design.MIDDLE][rows[row], product],
        task.targets[rows][row, product],
    )


def latest(task: RankingTask, rows: Rows, most: int = MOST_PAIRS) -> Rows:
    """Give the latest rows that have something known before them, up to so many candidate pairs."""
    known = rows[task.visible[rows] > 0]
    rows = known if len(known) else rows
    pairs = np.cumsum(task.candidates[rows[::-1]].sum(axis=1))
    return rows[len(rows) - max(int(np.searchsorted(pairs, most, side="right")), 1) :]


@dataclass(frozen=True)
class Boosted:
    """One LightGBM over (row, product) pairs, started from the rate given eligible as of the row.

    Attributes
    ----------
    objective
        `binary` gives propensities, `lambdarank` only an order.
    rounds
        Rounds, at most; `tune` finds how many.
    learning_rate, leaves, seed, threads
        Of LightGBM.
    """

    objective: Objective = "binary"
    rounds: int = 150
    learning_rate: float = 0.05
    leaves: int = 31
    seed: int = 1
    threads: int = 2

    def tune(self, task: RankingTask, head: Rows, tail: Rows, k: int) -> tuple[Ranker, Array]:
        """Find the number of rounds on the tail."""
        found = design.signals(task)
        encoder = Encoder.of(task.features.iloc[head])
        learn = pairs_of(task, latest(task, head), found, encoder)
        judged = tail[task.targets[tail].any(axis=1)]
        valid = pairs_of(task, latest(task, judged), found, encoder)
        booster = self._train(learn, encoder, valid, k)
        scorer = BoostedScorer(booster, encoder, probability=self.objective == "binary")
        return replace(self, rounds=max(booster.best_iteration, 1)), scorer.score(task, tail)

    def fit(self, task: RankingTask, rows: Rows) -> BoostedScorer:
        """Train on the latest rows."""
        encoder = Encoder.of(task.features.iloc[rows])
        learn = pairs_of(task, latest(task, rows), design.signals(task), encoder)
        booster = self._train(learn, encoder, None, 3)
        return BoostedScorer(booster, encoder, probability=self.objective == "binary")

    def _train(self, learn: Pairs, encoder: Encoder, valid: Pairs | None, k: int) -> lgb.Booster:
        levels = [0, *(design.OWN_INPUTS + i for i in design.categorical(encoder))]
        data = _dataset(learn, self.objective, levels)
        stop: dict[str, Any] = {}
        if valid is not None:
            stop["valid_sets"] = [_dataset(valid, self.objective, levels, data)]
            stop["callbacks"] = [lgb.early_stopping(PATIENCE, verbose=False)]
        settings = {
            "objective": self.objective,
            "metric": "binary_logloss" if self.objective == "binary" else "ndcg",
            "eval_at": [k],
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": int(np.clip(len(learn.row) / 3000, 20, 200)),
            "feature_fraction": 0.7,
            "cat_smooth": 20.0,
            "lambda_l2": 1.0,
            "lambdarank_truncation_level": k + 2,
            "seed": self.seed,
            "num_threads": self.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        return lgb.train(settings, data, self.rounds, **stop)


def _dataset(
    pairs: Pairs, objective: Objective, levels: list[int], reference: lgb.Dataset | None = None
) -> lgb.Dataset:
    group = np.unique(pairs.row, return_counts=True)[1] if objective == "lambdarank" else None
    return lgb.Dataset(
        pairs.inputs,
        pairs.bought.astype(np.int8),
        group=group,
        init_score=pairs.start,
        categorical_feature=levels,
        reference=reference,
    )


@dataclass(frozen=True)
class BoostedScorer:
    """A booster with the encoding of its features."""

    booster: lgb.Booster
    encoder: Encoder
    probability: bool

    def score(self, task: RankingTask, rows: Rows) -> Array:
        """Score the candidates; the others get 0 (a probability) or minus infinity."""
        pairs = pairs_of(task, rows, design.signals(task), self.encoder)
        raw = np.asarray(self.booster.predict(pairs.inputs, raw_score=True)) + pairs.start
        scores = np.full((len(rows), len(task.products)), 0.0 if self.probability else -np.inf)
        scores[pairs.row, pairs.product] = 1.0 / (1.0 + np.exp(-raw)) if self.probability else raw
        return scores


@dataclass(frozen=True)
class PerProduct:
    """One model a product on the rows in which it could be offered; a rare product stays near its rate.

    Attributes
    ----------
    kind
        `logistic` or `lightgbm`.
    setting
        Inverse penalty of the logistic, or number of trees; `tune` chooses it.
    seed, threads
        Of LightGBM.
    """

    kind: Literal["logistic", "lightgbm"] = "logistic"
    setting: float = 0.03
    seed: int = 1
    threads: int = 2

    def tune(self, task: RankingTask, head: Rows, tail: Rows, k: int) -> tuple[Ranker, Array]:
        """Take the setting with the least log loss on the candidates of the tail."""
        found = []
        scorer = None if self.kind == "logistic" else replace(self, setting=max(TREES)).fit(task, head)
        for setting in PENALTIES if self.kind == "logistic" else TREES:
            one = replace(self, setting=float(setting))
            fitted = one.fit(task, head) if scorer is None else replace(scorer, trees=int(setting))
            scores = np.asarray(fitted.score(task, tail))
            p = np.clip(scores, 1e-7, 1 - 1e-7)
            losses = -np.where(task.targets[tail], np.log(p), np.log1p(-p))
            found.append((float(losses[task.candidates[tail]].mean()), -setting, one, scores))
        best = min(found, key=lambda item: item[:2])
        return best[2], best[3]

    def fit(self, task: RankingTask, rows: Rows) -> PerProductScorer:
        """Fit a model for each product that was bought at all."""
        rows, encoder = latest(task, rows), Encoder.of(task.features.iloc[rows])
        found = design.signals(task)
        inputs = design.customer_inputs(task, rows, encoder)
        scaling = Scaling.of(inputs, encoder)
        models = []
        for product in range(len(task.products)):
            open_ = task.candidates[rows, product]
            y, x = task.targets[rows[open_], product], inputs[open_]
            own = own_inputs(found, rows[open_], product)
            if self.kind == "logistic":
                models.append(self._logistic(np.column_stack([own, scaling.scale(x)]), y))
            else:
                models.append(self._boosted(np.column_stack([own, x]), y))
        weights = task.targets[rows].sum(axis=0)
        return PerProductScorer(tuple(models), weights / (weights + PRIOR_PURCHASES), encoder, scaling)

    def _logistic(self, x: Array, y: Mask) -> LogisticRegression | None:
        if y.all() or not y.any():
            return None
        return LogisticRegression(C=self.setting, max_iter=300, tol=1e-3).fit(x, y)

    def _boosted(self, x: Array, y: Mask) -> lgb.Booster | None:
        if y.all() or not y.any():
            return None
        settings = {
            "objective": "binary",
            "learning_rate": 0.08,
            "num_leaves": 15,
            "min_data_in_leaf": int(np.clip(len(y) / 300, 20, 200)),
            "feature_fraction": 0.7,
            "lambda_l2": 1.0,
            "seed": self.seed,
            "num_threads": self.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        data = lgb.Dataset(np.ascontiguousarray(x), y.astype(np.int8), init_score=x[:, design.MIDDLE].copy())
        return lgb.train(settings, data, int(self.setting))


def own_inputs(found: Signals, at: Rows, product: int) -> Array:
    """Give the signals of one product as of some rows, shape (rows, 5)."""
    parts = [*(log_odds[at, product] for log_odds in found.log_odds), found.ease[at, product]]
    return np.column_stack([*parts, found.knn[at, product]])


@dataclass(frozen=True)
class Scaling:
    """Columns for a linear model: standardised, missing as the mean with a flag, levels as flags.

    Attributes
    ----------
    mean, scale
        Of each column, shape (columns,).
    gaps
        Columns that have missing values.
    levels
        Number of levels of each column of texts, by position.
    """

    mean: Array
    deviation: Array
    gaps: Rows
    levels: dict[int, int]

    @classmethod
    def of(cls, inputs: Array, encoder: Encoder) -> Scaling:
        """Learn means and deviations."""
        missing = np.isnan(inputs)
        counts = np.maximum((~missing).sum(axis=0), 1)
        filled = np.where(missing, 0.0, inputs).astype(np.float64)
        mean = filled.sum(axis=0) / counts
        deviation = np.sqrt(np.where(missing, 0.0, (filled - mean) ** 2).sum(axis=0) / counts)
        texts = [known for known in encoder.levels.values() if known is not None]
        levels = {at: len(known) for at, known in zip(design.categorical(encoder), texts, strict=True)}
        return cls(mean, np.where(deviation > 0, deviation, 1.0), np.flatnonzero(missing.any(axis=0)), levels)

    def scale(self, inputs: Array) -> Array:
        """Give the columns of a linear model."""
        missing = np.isnan(inputs)
        plain = np.where(missing, 0.0, (inputs - self.mean) / self.deviation)
        plain[:, list(self.levels)] = 0.0
        flags = [inputs[:, [at]] == np.arange(count) for at, count in self.levels.items()]
        return np.column_stack([np.clip(plain, -5, 5), missing[:, self.gaps], *flags]).astype(np.float64)


@dataclass(frozen=True)
class PerProductScorer:
    """Models by product, None where nothing was to be learned.

    Attributes
    ----------
    share
        How far each model is believed, shape (m,).
    trees
        Trees that are used of each booster; None means all.
    """

    models: tuple[LogisticRegression | lgb.Booster | None, ...]
    share: Array
    encoder: Encoder
    scaling: Scaling
    trees: int | None = None
    probability: bool = True

    def score(self, task: RankingTask, rows: Rows) -> Array:
        """Give propensities, shape (rows, m)."""
        found = design.signals(task)
        inputs = design.customer_inputs(task, rows, self.encoder)
        scaled = self.scaling.scale(inputs)
        scores = np.empty((len(rows), len(self.models)))
        for product, model in enumerate(self.models):
            own = own_inputs(found, rows, product)
            start = own[:, design.MIDDLE]
            raw = start
            if isinstance(model, LogisticRegression):
                raw = model.decision_function(np.column_stack([own, scaled]))
            elif model is not None:
                both = np.column_stack([own, inputs])
                raw = start + np.asarray(model.predict(both, raw_score=True, num_iteration=self.trees))
            mixed = start + self.share[product] * (raw - start)
            scores[:, product] = 1.0 / (1.0 + np.exp(-np.clip(mixed, -40, 40)))
        return scores
