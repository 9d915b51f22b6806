"""Two-way credibility at full size: one fit on 17 million orders, and what it knows of the next month."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from data.simulate import simulate
from data.store import connect
from features.load import default_spec
from models.credibility import TwoWay, fit_two_way
from models.metrics import auc, logloss
from models.order_history import read_order_history
from models.training import train
from models.training_table import attach_profiles, training_table
from pricing.product import Product, read_product

PRODUCT = Path(__file__).parents[1] / "data" / "reference" / "products" / "return_freight.toml"
CUSTOMERS = 1_000_000
TRAINED_CUSTOMERS = 50_000
AS_OF = dt.datetime(2025, 10, 1)  # noqa: DTZ001 - naive UTC; 17 of 20 million orders lie before
NEXT = dt.datetime(2025, 11, 1)  # noqa: DTZ001
END = dt.datetime(2026, 1, 1)  # noqa: DTZ001
ORDERS = """
    SELECT customer_id, seller_id, category, amount_minor, returned_at IS NOT NULL AS returned
    FROM orders WHERE ordered_at >= ? AND ordered_at < ?
"""


def run() -> dict[str, float]:
    """Fit at full size in a process of its own, and train return freight with and without the frailties.

    Returns
    -------
    dict of str to float
        seconds_17m_orders (fit), read_seconds, peak_gb, orders; ae_low, ae_high (returns of the next month,
        actual over expected, extremes of ten groups by expected), ae_total; correlations of frailties with
        the truth; logloss_gain, auc_gain (champion with fitted features over profile features, time split).
    """
    done = subprocess.run(  # noqa: S603 - this interpreter and our own module
        [sys.executable, "-m", "benchmarks.credibility", "--full"], check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout[done.stdout.rindex("{") :])
    return figures | trained_gain()


def full_size(customers: int = CUSTOMERS) -> dict[str, float]:
    """Simulate, fit as of AS_OF and judge by the orders of the month that follows."""
    import resource

    with tempfile.TemporaryDirectory(prefix="premia-credibility-") as scratch:
        lake = Path(scratch)
        simulate(lake, customers, 1)
        with connect(lake) as con:
            start = time.perf_counter()
            history = read_order_history(con, AS_OF)
            read = time.perf_counter() - start
            fit = fit_two_way(history)
            seconds = time.perf_counter() - start - read
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
            figures = {"seconds_17m_orders": seconds, "read_seconds": read, "peak_gb": peak}
            figures["orders"] = float(len(history.age))
            orders = con.execute(ORDERS, [AS_OF, NEXT]).df()
        return figures | _next_month(fit, orders) | _recovery(fit, lake)


def _next_month(fit: TwoWay, orders: pd.DataFrame) -> dict[str, float]:
    buyers = pd.Series(fit.buyers.frailty, fit.buyers.ids).reindex(orders["customer_id"]).to_numpy()
    shops = pd.Series(fit.shops.frailty, fit.shops.ids).reindex(orders["seller_id"]).to_numpy()
    expected = fit.probability(
        orders["category"].to_numpy(object),
        orders["amount_minor"].to_numpy(),
        buyers,
        shops,
        AS_OF.year * 12 + AS_OF.month - 1,
    )
    returned = orders["returned"].to_numpy(np.float64)
    group = pd.qcut(expected, 10, labels=False)
    ratio = np.bincount(group, returned) / np.bincount(group, expected)
    return {
        "ae_low": float(ratio.min()),
        "ae_high": float(ratio.max()),
        "ae_total": float(returned.sum() / expected.sum()),
        "next_month_logloss": logloss(returned, expected),
        "next_month_auc": auc(returned, expected),
    }


def _recovery(fit: TwoWay, lake: Path) -> dict[str, float]:
    figures = {"alpha_buyers": fit.buyers.alpha, "alpha_shops": fit.shops.alpha}
    for side, folder, key, column in (
        (fit.buyers, "customers", "customer_id", "proneness"),
        (fit.shops, "sellers", "seller_id", "frailty"),
    ):
        truth = pd.read_parquet(next((lake / "truth" / folder).rglob("*.parquet"))).set_index(key)[column]
        known = truth.reindex(side.ids).to_numpy(np.float64)
        figures[f"truth_correlation_{folder}"] = float(np.corrcoef(side.frailty, known)[0, 1])
    return figures


def trained_gain(customers: int = TRAINED_CUSTOMERS) -> dict[str, float]:
    """Train return freight with profile features alone and with the frailties beside them."""
    spec = default_spec()
    plain, fitted = _products()
    with tempfile.TemporaryDirectory(prefix="premia-credibility-") as scratch:
        lake = Path(scratch)
        simulate(lake, customers, 2)
        with connect(lake) as con:
            table = attach_profiles(con, training_table(con, fitted, END), fitted, spec, lake)
    champion = plain.models.champion
    one = train(fitted, table, feature_spec=spec).comparison.loc[champion]
    other = train(plain, table, feature_spec=spec).comparison.loc[champion]
    return {
        "logloss_gain": float(other["logloss"] - one["logloss"]),
        "auc_gain": float(one["auc"] - other["auc"]),
    }


def _products() -> tuple[Product, Product]:
    product = read_product(PRODUCT)
    names = (("fitted", ()), ("fitted", ("buyer_frailty", "seller_frailty")))
    plain, fitted = (
        product.model_copy(update={"profile": product.profile.model_copy(update=dict([name]))})
        for name in names
    )
    return plain, fitted


if __name__ == "__main__":
    if "--full" in sys.argv:
        print(json.dumps(full_size()))
    else:
        for name, value in run().items():
            print(f"{name:28} {value:,.4f}")
