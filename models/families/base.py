"""What the model families have in common: the data they fit, the settings, and what a fitted model can do."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from models.errors import FitError
from models.links import respond
from pricing.glm import Glm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.links import Link

Objective = Literal["poisson", "gamma", "tweedie", "binary"]
TWEEDIE_POWER = 1.5
DEFAULT_GLM = Glm()
LIBRARIES = ("lightgbm", "glum", "tabmat", "scikit-learn", "numpy", "pandas", "pyarrow")


def library_versions() -> dict[str, str]:
    """Give the exact versions of Python and of the libraries whose code decides what a fit gives."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


@dataclass(frozen=True)
class FitSettings:
    """How families are fitted.

    Attributes
    ----------
    seed
        Seed of every draw (early-stopping rows, bagging, feature sampling).
    threads
        Threads of LightGBM and of glum. More than the idle cores make both many times slower.
    rounds
        Most boosting rounds.
    learning_rate
        Shrinkage of boosting.
    patience
        Rounds without gain on the early-stopping rows before boosting ends.
    stopping_share
        Share of the learn rows that decide when boosting ends; zero fits all rows for all `rounds`, as tuned
        settings do.
    pairs
        Most two-way tables of a GA2M, when the inputs have more pairs than `all_pairs`.
    all_pairs
        Up to this many pairs all are allowed without a choice.
    members
        GA2Ms of an ensemble, of the seeds `seed`, `seed + 1`, ...
    leaves, leaf_rows
        Most leaves of a tree and fewest rows of a leaf; None lets the number of rows and claims decide.
    leaf_claims
        Fewest expected claims of a leaf (frequency and probability); zero asks for none. A leaf of many rows
        but few claims is noise, one of few rows and many claims is not.
    feature_share, bagging_share
        Share of the inputs each tree may use, and of the rows it is grown on.
    ridge
        L2 penalty of leaf values.
    category_smoothing, category_levels
        Smoothing of levels before they are sorted, and most levels on the smaller side of a split.
    category_onehot
        Inputs of at most so many levels are split one level against the others, without sorting.
    bins
        Most bins of a number.
    level_claims, bend_claims
        Penalties of a GLM in claims: a level with `level_claims` claims goes half its way from the average, a
        bin is held to the line through its neighbours as if by `bend_claims` claims.
    glm
        Terms, interactions and elastic net of a GLM; `train` takes them from the product file.
    """

    seed: int = 1
    threads: int = 1
    rounds: int = 1500
    learning_rate: float = 0.05
    patience: int = 50
    stopping_share: float = 0.1
    pairs: int = 20
    all_pairs: int = 40
    members: int = 5
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
    level_claims: float = 5.0
    bend_claims: float = 20.0
    glm: Glm = DEFAULT_GLM


@dataclass(frozen=True, eq=False)
class Design:
    """Learn rows of one component.

    Attributes
    ----------
    values
        Shape (n, inputs), see `Encoding.encode`.
    target
        Shape (n,): rate per unit of exposure, mean amount per claim, or event 0/1.
    weight
        Shape (n,): exposure, number of claims, or one.
    inputs
        Names of the inputs.
    levels
        Number of levels of each input, zero for numbers.
    monotone
        -1, 0 or +1 for each input.
    objective
        Distribution of the target.
    groups
        Shape (n,): rows of one number, such as a customer, never stand on both sides of a fold; None where
        rows do not know of each other.
    """

    values: NDArray[np.float64]
    target: NDArray[np.float64]
    weight: NDArray[np.float64]
    inputs: tuple[str, ...]
    levels: tuple[int, ...]
    monotone: tuple[int, ...]
    objective: Objective
    groups: NDArray[np.int64] | None = None

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Design:
        """Give some of the rows."""
        groups = None if self.groups is None else self.groups[rows]
        values, target, weight = self.values[rows], self.target[rows], self.weight[rows]
        return replace(self, values=values, target=target, weight=weight, groups=groups)

    def folds(self, count: int, seed: int) -> NDArray[np.int64]:
        """Deal the rows, whole groups together, into `count` folds, shape (n,)."""
        size, member = len(self.target), None
        if self.groups is not None:
            unique, member = np.unique(self.groups, return_inverse=True)
            size = len(unique)
        dealt = np.random.default_rng(seed).permutation(size) % count
        return dealt if member is None else dealt[member]

    @property
    def link(self) -> Link:
        """Link of the objective."""
        return "logit" if self.objective == "binary" else "log"


class Scorer(Protocol):
    """A fitted model of one component. Single rows and batches give the same bits."""

    @property
    def link(self) -> Link:
        """`log` or `logit`."""

    @property
    def intercept(self) -> float:
        """Raw score before the contributions."""

    def predict_raw(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores, shape (n,), of encoded risks, shape (n, inputs)."""

    def predict_raw_one(self, row: Sequence[float]) -> float:
        """Raw score of one encoded risk."""

    def contributions(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Parts of the raw scores by input, shape (n, inputs); with the intercept they add up."""

    def contributions_one(self, row: Sequence[float]) -> list[float]:
        """Parts of the raw score of one encoded risk."""

    def shifted(self, delta: float) -> Scorer:
        """Give the model with its intercept moved."""

    def save(self, folder: Path, name: str) -> list[Path]:
        """Write native text, JSON or Arrow files that begin with `name`."""


def balanced(scorer: Scorer, design: Design, total: float | None = None) -> Scorer:
    """Move the intercept so that the fitted total of the learn rows equals the actual one.

    Parameters
    ----------
    scorer
        Model as fitted.
    design
        Learn rows.
    total
        Actual total, sum of weight x target when absent.

    Raises
    ------
    FitError
        If the actual total is not positive.
    """
    actual = float(design.weight @ design.target) if total is None else total
    if not actual > 0:
        raise FitError(f"the actual total of the learn rows is {actual:g}; a model needs a positive one")
    raw = scorer.predict_raw(design.values)
    if scorer.link == "log":
        return scorer.shifted(float(np.log(actual / float(design.weight @ respond(raw, "log")))))
    delta = 0.0
    for _ in range(50):
        fitted = respond(raw + delta, "logit")
        step = (actual - float(design.weight @ fitted)) / float(design.weight @ (fitted * (1.0 - fitted)))
        delta += float(np.clip(step, -2.0, 2.0))
        if abs(step) < 1e-12:
            break
    return scorer.shifted(delta)
