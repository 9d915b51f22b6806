"""The estimators: GLM, LightGBM, GA2M, and the average of GA2Ms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.families.estimator import Estimator


@dataclass(eq=False, repr=False, kw_only=True)
class GLM(Estimator):
    """Generalised linear model on binned and smoothed inputs, fitted by glum; `scorer_` is a `TableModel`.

    Parameters
    ----------
    objective, inputs, categorical, monotone, unknown, protected
        See `Estimator`.
    threads
        Threads of glum.
    """

    family: ClassVar[str] = "glm"
    threads: int = 1


@dataclass(eq=False, repr=False, kw_only=True)
class LightGBM(Estimator):
    """The free booster; early stopping on a share of the rows of the fit, best iteration kept.

    Parameters
    ----------
    objective, inputs, categorical, monotone, unknown, protected
        See `Estimator`.
    seed, threads, rounds, learning_rate, patience, stopping_share, leaves, leaf_rows, feature_share
        See `FitSettings`.
    bagging_share, ridge, category_smoothing, category_levels, bins
        See `FitSettings`; `of` takes them all from tuned settings.
    """

    family: ClassVar[str] = "gbm"
    seed: int = 1
    threads: int = 1
    rounds: int = 1500
    learning_rate: float = 0.05
    patience: int = 50
    stopping_share: float = 0.1
    leaves: int | None = None
    leaf_rows: int | None = None
    feature_share: float = 0.7
    bagging_share: float = 0.75
    ridge: float = 5.0
    category_smoothing: float = 50.0
    category_levels: int = 16
    bins: int = 255


@dataclass(eq=False, repr=False, kw_only=True)
class GA2M(LightGBM):
    """A booster of one- and two-way effects, compiled exactly into tables: `scorer_` is a `TableModel`.

    Parameters
    ----------
    pairs, all_pairs
        Most two-way tables where there are more than `all_pairs` pairs, see `FitSettings`; all others as for
        `LightGBM`.
    """

    family: ClassVar[str] = "ga2m"
    pairs: int = 20
    all_pairs: int = 40


@dataclass(eq=False, repr=False, kw_only=True)
class Ensemble(GA2M):
    """GA2Ms of the seeds `seed`, `seed + 1` and so on, averaged into one set of tables.

    Parameters
    ----------
    members
        Number of seeds; all others as for `GA2M`.
    """

    family: ClassVar[str] = "ga2m_ensemble"
    members: int = 5
