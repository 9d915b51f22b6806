"""The estimators: GLM, LightGBM, GA2M, and the average of GA2Ms."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pandas as pd
from pydantic import ValidationError
from scipy.stats import norm
from sklearn.utils.validation import check_is_fitted

from models.errors import TrainingDataError
from models.families.base import balanced
from models.families.estimator import Estimator
from models.families.glm import solve_glm
from models.families.glm_errors import Effect, effects_of
from pricing.glm import Glm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from models.families.base import Design, FitSettings, Scorer
    from models.tables import TableModel


@dataclass(eq=False, repr=False, kw_only=True)
class GLM(Estimator):
    """Generalised linear model on binned and smoothed inputs, fitted by glum; `scorer_` is a `TableModel`.

    Parameters
    ----------
    objective, inputs, categorical, monotone, unknown, protected
        See `Estimator`.
    terms
        By column: `kind` (`auto`, `spline`, `line`, `none`), `knots`, `smoothing`; see `GlmTerm`.
    interactions
        Pairs of columns that get a two-way table.
    alpha, l1_ratio
        Elastic net in glum's units; `alpha="cv"` chooses its strength on folds.
    level_claims, bend_claims
        Penalties in claims, see `FitSettings`.
    seed
        Seed of those folds.
    threads
        Threads of glum.

    After `fit`: `effects_`, one-way effects with standard errors by input (see `Effect`), and `alpha_`.
    """

    family: ClassVar[str] = "glm"
    terms: Mapping[str, Mapping[str, Any]] | None = None
    interactions: Sequence[Sequence[str]] = ()
    alpha: float | str = 0.0
    l1_ratio: float = 0.5
    level_claims: float = 5.0
    bend_claims: float = 20.0
    seed: int = 1
    threads: int = 1

    def _settings(self) -> FitSettings:
        given = {
            "terms": {name: dict(term) for name, term in (self.terms or {}).items()},
            "interactions": [list(pair) for pair in self.interactions],
            "alpha": self.alpha,
            "l1_ratio": self.l1_ratio,
        }
        try:
            return replace(super()._settings(), glm=Glm.model_validate(given))
        except ValidationError as error:
            raise TrainingDataError(
                [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
            ) from error

    def _fit(self, design: Design) -> Scorer:
        fitted = solve_glm(design, self._settings())
        self.alpha_ = fitted.alpha
        self.effects_ = {design.inputs[i]: effect for i, effect in effects_of(fitted, design).items()}
        return balanced(fitted.model, design)

    def relativities(self, level: float = 0.95, *, to_base: bool = False) -> pd.DataFrame:
        """Give the one-way effects as factors with confidence intervals.

        Parameters
        ----------
        level
            Probability that the interval holds the factor.
        to_base
            Against the cell with the most exposure instead of the average of the rows of the fit.

        Returns
        -------
        DataFrame
            `input`, `cell` (level, or bounds of the number), `exposure`, `relativity`, `error` (of its
            logarithm), `low`, `high`, `base`; NaN in the interval of a cell without exposure.
        """
        check_is_fitted(self)
        width = float(norm.ppf(0.5 + level / 2))
        frames = []
        for column, (name, effect) in zip(self._rated_columns(), self.effects_.items(), strict=True):
            value = effect.effect - effect.effect[effect.base] if to_base else effect.effect
            error = effect.error_to_base if to_base else effect.error
            frame = pd.DataFrame({"input": name, "cell": column, "exposure": effect.exposure})
            frame["relativity"], frame["error"] = np.exp(value), error
            frame["low"], frame["high"] = np.exp(value - width * error), np.exp(value + width * error)
            frame["base"] = np.arange(len(frame)) == effect.base
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def _rated_columns(self) -> Iterator[list[str]]:
        """Give the cells of each input with an effect, in words."""
        for name in self.effects_:
            i = self.encoding_.inputs.index(name)
            axis, levels = cast("TableModel", self.scorer_).axes[i], self.encoding_.levels[i]
            yield [*levels, "other"] if levels else [axis.middle(cell) for cell in range(axis.cells)]

    def _stored(self) -> dict[str, Any]:
        effects = {
            name: {f.name: getattr(effect, f.name) for f in fields(effect)}
            for name, effect in self.effects_.items()
        }
        return {"alpha": self.alpha_, "effects": effects}

    def _restore(self, content: Mapping[str, Any]) -> None:
        self.alpha_ = content["alpha"]
        self.effects_ = {name: Effect.from_json(effect) for name, effect in content["effects"].items()}


@dataclass(eq=False, repr=False, kw_only=True)
class LightGBM(Estimator):
    """The free booster; early stopping on a share of the rows of the fit, best iteration kept.

    Parameters
    ----------
    objective, inputs, categorical, monotone, unknown, protected
        See `Estimator`.
    seed, threads, rounds, learning_rate, patience, stopping_share, leaves, leaf_rows, leaf_claims
        See `FitSettings`.
    feature_share, bagging_share, ridge, category_smoothing, category_levels, category_onehot, bins
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
    leaf_claims: float = 0.0
    feature_share: float = 0.7
    bagging_share: float = 0.75
    ridge: float = 5.0
    category_smoothing: float = 50.0
    category_levels: int = 16
    category_onehot: int = 4
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
