"""How well products are ranked: hit rate, reciprocal rank and discounted gain, and calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.paired import poisson_weights

if TYPE_CHECKING:
    from models.recommend.task import Array, Mask, Rows

METRICS = ("hr", "mrr", "ndcg")
BINS = 10
BLOCK = 4096


def top_k(scores: Array, candidates: Mask, k: int, fallback: Array) -> Rows:
    """Give the positions of the k best candidates of each row, best first; -1 where there are fewer.

    Parameters
    ----------
    scores, candidates
        Shape (n, m).
    k
        How many.
    fallback
        Decides between equal scores: larger first, shape (m,).
    """
    k = min(k, scores.shape[1])
    by_fallback = np.argsort(-fallback, kind="stable")
    shown = np.where(candidates, scores, -np.inf)[:, by_fallback]
    best = np.argsort(-shown, axis=1, kind="stable")[:, :k]
    found = by_fallback[best]
    return np.where(np.take_along_axis(candidates, found, axis=1), found, -1)


def row_metrics(best: Rows, targets: Mask, k: int) -> dict[str, Array]:
    r"""Give the metrics of each row that has a target.

    Parameters
    ----------
    best
        Ranked products, shape (n, at most k), see `top_k`.
    targets
        What was bought, shape (n, m), at least one a row.
    k
        Length of the list.

    Returns
    -------
    dict
        `hr` (a target is among the first k), `mrr` (1 / rank of the first target, 0 beyond k) and `ndcg`:
        :math:`\sum_{r \le k} y_r / \log_2(r + 1)` over its value if all targets came first (Jarvelin and
        Kekalainen 2002), shape (n,) each.
    """
    gain = np.take_along_axis(targets, np.maximum(best, 0), axis=1) & (best >= 0)
    ranks = np.arange(1, gain.shape[1] + 1)
    discounts = 1.0 / np.log2(np.arange(1, k + 1) + 1)
    ideal = np.cumsum(discounts)[np.minimum(targets.sum(axis=1), k) - 1]
    return {
        "hr": gain.any(axis=1).astype(float),
        "mrr": (gain / ranks).max(axis=1),
        "ndcg": (gain * discounts[: gain.shape[1]]).sum(axis=1) / ideal,
    }


def bootstrap(values: Array, cluster: Rows, seed: int = 1, draws: int = 1000) -> Array:
    """Draw means of columns with Poisson weights by cluster (customer); shape (draws, columns).

    Parameters
    ----------
    values
        Shape (n, columns).
    cluster
        Customer of each row, drawn with all their rows, shape (n,).
    seed, draws
        Of the bootstrap.
    """
    codes = np.unique(cluster, return_inverse=True)[1]
    table = np.column_stack([values, np.ones(len(values))])
    sums = np.zeros((int(codes.max()) + 1, table.shape[1]))
    np.add.at(sums, codes, table)
    rng = np.random.default_rng(seed)
    drawn = np.zeros((draws, table.shape[1]))
    for start in range(0, len(sums), BLOCK):
        block = sums[start : start + BLOCK]
        drawn += poisson_weights(rng, (draws, len(block))) @ block
    return np.asarray(drawn[:, :-1] / np.maximum(drawn[:, -1:], 1.0))


def calibration(p: Array, y: Mask) -> tuple[float, float]:
    """Give log loss and expected calibration error over pairs, ten bins of equal size.

    Parameters
    ----------
    p, y
        Probability and outcome of each eligible pair, shape (pairs,).
    """
    p = np.clip(p, 1e-7, 1 - 1e-7)
    loss = -float(np.mean(np.where(y, np.log(p), np.log1p(-p))))
    order = np.argsort(p, kind="stable")
    gaps = [abs(float(p[part].sum() - y[part].sum())) for part in np.array_split(order, BINS)]
    return loss, sum(gaps) / len(p)
