"""Price tests: regret of learning by batch, error of always-valid intervals, quotes that a slope needs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import expit

from pricing.experiments import (
    CellShares,
    CellTotals,
    ConfidenceSequence,
    Design,
    assign_cells,
    next_shares,
    parse_experiment,
)
from pricing.plan import MILLION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pricing.experiments import Experiment

    Method = Literal["uniform", "beta", "logistic"]

QUOTES, BATCH, RUNS = 20_000, 500, 20
MULTIPLIERS = np.linspace(0.6, 1.4, 9)
# Conversion at the price of the plan, logit slope, cost in units of the price: the best price lies inside the
# ladder and a uniform test loses 23 % of the best profit.
CONVERSION, SLOPE, COST = 0.40, -4.0, 0.565
WATCHED_RUNS, WATCHED_QUOTES = 400, 4_000


def wide_test() -> Experiment:
    """Declare nine equal cells over a ladder wide enough that learning pays."""
    shares = ["0.111111"] * 9
    shares[4] = "0.111112"
    cells = "".join(
        f'[[cells]]\nmultiplier = "{m:.2f}"\nshare = "{s}"\n'
        for m, s in zip(MULTIPLIERS, shares, strict=True)
    )
    text = (
        'name = "benchmark"\nversion = 1\nproduct = "return_freight"\nplan = "p"\nfiling = "f"\n'
        'unit = "customer"\nstart = 2026-01-01\nend = 2026-02-01\npremium_effect_cap = "0.400000"\n'
        'least_share = "0.0005"\n[corridor]\nlowest = "0.60"\nhighest = "1.40"\n'
        '[stop]\nmeasure = "conversion"\nalpha = 0.05\nlargest_loss = 0.5\nspread = 0.5\nquotes = 20_000\n'
    )
    return parse_experiment(text + cells, "benchmark")


def regret(test: Experiment, method: Method, seed: int) -> float:
    """Give what one run loses, as a share of the profit of the best cell."""
    rng = np.random.default_rng(seed)
    x = np.array(test.multipliers) / MILLION
    conversion = expit(np.log(CONVERSION / (1 - CONVERSION)) + SLOPE * np.log(x))
    profit = x - COST
    worth = conversion * profit
    shares = CellShares.filed(test)
    quotes, sold = np.zeros(9, dtype=np.int64), np.zeros(9, dtype=np.int64)
    lost = 0.0
    for start in range(0, QUOTES, BATCH):
        units = seed * QUOTES + np.arange(start, start + BATCH)
        new = np.bincount(assign_cells(shares, units), minlength=9)
        quotes, sold = quotes + new, sold + rng.binomial(new, conversion)
        lost += float(new @ (worth.max() - worth))
        if method != "uniform":
            shares = next_shares(test, shares, quotes, sold, profit, method, rng)
    return lost / (QUOTES * float(worth.max()))


def false_alarms(conversion: float, seed: int = 1) -> float:
    """Give the share of tests without a difference where an interval ever denies it, looked at often."""
    rng = np.random.default_rng(seed)
    spread = float(np.sqrt(conversion * (1 - conversion)))
    alarms = 0
    for _ in range(WATCHED_RUNS):
        sold = (rng.random((WATCHED_QUOTES // 2, 2)) < conversion).cumsum(axis=0)
        one = ConfidenceSequence.planned(0.05, spread, WATCHED_QUOTES / 2, WATCHED_QUOTES / 2)
        for i in range(99, len(sold), 5):
            cell, holdout = (CellTotals(i + 1, float(s), float(s)) for s in sold[i])
            one = one.update(cell, holdout)
        alarms += one.differs
    return alarms / WATCHED_RUNS


def seconds_per_million(test: Experiment) -> float:
    """Time the assignment of a million units."""
    units: NDArray[np.int64] = np.arange(1_000_000, dtype=np.int64)
    shares = CellShares.filed(test)
    start = time.perf_counter()
    assign_cells(shares, units)
    return time.perf_counter() - start


def run() -> dict[str, float]:
    """Measure regret in percent of the best profit, error of the first kind, time of an assignment."""
    test = wide_test()
    figures: dict[str, float] = {}
    methods: tuple[Method, ...] = ("uniform", "beta", "logistic")
    for method in methods:
        found = 100.0 * np.array([regret(test, method, seed) for seed in range(RUNS)])
        figures[f"{method}_regret"] = float(found.mean())
        figures[f"{method}_regret_se"] = float(found.std(ddof=1) / np.sqrt(RUNS))
    figures["false_alarms_5"] = false_alarms(0.05)
    figures["false_alarms_40"] = false_alarms(0.40)
    figures["slope_error_200k"] = Design(test, CONVERSION, SLOPE).slope_error(200_000)
    figures["assign_1m_s"] = seconds_per_million(test)
    return figures
