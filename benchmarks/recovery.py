"""Elasticity of the simulated price test found again, and confounded prices refused."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from data.simulate import simulate
from data.simulate.products import PRODUCTS
from data.store import connect
from models.demand import Elasticity, MonotoneDemand, NotIdentified, price_elasticity

if TYPE_CHECKING:
    import pandas as pd

CUSTOMERS, SEED = 400_000, 7
FACTORS = ["driver_age", "vehicle_age", "vehicle_power", "bonus_malus", "fuel", "region", "annual_km"]


def quotes_with_truth(root: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Give the tested first quotes of motor, and the true slope of acceptance in log price of each."""
    motor = next(product for product in PRODUCTS if product.code == "motor")
    with connect(root, threads=2) as connection:
        frame = connection.execute(
            f"SELECT q.*, c.risk AS true_risk, c.elasticity AS true_elasticity FROM quotes q "  # noqa: S608
            f"JOIN read_parquet('{root}/truth/customers/*.parquet') c USING (customer_id) "
            "WHERE product = 'motor' AND experiment IS NOT NULL "
            "QUALIFY row_number() OVER (PARTITION BY customer_id ORDER BY quoted_at) = 1 ORDER BY quote_id"
        ).df()
    steep = motor.elasticity * frame["true_elasticity"].to_numpy()
    level = motor.accept + motor.selection * np.log(np.maximum(frame["true_risk"].to_numpy(), 1e-3))
    chance = expit(level - steep * np.log(frame["price_multiplier"].to_numpy()))
    return frame, -steep * chance * (1 - chance)


def run() -> dict[str, float]:
    """Recover the mean slope of a randomised test, then let the price follow the wish to buy."""
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder), CUSTOMERS, SEED, orders_per_customer=1)
        frame, truth = quotes_with_truth(Path(folder))
    X = frame[FACTORS]  # noqa: N806
    price, accepted = np.log(frame["price_multiplier"].to_numpy()), frame["accepted"].to_numpy(dtype=float)
    start = time.perf_counter()
    found = price_elasticity(X, accepted, price)
    seconds = time.perf_counter() - start
    if not isinstance(found, Elasticity):
        raise SystemExit(f"recovery: the randomised test was refused: {found.reasons}")
    true, slopes = float(truth.mean()), found.frame["slope"]
    rng = np.random.default_rng(SEED)
    # The price that an agent sets who sees whether the customer wants to buy.
    wanted = 0.08 * (accepted - accepted.mean()) + 0.10 * rng.standard_normal(len(accepted))
    confounded = price_elasticity(X, accepted, wanted)
    hidden = MonotoneDemand().fit(X, accepted, wanted).slopes(X, wanted).mean()
    return {
        "quotes": float(len(frame)),
        "true_slope": true,
        "controlled_slope": found.slope,
        "elasticity_error": abs(found.slope / true - 1),
        "dml_error": abs(slopes["dml"] / true - 1),
        "monotone_error": abs(slopes["monotone"] / true - 1),
        "seconds": seconds,
        "confounded_refused": float(isinstance(confounded, NotIdentified)),
        "confounded_dml_slope": float(confounded.frame.loc["dml", "slope"]),
        "confounded_monotone_slope": float(hidden),
    }
