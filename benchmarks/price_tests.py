"""Price tests: regret of learning by batch, error of always-valid intervals, quotes that a slope needs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import expit, logit

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

    Method = Literal["uniform", "commit", "beta", "logistic"]

QUOTES, BATCH, RUNS = 20_000, 500, 100
EXPLORED = 0.2


@dataclass(frozen=True)
class Demand:
    """A market: ladder from `lowest` to 2 - `lowest`, conversion at the plan's price, logit slope, cost.

    The cost is in units of the plan's price.
    """

    lowest: float
    conversion: float
    slope: float
    cost: float

    @property
    def multipliers(self) -> NDArray[np.float64]:
        """Nine prices."""
        return np.linspace(self.lowest, 2.0 - self.lowest, 9)


# The published experiment says of its market that a uniform test loses 23.3 % of the best profit, and a fifth
# of uniform quotes followed by the best cell 5.2 %. These two figures hold a market down; this one has the
# first and, within the error of the runs, the second, and its best price is an inner one.
MARKET = Demand(0.5, 0.5, -4.0, 0.403)
# A uniform test loses as much here, but the best price and its neighbours are harder to tell apart.
FLAT = Demand(0.6, 0.4, -4.0, 0.565)
WATCHED_RUNS, WATCHED_QUOTES = 400, 4_000


def wide_test(market: Demand) -> Experiment:
    """Declare nine equal cells over a ladder wide enough that learning pays."""
    shares = ["0.111111"] * 9
    shares[4] = "0.111112"
    prices = market.multipliers
    cells = "".join(
        f'[[cells]]\nmultiplier = "{m:.3f}"\nshare = "{s}"\n' for m, s in zip(prices, shares, strict=True)
    )
    text = (
        'name = "benchmark"\nversion = 1\nproduct = "return_freight"\nplan = "p"\nfiling = "f"\n'
        'author = "a"\n'
        'unit = "customer"\nstart = 2026-01-01\nend = 2026-02-01\npremium_effect_cap = "0.500000"\n'
        f'least_share = "0.0005"\n[corridor]\nlowest = "{prices[0]:.2f}"\nhighest = "{prices[-1]:.2f}"\n'
        "[power]\nconversion = 0.5\nslope = -4.0\nslope_error = 0.1\n"
        '[stop]\nmeasure = "conversion"\nalpha = 0.05\nlargest_loss = 0.5\nspread = 0.5\nquotes = 20_000\n'
    )
    return parse_experiment(text + cells, "benchmark")


def regret(test: Experiment, market: Demand, method: Method, seed: int) -> float:
    """Give what one run loses, as a share of the profit of the best cell."""
    rng = np.random.default_rng(seed)
    x = np.array(test.multipliers) / MILLION
    conversion = expit(logit(market.conversion) + market.slope * np.log(x))
    profit = x - market.cost
    worth = conversion * profit
    shares = CellShares.filed(test)
    quotes, sold = np.zeros(9, dtype=np.int64), np.zeros(9, dtype=np.int64)
    lost = 0.0
    for start in range(0, QUOTES, BATCH):
        if method == "commit" and start >= EXPLORED * QUOTES:
            best = int(np.argmax(sold / quotes * profit))
            return (lost + (QUOTES - start) * float(worth.max() - worth[best])) / (
                QUOTES * float(worth.max())
            )
        units = seed * QUOTES + np.arange(start, start + BATCH)
        new = np.bincount(assign_cells(shares, units), minlength=9)
        quotes, sold = quotes + new, sold + rng.binomial(new, conversion)
        lost += float(new @ (worth.max() - worth))
        if method in ("beta", "logistic"):
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
    figures: dict[str, float] = {}
    methods: tuple[Method, ...] = ("uniform", "commit", "beta", "logistic")
    test = wide_test(MARKET)
    for prefix, market in (("", MARKET), ("flat_", FLAT)):
        declared = wide_test(market)
        for method in methods:
            found = 100.0 * np.array([regret(declared, market, method, seed) for seed in range(RUNS)])
            figures[f"{prefix}{method}_regret"] = float(found.mean())
            figures[f"{prefix}{method}_regret_se"] = float(found.std(ddof=1) / np.sqrt(RUNS))
    figures["false_alarms_5"] = false_alarms(0.05)
    figures["false_alarms_40"] = false_alarms(0.40)
    figures["slope_error_200k"] = Design(test, MARKET.conversion, MARKET.slope).slope_error(200_000)
    figures["assign_1m_s"] = seconds_per_million(test)
    return figures
