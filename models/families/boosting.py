"""LightGBM: the free booster, and the booster under pairwise constraints that compiles into tables (GA2M)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np

from models.compile import compile_booster, parse_trees
from models.errors import ArtifactError, FitError
from models.families.base import TWEEDIE_POWER, Design, FitSettings
from models.purify import purify

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.links import Link
    from models.tables import TableModel

# Claims that a leaf should rest on.
LEAF_CLAIMS = 15.0
# With fewer claims the rounds are chosen by cross-validation over so many folds.
CROSS_CLAIMS, FOLDS = 5_000, 5
# LightGBM's default, and what it sums for each expected claim: for Poisson it holds steps back by
# poisson_max_delta_step = 0.7; for an event it is p (1 - p), a claim where claims are rare.
LEAST_HESSIAN = 1e-3
CLAIM_HESSIAN = {"poisson": math.exp(0.7), "binary": 1.0}
# Rounds, leaves and rows of the short booster that ranks pairs.
RANKING_ROUNDS, RANKING_LEAVES, RANKING_ROWS = 120, 8, 200_000


@dataclass(frozen=True, eq=False)
class BoosterModel:
    """A LightGBM booster with its intercept moved for balance.

    Attributes
    ----------
    link
        `log` or `logit`.
    text
        LightGBM's own text form.
    shift
        Added to the booster's raw score.
    """

    link: Link
    text: str
    shift: float = 0.0

    @cached_property
    def _booster(self) -> lgb.Booster:
        return lgb.Booster(model_str=self.text)

    @cached_property
    def intercept(self) -> float:
        """Raw score of the average learn row: TreeSHAP's base value, and the shift."""
        width = self._booster.num_feature()
        return (
            float(self._booster.predict(np.zeros((1, width)), pred_contrib=True, num_threads=1)[0, -1])
            + self.shift
        )

    def predict_raw(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores, shape (n,)."""
        if not len(values):
            return np.empty(0)
        return np.asarray(self._booster.predict(values, raw_score=True, num_threads=1)) + self.shift

    def predict_raw_one(self, row: Sequence[float]) -> float:
        """Raw score of one encoded risk."""
        return float(self._booster.predict(np.array([row]), raw_score=True, num_threads=1)[0]) + self.shift

    def contributions(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """TreeSHAP values by input, shape (n, inputs)."""
        if not len(values):
            return np.empty(values.shape)
        found = self._booster.predict(values, pred_contrib=True, num_threads=1)
        return np.asarray(found, dtype=np.float64)[:, :-1]

    def contributions_one(self, row: Sequence[float]) -> list[float]:
        """TreeSHAP values of one encoded risk."""
        return [float(part) for part in self.contributions(np.array([row]))[0]]

    def shifted(self, delta: float) -> BoosterModel:
        """Give the model with its intercept moved."""
        return replace(self, shift=self.shift + delta)

    def save(self, folder: Path, name: str) -> list[Path]:
        """Write `<name>.txt`: one line of our own (link, shift), then LightGBM's text."""
        path = folder / f"{name}.txt"
        path.write_text(f"premia-booster-1 {self.link} {self.shift!r}\n{self.text}", encoding="utf-8")
        return [path]


def load_booster(folder: Path, name: str) -> BoosterModel:
    """Read what `BoosterModel.save` wrote.

    Raises
    ------
    ArtifactError
        If the first line is not ours.
    """
    head, _, text = (folder / f"{name}.txt").read_text(encoding="utf-8").partition("\n")
    parts = head.split()
    if len(parts) != 3 or parts[0] != "premia-booster-1" or parts[1] not in {"log", "logit"}:
        raise ArtifactError(f"{name}.txt: first line {head!r} is not that of a stored booster")
    return BoosterModel("log" if parts[1] == "log" else "logit", text, float(parts[2]))


def fit_gbm(design: Design, settings: FitSettings) -> BoosterModel:
    """Fit the free booster; early stopping on a share of the learn rows, best iteration kept.

    Parameters
    ----------
    design
        Learn rows.
    settings
        Seed, threads, rounds.
    """
    return BoosterModel(design.link, _boost(design, settings, None))


def fit_ga2m(design: Design, settings: FitSettings) -> TableModel:
    """Fit a booster whose paths use at most two inputs and compile it into purified tables.

    Parameters
    ----------
    design
        Learn rows.
    settings
        Seed, threads, rounds, number of pairs.
    """
    text = boost_pairs(design, settings)
    return purify(compile_booster(text, design.levels, design.link), design.values, design.weight)


def boost_pairs(design: Design, settings: FitSettings) -> str:
    """Fit a booster whose paths use at most two inputs; LightGBM's text form.

    Parameters
    ----------
    design
        Learn rows.
    settings
        Seed, threads, rounds, number of pairs.
    """
    return _boost(design, settings, pair_constraints(design, settings))


def pair_constraints(design: Design, settings: FitSettings) -> list[list[int]]:
    """Give LightGBM's interaction constraints of a GA2M: the allowed pairs, every other input alone."""
    pairs = choose_pairs(design, settings)
    alone = [[i] for i in range(len(design.inputs)) if not any(i in pair for pair in pairs)]
    return [list(pair) for pair in pairs] + alone


def choose_pairs(design: Design, settings: FitSettings) -> list[tuple[int, int]]:
    """Give the pairs of inputs that may interact: all when few, else those with the largest gain.

    A short booster in which every pair is allowed is grown, and the gain of each split on a path of two
    inputs is credited to the pair.
    """
    pairs = list(combinations(range(len(design.inputs)), 2))
    if len(pairs) <= settings.all_pairs:
        return pairs
    rows = np.random.default_rng(settings.seed).permutation(len(design.target))[:RANKING_ROWS]
    part = design.take(rows)
    parameters = {**booster_parameters(part, settings), "learning_rate": 0.1, "num_leaves": RANKING_LEAVES}
    parameters["interaction_constraints"] = [list(pair) for pair in pairs]
    text = lgb.train(parameters, booster_rows(part, parameters), RANKING_ROUNDS).model_to_string()
    gains = dict.fromkeys(pairs, 0.0)
    for pair, gain in _pair_gains(text):
        gains[pair] += gain
    ranked = sorted(pairs, key=lambda pair: (-gains[pair], pair))
    return sorted(ranked[: settings.pairs])


def _pair_gains(text: str) -> list[tuple[tuple[int, int], float]]:
    found: list[tuple[tuple[int, int], float]] = []
    for tree in parse_trees(text):
        stack: list[tuple[int, frozenset[int]]] = [(0, frozenset())] if tree.feature else []
        while stack:
            node, path = stack.pop()
            if node < 0:
                continue
            here = path | {tree.feature[node]}
            if len(here) == 2:
                low, high = sorted(here)
                found.append(((low, high), tree.gain[node]))
            stack += [(tree.left[node], here), (tree.right[node], here)]
    return found


def _boost(design: Design, settings: FitSettings, constraints: list[list[int]] | None) -> str:
    parameters = booster_parameters(design, settings)
    if constraints is not None:
        parameters["interaction_constraints"] = constraints
    if not settings.stopping_share:
        return str(lgb.train(parameters, booster_rows(design, parameters), settings.rounds).model_to_string())
    if _claims(design) < CROSS_CLAIMS:
        rounds = _cross_validated_rounds(design, settings, parameters)
        return str(lgb.train(parameters, booster_rows(design, parameters), rounds).model_to_string())
    stop = design.folds(max(round(1 / settings.stopping_share), 2), settings.seed) == 0
    fitted = booster_rows(design.take(~stop), parameters)
    booster = lgb.train(
        parameters,
        fitted,
        settings.rounds,
        valid_sets=[booster_rows(design.take(stop), parameters, fitted)],
        callbacks=[lgb.early_stopping(settings.patience, verbose=False)],
    )
    return str(booster.model_to_string(num_iteration=booster.best_iteration))


def _claims(design: Design) -> float:
    """Count the claims of the learn rows; each row of a severity is one."""
    counted = design.objective in {"poisson", "binary"}
    return float(design.target @ design.weight) if counted else float(len(design.target))


def _cross_validated_rounds(design: Design, settings: FitSettings, parameters: dict[str, Any]) -> int:
    """Choose the rounds by cross-validation: a tenth of few claims would be too noisy a judge."""
    dealt = design.folds(FOLDS, settings.seed)
    folds = [(np.flatnonzero(dealt != fold), np.flatnonzero(dealt == fold)) for fold in range(FOLDS)]
    history = lgb.cv(
        parameters,
        booster_rows(design, parameters),
        settings.rounds,
        folds=folds,
        callbacks=[lgb.early_stopping(settings.patience, verbose=False)],
    )
    (losses,) = (values for name, values in history.items() if name.endswith("-mean"))
    return len(losses)


def booster_rows(
    design: Design, parameters: dict[str, Any], reference: lgb.Dataset | None = None
) -> lgb.Dataset:
    """Give the rows of a design as LightGBM reads them."""
    return lgb.Dataset(
        design.values,
        design.target,
        weight=design.weight,
        reference=reference,
        categorical_feature=[i for i, count in enumerate(design.levels) if count],
        params=parameters,
        free_raw_data=True,
    )


def booster_parameters(design: Design, settings: FitSettings) -> dict[str, Any]:
    """Give LightGBM's parameters; what the settings leave open rests on the rows and claims alone.

    A leaf needs one row in a thousand, and rows enough for about `LEAF_CLAIMS` claims, so that small tables
    and rare claims get small trees.
    """
    size = len(design.target)
    least_rows = max(size / 1000, LEAF_CLAIMS * size / max(_claims(design), 1.0))
    chosen: dict[str, Any] = {
        "objective": design.objective,
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.leaves or (31 if size >= 20_000 else 15),
        "min_data_in_leaf": settings.leaf_rows or int(np.clip(least_rows, 20, 500)),
        "min_sum_hessian_in_leaf": _least_hessian(design, settings),
        "feature_fraction": settings.feature_share,
        "bagging_fraction": settings.bagging_share,
        "bagging_freq": 1,
        "lambda_l2": settings.ridge,
        "cat_smooth": settings.category_smoothing,
        "max_cat_threshold": settings.category_levels,
        "max_cat_to_onehot": settings.category_onehot,
        "max_bin": settings.bins,
        "seed": settings.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": settings.threads,
        "verbosity": -1,
    }
    if any(design.monotone):
        chosen["monotone_constraints"] = list(design.monotone)
    if design.objective == "tweedie":
        chosen["tweedie_variance_power"] = TWEEDIE_POWER
    return chosen


def _least_hessian(design: Design, settings: FitSettings) -> float:
    """Turn claims of a leaf into what LightGBM sums over it, second derivatives of the loss."""
    if not settings.leaf_claims:
        return LEAST_HESSIAN
    if design.objective not in CLAIM_HESSIAN:
        raise FitError(
            f"leaf_claims is {settings.leaf_claims:g}, but rows of {design.objective!r} expect no number "
            f"of claims; allowed for {', '.join(sorted(CLAIM_HESSIAN))}. Hint: use leaf_rows"
        )
    return max(settings.leaf_claims * CLAIM_HESSIAN[design.objective], LEAST_HESSIAN)
