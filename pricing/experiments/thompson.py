r"""Thompson sampling between the filed cells, a batch at a time.

Thompson sampling chooses a cell with the probability that it is the best one. Here those probabilities become
the shares of the next version, so that the units of a batch are assigned by hash with a known propensity, and
nothing moves within a batch. A cell is worth :math:`P_c g_c`, conversion times profit of one sale.

- `beta`: conversions by cell, each :math:`P_c \sim` Beta(1 + sold, 1 + not sold).
- `logistic`: :math:`P_c = 1/(1 + e^{-(a + b x_c)})` in the logarithm x of the multiplier, so that cells learn
  from each other; :math:`a, b \sim N(0, 5^2)` before, and after by Laplace: normal about the mode, with the
  inverse of the curvature there as covariance.

Source: Chapelle and Li (2011), An Empirical Evaluation of Thompson Sampling; Russo et al. (2018),
A Tutorial on Thompson Sampling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import expit

from pricing.errors import ExperimentError
from pricing.experiments.shares import Evidence
from pricing.plan import MILLION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.experiments.experiment import Experiment
    from pricing.experiments.shares import CellShares

    Array = NDArray[np.float64]

Method = Literal["beta", "logistic"]
PRIOR_PRECISION = 1.0 / 5.0**2
DRAWS = 4000
NEWTON_STEPS = 50


def next_shares(
    test: Experiment,
    current: CellShares,
    quotes: NDArray[np.int64],
    sold: NDArray[np.int64],
    profit_minor: Array,
    method: Method,
    rng: np.random.Generator,
) -> CellShares:
    """Learn the shares of the next batch from all closed batches of a test.

    Parameters
    ----------
    test, current
        The test and the version of its shares that the last batch ran under.
    quotes, sold
        By cell, shape (k,), all closed batches together.
    profit_minor
        By cell, shape (k,), profit of one sale, minor units.
    method
        `beta` or `logistic`.
    rng
        Source of the draws.

    Raises
    ------
    ExperimentError
        If the figures cannot be.
    """
    cells = len(test.cells)
    if not (quotes.shape == sold.shape == profit_minor.shape == (cells,)):
        raise ExperimentError(f"quotes, sold and profit must have one figure for each of the {cells} cells")
    if not ((sold >= 0) & (sold <= quotes)).all() or not np.isfinite(profit_minor).all():
        raise ExperimentError("sold must lie between 0 and quotes in each cell, and profit must be finite")
    if method == "beta":
        conversion = rng.beta(1.0 + sold, 1.0 + quotes - sold, size=(DRAWS, cells))
    else:
        conversion = _logistic_draws(np.log(np.array(test.multipliers) / MILLION), quotes, sold, rng)
    best = np.bincount((conversion * profit_minor).argmax(axis=1), minlength=cells) / DRAWS
    evidence = Evidence(
        method,
        tuple(int(one) for one in quotes),
        tuple(int(one) for one in sold),
        tuple(float(one) for one in profit_minor),
    )
    return current.following(test, best.tolist(), evidence)


def _logistic_draws(
    x: Array, quotes: NDArray[np.int64], sold: NDArray[np.int64], rng: np.random.Generator
) -> Array:
    """Draw conversions of the cells, shape (draws, k), from the Laplace posterior of a logistic demand."""
    design = np.column_stack([np.ones_like(x), x])
    prior = PRIOR_PRECISION * np.eye(2)

    def loss(at: Array) -> float:
        z = design @ at
        return float(quotes @ np.logaddexp(0.0, z) - sold @ z + 0.5 * at @ prior @ at)

    beta = np.zeros(2)
    for _ in range(NEWTON_STEPS):
        p = expit(design @ beta)
        curvature = (design.T * (quotes * p * (1.0 - p))) @ design + prior
        gradient = design.T @ (quotes * p - sold) + prior @ beta
        step = np.linalg.solve(curvature, gradient)
        if gradient @ step < 1e-12:
            break
        # Halved until it helps: a full step may overshoot where almost nobody or almost everybody buys.
        while loss(beta - step) > loss(beta) and np.abs(step).max() > 1e-12:
            step = step / 2.0
        beta = beta - step
    # With curvature L L', L'^-1 z has its inverse as covariance.
    spread = np.linalg.solve(np.linalg.cholesky(curvature).T, rng.standard_normal((2, DRAWS)))
    drawn: Array = expit((beta[:, None] + spread).T @ design.T)
    return drawn
